"""A verdict with the places of its findings, and its form as JSON."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from dts.finding import Finding, Severity
from dts.place import Place, locate
from dts.range import Range
from dts.tree import Tree
from dts.verdict import Verdict

SCHEMA = "gcma.check/1"


@dataclass(frozen=True, slots=True)
class Located:
    """A finding, and where its node or property is written; None when that is not known."""

    finding: Finding
    place: Place | None


@dataclass(frozen=True, slots=True)
class Report:
    """What is to be said about one file.

    :ivar path: as the user gave it
    :ivar found: the findings by place: the user's own file first, line by line
    """

    path: str
    tree: Tree
    verdict: Verdict
    found: tuple[Located, ...]

    @property
    def ok(self) -> bool:
        """Whether no finding is an error."""
        return self.count(Severity.ERROR) == 0

    def count(self, severity: Severity) -> int:
        """How many findings have that severity."""
        return sum(item.finding.severity is severity for item in self.found)


@dataclass(slots=True)
class Tally:
    """Sums over the files of a run.

    :ivar files: how many could be read
    :ivar bad: how many of them have errors
    :ivar found: findings by severity
    :ivar failures: what was said about the files that could not be read
    """

    files: int = 0
    bad: int = 0
    found: dict[Severity, int] = field(default_factory=lambda: dict.fromkeys(Severity, 0))
    failures: list[str] = field(default_factory=list)

    def add(self, item: Report) -> None:
        """Count a report in."""
        self.files += 1
        self.bad += not item.ok
        for severity in Severity:
            self.found[severity] += item.count(severity)


def report(path: str, tree: Tree, verdict: Verdict, ignored: Collection[str] = ()) -> Report:
    """The report on a file.

    :param ignored: codes of the findings to leave out
    """
    found = [
        Located(finding, locate(tree.sources, finding.node, finding.prop))
        for finding in verdict.findings
        if finding.code not in ignored
    ]
    found.sort(key=lambda item: _order(path, item.place))
    return Report(path, tree, verdict, tuple(found))


def _order(path: str, place: Place | None) -> tuple[bool, str, int, int]:
    if place is None:
        return True, "", 0, 0
    return place.file != path, place.file, place.line, place.column


def printable(text: str) -> str:
    """The text without control characters, which a hostile tree could send to the terminal."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text)


def document(reports: Iterable[Report]) -> dict[str, Any]:
    """All reports as the JSON document of ``gcma check --format json``."""
    return {"schema": SCHEMA, "files": [_file(item) for item in reports]}


def _file(item: Report) -> dict[str, Any]:
    root, verdict = item.tree.root, item.verdict
    model = root.properties.get("model", b"").partition(b"\0")
    return {
        "path": item.path,
        "ok": item.ok,
        "root": {
            "address_cells": root.address_cells,
            "size_cells": root.size_cells,
            "compatible": list(root.compatible),
            "model": model[0].decode("latin-1") if model[1] else None,
        },
        "memory": _pairs(verdict.memory),
        "memreserve": _pairs(verdict.memreserve),
        "regions": {
            path: {
                "kind": region.kind.value,
                "available": region.available,
                "compatible": list(region.compatible),
                "reg": _pairs(region.reg),
                "size": region.size,
                "alignment": region.alignment,
                "alloc_ranges": _pairs(region.alloc_ranges),
                "flags": list(region.flags),
                "state": region.state.value,
                "placed": None if region.placed is None else [region.placed.base, region.placed.size],
            }
            for path, region in verdict.regions.items()
        },
        "consumers": {
            path: {
                "regions": list(consumer.regions),
                "cpu_limit": consumer.cpu_limit,
                "dma_limit": consumer.dma_limit,
            }
            for path, consumer in verdict.consumers.items()
        },
        "overlaps": [list(pair) for pair in verdict.overlaps],
        "findings": [_finding(item.path, located) for located in item.found],
    }


def _finding(path: str, item: Located) -> dict[str, Any]:
    finding, place = item.finding, item.place
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "node": finding.node,
        "property": finding.prop,
        "message": finding.message,
        "file": path if place is None else place.file,
        "line": None if place is None else place.line,
        "column": None if place is None else place.column,
        "kernel": finding.kernel,
    }


def _pairs(ranges: Iterable[Range] | None) -> list[list[int]] | None:
    return None if ranges is None else [[item.base, item.size] for item in ranges]
