"""A report as one HTML file without further files: text, tables, and figures as embedded pictures."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path
from typing import TYPE_CHECKING

from mcgen.results.text import frame_html

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 62rem; margin: 2.5rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.7rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .88rem; }
.scroll { overflow-x: auto; }
th, td { padding: .3rem .7rem; text-align: left; border-bottom: 1px solid #8884; white-space: nowrap; }
th { font-weight: 600; }
img { max-width: 100%; background: white; border-radius: 4px; }
pre { overflow-x: auto; padding: .8rem 1rem; background: #8881; border-radius: 4px; font-size: .85rem; }
figure { margin: 0; } figcaption, .small { font-size: .88rem; opacity: .8; }
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

    def table(self, frame: pd.DataFrame) -> Report:
        """Add a table of text."""
        return self._add(f"<div class='scroll'>{frame_html(frame)}</div>")

    def figure(self, figure: Figure, caption: str) -> Report:
        """Add a figure, embedded as PNG."""
        picture = io.BytesIO()
        figure.savefig(picture, format="png")
        data = base64.b64encode(picture.getvalue()).decode()
        words = html.escape(caption)
        image = f"<img src='data:image/png;base64,{data}' alt='{html.escape(caption, quote=True)}'>"
        return self._add(f"<figure>{image}<figcaption>{words}</figcaption></figure>")

    def write(self, path: str | Path) -> Path:
        """Write the file, with the folders it needs, and return its path."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        title = html.escape(self._title)
        head = f"<meta charset='utf-8'><meta name='viewport' content='width=device-width'><title>{title}</title>"
        body = "\n".join(self._parts)
        text = f"<!doctype html>\n<html lang='en'><head>{head}<style>{_STYLE}</style></head>\n<body><h1>{title}</h1>\n"
        path.write_text(f"{text}{body}\n</body></html>\n", encoding="utf-8")
        return path

    def _add(self, part: str) -> Report:
        self._parts.append(part)
        return self
