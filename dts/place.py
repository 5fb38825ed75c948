"""Where nodes and properties stand in the user's source files.

dtc itself knows: with ``-T -T`` it writes the tree back as source with the place of every node and property
behind it, across ``/include/`` and cpp's line markers, overrides counted. Its output follows the tree in
document order, so it is read in step with the tree. Columns are those of the preprocessed text; where a macro
before the name moved them, the name is looked up in the user's line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from dts import tool
from dts.error import DtsError
from dts.file import STANDARD_INPUT, read_file

_SPAN = re.compile(r"(?:^|, )(?P<file>.+?):(?P<l0>\d+):(?P<c0>\d+)-(?:(?P<l1>\d+):)?(?P<c1>\d+)(?=, |$)")
_NODE = re.compile(r"^(?:\w+: )*(?P<name>\S+) \{(?: /\* (?P<spans>.*) \*/)?$")
_PROPERTY = re.compile(r"^(?:\w+: )*(?P<name>[^\s=;]+)(?: = .*)?;(?: /\* (?P<spans>.*) \*/)?$")
_LINE_LIMIT = 1 << 16


@dataclass(frozen=True, slots=True)
class Place:
    """A span of a source file; lines and columns count from 1, the end column is inside."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(slots=True)
class SourceMap:
    """The places of a tree that was read from source; dtc is asked when the first place is wanted.

    :ivar name: the file, as the user wrote it
    :ivar text: what dtc read, with line markers
    :ivar mounts: (path in this source, path in the tree) of the parts that the tree holds: of an overlay, its
        fragments
    """

    name: str
    text: bytes = field(repr=False)
    mounts: tuple[tuple[str, str], ...] = (("", ""),)
    _places: dict[tuple[str, str | None], Place] | None = None
    _lines: dict[str, list[str]] = field(default_factory=dict, repr=False)

    def place(self, path: str, name: str | None = None) -> Place | None:
        """Where a node of the tree, or a property of it, is written here; None when not known."""
        if self._places is None:
            self._places = dict(self._read())
        label = name or path.rpartition("/")[2] or "/"
        for local, target in reversed(self.mounts):
            if path == target or path.startswith(target + "/"):
                found = self._places.get((local + path[len(target) :] or "/", name))
                if found is not None:
                    return self._settled(found, label)
        return None

    def line(self, place: Place) -> str | None:
        """The user's line at a place, None when the file cannot be read."""
        if place.file not in self._lines:
            self._lines[place.file] = _lines(place.file)
        lines = self._lines[place.file]
        return lines[place.line - 1] if 0 < place.line <= len(lines) else None

    def _read(self) -> Iterator[tuple[tuple[str, str | None], Place]]:
        """Every place of dtc's annotated output; nothing when dtc does not annotate."""
        directory, base = os.path.split(self.name)
        command = ["dtc", "-q", "-I", "dts", "-O", "dts", "-T", "-T", "-"]
        try:
            output = tool.run(command, self.text, directory, self.name).decode("utf-8", "replace")
        except DtsError:  # a dtc before 1.5 has no -T; findings then name nodes only
            return
        parts: list[str] = []
        for raw in output.split("\n"):
            line = raw.strip("\t ")
            if len(line) > _LINE_LIMIT:  # a long value; its name stands before it, its place behind
                line = line[: _LINE_LIMIT // 2] + line[-_LINE_LIMIT // 2 :]
            if node := _NODE.match(line):
                parts.append("" if not parts else node["name"])
                spans = node["spans"]
                name = None
            elif line.startswith("};"):
                if parts:
                    parts.pop()
                continue
            elif parts and (prop := _PROPERTY.match(line)):
                spans, name = prop["spans"], prop["name"]
            else:
                continue
            place = self._best(spans or "", base, directory)
            if place is not None:
                yield ("/".join(parts) or "/", name), place

    def _best(self, spans: str, base: str, directory: str) -> Place | None:
        """Of the spans that made a node, the last in the user's own file, else the first."""
        found = [
            Place(
                os.path.join(directory, span["file"]),  # noqa: PTH118  keeps "./" as the user wrote it
                int(span["l0"]),
                int(span["c0"]),
                int(span["l1"] or span["l0"]),
                int(span["c1"]) - 1,  # dtc gives the column behind
            )
            for span in _SPAN.finditer(spans)
        ]
        own = [
            place for place, span in zip(found, _SPAN.finditer(spans), strict=True) if span["file"] == base
        ]
        return own[-1] if own else found[0] if found else None

    def _settled(self, place: Place, name: str) -> Place:
        """The place moved to the written name: dtc points at a node's brace, macros shift columns."""
        line = self.line(place)
        if line is None:
            return place
        pattern = re.compile(rf"(?<![\w,.+@?#-]){re.escape(name)}(?![\w,.+@?#-])")
        hits = [match.start() + 1 for match in pattern.finditer(line)]
        if not hits:
            return place
        column = min(hits, key=lambda hit: abs(hit - place.column))
        if column == place.column:
            return place
        if place.line == place.end_line or column < place.column:
            return replace(place, column=column, end_line=place.line, end_column=column + len(name) - 1)
        return replace(place, column=column)


def _lines(file: str) -> list[str]:
    if file == STANDARD_INPUT:
        return []  # it has been read
    try:
        return [line[:_LINE_LIMIT] for line in read_file(file).decode("utf-8", "replace").split("\n")]
    except DtsError:
        return []


def locate(sources: Sequence[SourceMap], path: str, name: str | None = None) -> Place | None:
    """The place of a property, else of its node, else of the nearest node above; None when none is known.

    :param sources: the base first, then overlays: the last that writes a property wins
    """
    if name is not None:
        for source in reversed(sources):
            place = source.place(path, name)
            if place is not None:
                return place
    at = path
    while sources:
        for source in sources:
            place = source.place(at)
            if place is not None:
                return place
        if at == "/":
            break
        at = at.rpartition("/")[0] or "/"
    return None
