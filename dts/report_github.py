"""Findings as annotations of a GitHub workflow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dts.finding import Severity
from dts.report import Report, printable

_COMMAND = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def commands(reports: Iterable[Report]) -> Iterator[str]:
    """One workflow command a finding, which GitHub shows beside the line."""
    for report in reports:
        for item in report.found:
            finding, place = item.finding, item.place
            where = {"file": report.path if place is None else place.file}
            if place is not None:
                where |= {"line": str(place.line), "endLine": str(place.end_line), "col": str(place.column)}
            where["title"] = finding.code
            fields = ",".join(f"{name}={_value(value)}" for name, value in where.items())
            yield f"::{_COMMAND[finding.severity]} {fields}::{_text(finding.message)}"


def _text(text: str) -> str:
    return printable(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _value(text: str) -> str:
    return _text(text).replace(":", "%3A").replace(",", "%2C")
