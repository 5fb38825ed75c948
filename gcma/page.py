"""A report as one static HTML page: no network, no script, no framework.

A page is a title and sections; sections hold tables, pictures and text. It reads well in
dark mode, on a phone and on paper.
"""

import base64
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

STYLE: Final = """
:root { color-scheme: light dark; --fg: #1b1f24; --bg: #ffffff; --dim: #59636e; --line: #d5dae0;
  --soft: #f4f6f8; --good: #0a6b2c; --bad: #b3261e; --skip: #7a5b00; --free: #dfe4ea; --cached: #4096d2;
  --taken: #dd6810; }
@media (prefers-color-scheme: dark) { :root { --fg: #e4e8ec; --bg: #14171a; --dim: #9aa4ae; --line: #343a41;
  --soft: #1c2024; --good: #6fd08c; --bad: #ff8a80; --skip: #e3c15b; --free: #343a41; --cached: #3f8fc8;
  --taken: #f08a3c; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1rem 4rem; color: var(--fg);
  background: var(--bg); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; }
p { margin: .5rem 0; max-width: 48rem; } .dim, caption, figcaption { color: var(--dim); }
.verdict { font-size: 1.15rem; font-weight: 600; } .good { color: var(--good); } .bad { color: var(--bad); }
.skip { color: var(--skip); }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
th { color: var(--dim); font-weight: 600; } td.number, th.number { text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; } td.key { white-space: nowrap; }
td:last-child:not(.number) { min-width: 18rem; }
pre { background: var(--soft); padding: .75rem; overflow-x: auto; font-size: .8rem; line-height: 1.4; }
figure { margin: 1rem 0; } figcaption { font-size: .9rem; margin-top: .4rem; }
img { max-width: 100%; height: auto; } svg { max-width: 100%; height: auto; color: var(--fg); }
.map img { width: 100%; height: 16rem; image-rendering: pixelated; border: 1px solid var(--line); }
.axis { display: flex; justify-content: space-between; color: var(--dim); font-size: .8rem; }
.key-line span { display: inline-block; margin-right: 1.2rem; font-size: .9rem; }
.key-line i { display: inline-block; width: .9em; height: .9em; margin-right: .4em; vertical-align: -.1em;
  border: 1px solid var(--line); }
details summary { cursor: pointer; }
@media print { body { max-width: none; padding: 0; font-size: 11pt; } details > * { display: block; }
  .wide, pre { overflow: visible; } pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  table { font-size: 8pt; } td:last-child { min-width: 0; overflow-wrap: anywhere; }
  figure, tr { break-inside: avoid; } h2 { break-after: avoid; } }
"""


@dataclass(frozen=True, slots=True)
class Cell:
    """A table cell: text, and the class of its style (number, key, good, bad, skip)."""

    text: str
    style: str = ""


@dataclass(slots=True)
class Page:
    """A page being written; its methods append, :meth:`save` ends it.

    :param title: the heading
    :param lead: one line below it
    """

    title: str
    lead: str = ""
    _parts: list[str] = field(default_factory=list)

    def section(self, heading: str) -> None:
        """Begin a section."""
        self._parts.append(f"<h2>{_text(heading)}</h2>")

    def paragraph(self, text: str, style: str = "") -> None:
        """A paragraph, by its style (verdict, dim, good, bad)."""
        self._parts.append(
            f'<p class="{_text(style)}">{_text(text)}</p>' if style else f"<p>{_text(text)}</p>"
        )

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[Cell | str]]) -> None:
        """A table; what does not fit the screen scrolls inside."""
        body_rows = list(rows)
        styles = [cell.style if isinstance(cell, Cell) else "" for cell in (body_rows or [headers])[0]]
        head = "".join(
            f'<th class="{_text(style)}">{_text(header)}</th>'
            if style == "number"
            else f"<th>{_text(header)}</th>"
            for header, style in zip(headers, styles, strict=True)
        )
        body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in body_rows)
        self._parts.append(
            f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        )

    def picture(self, png: bytes, alternative: str, caption: str = "") -> None:
        """A PNG, inside the page."""
        self._parts.append(f"<figure>{_image(png, alternative)}{_caption(caption)}</figure>")

    def drawing(self, svg: str, alternative: str, caption: str = "") -> None:
        """An SVG, inside the page; its ``currentColor`` follows the reader's mode."""
        inner = svg[svg.index("<svg") :]
        self._parts.append(
            f'<figure role="img" aria-label="{_text(alternative)}">{inner}{_caption(caption)}</figure>'
        )

    def area_map(self, png: bytes, alternative: str, axis: Sequence[str], caption: str) -> None:
        """A picture of an area over time, with the names of its horizontal axis and its colours' key."""
        key = "".join(
            f'<span><i style="background: var(--{name})"></i>{name}</span>'
            for name in ("free", "cached", "taken")
        )
        names = "".join(f"<span>{_text(name)}</span>" for name in axis)
        self._parts.append(
            f'<figure class="map"><div class="key-line">{key}</div>{_image(png, alternative)}'
            f'<div class="axis">{names}</div>{_caption(caption)}</figure>'
        )

    def preformatted(self, text: str, summary: str = "") -> None:
        """Text as it stands; behind a line to click when it has a summary."""
        block = f"<pre>{_text(text)}</pre>"
        self._parts.append(
            f"<details><summary>{_text(summary)}</summary>{block}</details>" if summary else block
        )

    def html(self) -> str:
        """The page."""
        lead = f'<p class="dim">{_text(self.lead)}</p>' if self.lead else ""
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            # nothing is fetched, and no script runs, whatever a guest wrote into its messages
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
            "img-src data:; style-src 'unsafe-inline'\">\n"
            f"<title>{_text(self.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
            f"<h1>{_text(self.title)}</h1>\n{lead}\n" + "\n".join(self._parts) + "\n</body>\n</html>\n"
        )

    def save(self, folder: Path) -> Path:
        """Write ``index.html`` into the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "index.html"
        path.write_text(self.html(), encoding="utf-8")
        return path


def _text(text: str) -> str:
    return html.escape(text)


def _cell(cell: Cell | str) -> str:
    if isinstance(cell, str):
        return f"<td>{_text(cell)}</td>"
    return f'<td class="{_text(cell.style)}">{_text(cell.text)}</td>'


def _image(png: bytes, alternative: str) -> str:
    data = base64.b64encode(png).decode()
    return f'<img alt="{_text(alternative)}" src="data:image/png;base64,{data}">'


def _caption(text: str) -> str:
    return f"<figcaption>{_text(text)}</figcaption>" if text else ""
