"""A report as one HTML file without further files: text, tables, and figures as embedded pictures."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mcgen.results.tables import Table
from mcgen.results.text import frame_html

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 62rem; margin: 2.5rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.7rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
h1, h2, p, li, figcaption, summary { overflow-wrap: anywhere; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .88rem; }
.scroll { overflow-x: auto; }
.scroll:focus-visible { outline: 2px solid #0072b2; outline-offset: 2px; }
th, td { padding: .3rem .7rem; text-align: left; border-bottom: 1px solid #8884; white-space: nowrap; }
th { font-weight: 600; }
.named th:first-child, .named td:first-child { position: sticky; left: 0; background: Canvas; white-space: normal;
  overflow-wrap: break-word; min-width: min(7rem, 26vw); max-width: 38vw; padding-left: 0; }
img { max-width: 100%; background: white; border-radius: 4px; }
pre { overflow-x: auto; padding: .8rem 1rem; background: #8881; border-radius: 4px; font-size: .85rem; }
figure { margin: 0; } figcaption, .small { font-size: .88rem; opacity: .8; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: 1.2rem;
  margin: 1rem 0; }
.gallery figure { max-width: 32rem; min-width: 0; }
.gallery img { width: 100%; display: block; } .gallery figcaption { margin-top: .3rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1rem; font-size: .92rem; }
dt { font-weight: 600; } dd { margin: 0; overflow-wrap: anywhere; }
.lead { font-size: 1.1rem; }
details { margin: .6rem 0; } summary { cursor: pointer; }
"""


class Report:
    """An HTML report; its sections stand in the order in which they are added.

    Parameters
    ----------
    title : str
        Heading and window title.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._parts: list[str] = []

    def heading(self, text: str) -> Report:
        """Start a section."""
        return self._add(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str) -> Report:
        """Add a paragraph."""
        return self._add(f"<p>{html.escape(text)}</p>")

    def code(self, text: str) -> Report:
        """Add lines as they are."""
        return self._add(f"<pre>{html.escape(text)}</pre>")

    def lead(self, text: str) -> Report:
        """Add a paragraph in larger letters."""
        return self._add(f"<p class='lead'>{html.escape(text)}</p>")

    def items(self, texts: Sequence[str]) -> Report:
        """Add a list."""
        return self._add(f"<ul>{''.join(f'<li>{html.escape(text)}</li>' for text in texts)}</ul>")

    def facts(self, facts: Sequence[Sequence[str]]) -> Report:
        """Add names with their texts, which may be long."""
        rows = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in facts)
        return self._add(f"<dl>{rows}</dl>")

    def details(self, title: str, text: str) -> Report:
        """Add lines as they are, which show when the title is clicked."""
        return self._add(f"<details><summary>{html.escape(title)}</summary><pre>{html.escape(text)}</pre></details>")

    def table(self, frame: pd.DataFrame) -> Report:
        """Add a table of text."""
        return self._add(f"<div class='scroll'>{frame_html(frame)}</div>")

    def named_table(self, table: Table, label: str) -> Report:
        """Add a table whose first column stays in sight where the table is wider than the page.

        Parameters
        ----------
        table : Table
            The table.
        label : str
            What it shows, for screen readers.
        """
        words = html.escape(label, quote=True)
        opening = f"<div class='scroll named' role='region' tabindex='0' aria-label='{words}'>"
        return self._add(f"{opening}{table.html()}</div>")

    def figure(self, figure: Figure, caption: str) -> Report:
        """Add a figure, embedded as PNG."""
        return self._add(_figure_html(figure, caption, caption, "png"))

    def gallery(self, figures: Sequence[tuple[Figure, str, str]], form: str = "svg") -> Report:
        """Add figures side by side, or below each other where the page is narrow.

        Parameters
        ----------
        figures : sequence of tuple of Figure, str, str
            Each figure, its caption and the text that says what it shows to those who can't see it.
        form : {"svg", "png"}
            How they are embedded: as lines, or as pixels for photographs.
        """
        return self._add(f"<div class='gallery'>{''.join(_figure_html(*one, form) for one in figures)}</div>")

    def write(self, path: str | Path) -> Path:
        """Write the file, with the folders it needs, and return its path."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        title = html.escape(self._title)
        view = "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        head = f"<meta charset='utf-8'>{view}<title>{title}</title>"
        body = "\n".join(self._parts)
        text = f"<!doctype html>\n<html lang='en'><head>{head}<style>{_STYLE}</style></head>\n<body><h1>{title}</h1>\n"
        path.write_text(f"{text}{body}\n</body></html>\n", encoding="utf-8")
        return path

    def _add(self, part: str) -> Report:
        self._parts.append(part)
        return self


def _figure_html(figure: Figure, caption: str, alternative: str, form: str) -> str:
    """Return a figure as HTML that holds the picture itself."""
    picture = io.BytesIO()
    if form == "svg":
        import matplotlib as mpl

        # Names of parts and dates would otherwise differ from file to file.
        with mpl.rc_context({"svg.hashsalt": "mcgen"}):
            figure.savefig(picture, format="svg", metadata={"Date": None})
    else:
        figure.savefig(picture, format=form)
    data, kind = base64.b64encode(picture.getvalue()).decode(), "svg+xml" if form == "svg" else form
    image = f"<img src='data:image/{kind};base64,{data}' alt='{html.escape(alternative, quote=True)}'>"
    return f"<figure>{image}<figcaption>{html.escape(caption)}</figcaption></figure>"
