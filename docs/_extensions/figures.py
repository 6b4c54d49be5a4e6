"""Pictures of examples: the gallery saves each figure that a block of an example binds to a name.

mcgen returns figures that pyplot does not know, so sphinx-gallery's own scraper would not see them.
"""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst


def figure_scraper(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Save the figures that are new since the last block, and return the text that shows them."""
    names = block_vars["example_globals"]
    seen = names.setdefault("__figures__", [])
    found = [one for key, one in names.items() if not key.startswith("__") and isinstance(one, Figure)]
    new = [one for one in dict.fromkeys(found) if not any(one is old for old in seen)]
    seen.extend(new)
    paths = []
    for figure in new:
        path = next(block_vars["image_path_iterator"])
        figure.savefig(path, dpi=110)
        paths.append(path)
    return figure_rst(paths, gallery_conf["src_dir"], "; ".join(filter(None, map(alternative_text, new))))


def alternative_text(figure: Figure) -> str:
    """Return what a figure shows, from its titles and the labels of its axes."""
    parts = [figure.get_suptitle()]
    for panel in figure.axes:
        label = " against ".join(filter(None, (panel.get_ylabel(), panel.get_xlabel())))
        parts.append(": ".join(filter(None, (panel.get_title(), label))))
    return ", ".join(" ".join(part.split()) for part in dict.fromkeys(filter(None, parts)))
