"""The report page: safe whatever a guest says, complete without a network."""

import re
from html.parser import HTMLParser
from pathlib import Path

from gcma.page import Cell, Page

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=y>\"'&"


class Reader(HTMLParser):
    """Collects tags and text, and insists that tags are closed in order."""

    VOID = frozenset({"meta", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def full_page() -> Page:
    page = Page(HOSTILE, HOSTILE)
    page.section(HOSTILE)
    page.paragraph(HOSTILE)
    page.paragraph(HOSTILE, "good")
    page.table((HOSTILE, "b"), [(HOSTILE, Cell(HOSTILE, "number")), ("x", "y")])
    page.picture(b"\x89PNG", HOSTILE, HOSTILE)
    page.area_map(b"\x89PNG", HOSTILE, (HOSTILE, "1 s"), HOSTILE)
    page.drawing('<?xml version="1.0"?><svg><g></g></svg>', HOSTILE)
    page.preformatted(HOSTILE)
    page.preformatted(HOSTILE, HOSTILE)
    return page


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def test_hostile_text_stays_text() -> None:
    reader = read(full_page().html())
    assert "script" not in reader.tags
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    assert reader.text.count(HOSTILE) == 15  # everywhere but in attributes


def test_nothing_is_fetched() -> None:
    reader = read(full_page().html())
    sources = [value for name, value in reader.attributes if name in ("src", "href")]
    assert len(sources) == 2
    assert all(value and value.startswith("data:image/png;base64,") for value in sources)
    assert "link" not in reader.tags
    assert not re.search(r"url\(|@import", full_page().html())
    assert ("content", "default-src 'none'; img-src data:; style-src 'unsafe-inline'") in reader.attributes


def test_saved_page_is_utf8(tmp_path: Path) -> None:
    page = Page("größe", "µs")
    path = page.save(tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "index.html"
    assert "größe" in path.read_text(encoding="utf-8")
