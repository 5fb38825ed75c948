"""Findings as a compiler prints them: place, message, the source line with a mark, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dts.assumptions import Assumptions, cma_alignment
from dts.finding import Severity
from dts.memory_map import memory_map
from dts.place import Place
from dts.range import size_text
from dts.report import Located, Report, Tally, printable
from dts.rule import plural

_COLOUR = {Severity.ERROR: "31", Severity.WARNING: "35", Severity.NOTE: "36"}
_LINE_WIDTH = 160


def lines(report: Report, assumptions: Assumptions, *, colour: bool, draw: bool) -> Iterator[str]:
    """The report on one file.

    :param colour: mark up for a terminal
    :param draw: end with a map of physical memory
    """
    for item in report.found:
        yield from _finding(report, item, colour)
    verdict = report.verdict
    if draw:
        grid = size_text(cma_alignment(assumptions, verdict.arch))
        page = size_text(assumptions.page_size)
        picture = list(memory_map(verdict))
        if picture:
            heading = f"memory of {report.path} ({verdict.arch.value}, {page} pages, CMA areas on {grid})"
            yield _paint(printable(heading), "1", colour)
            yield from map(printable, picture)
    states: dict[str, int] = {}
    for region in verdict.regions.values():
        states[region.state.value] = states.get(region.state.value, 0) + 1
    fates = ", ".join(f"{count} {state}" for state, count in states.items())
    yield printable(
        f"{report.path}: {counts([report])}; {plural(len(verdict.regions), 'region')}"
        + (f" ({fates})" if fates else "")
        + f", {plural(len(verdict.consumers), 'consumer')}"
    )


def summary(tally: Tally) -> str:
    """The last line of a run over several files."""
    failed = len(tally.failures)
    unread = f", {failed} unreadable" if failed else ""
    found = ", ".join(plural(count, severity.value) for severity, count in tally.found.items())
    return f"{plural(tally.files + failed, 'file')}: {tally.bad} with errors{unread}; {found}"


def counts(reports: Iterable[Report]) -> str:
    """``1 error, 2 warnings, 0 notes``."""
    every = list(reports)
    return ", ".join(
        plural(sum(report.count(severity) for report in every), severity.value) for severity in Severity
    )


def _finding(report: Report, item: Located, colour: bool) -> Iterator[str]:
    finding, place = item.finding, item.place
    where = report.path if place is None else f"{place.file}:{place.line}:{place.column}"
    kind = _paint(f"{finding.severity.value}:", "1;" + _COLOUR[finding.severity], colour)
    yield f"{_paint(printable(where) + ':', '1', colour)} {kind} {printable(finding.what)} [{finding.code}]"
    margin = "     "
    if place is not None:
        source = next(
            (line for line in (source.line(place) for source in report.tree.sources) if line is not None),
            None,
        )
        if source is not None and source.strip():
            margin = " " * max(len(str(place.line)), 4) + " "
            text, mark = _excerpt(source, place)
            yield f"{place.line:>{len(margin) - 1}} | {text}"
            yield f"{margin}| {_paint(mark, _COLOUR[finding.severity], colour)}"
    else:
        yield f"{margin}= node: {printable(finding.node)}"
    yield f"{margin}= help: {printable(finding.hint)}"
    if finding.kernel is not None:
        yield f"{margin}= kernel: {finding.kernel}()"


def _excerpt(source: str, place: Place) -> tuple[str, str]:
    """The source line and the mark below it; tabs stay, so that both line up."""
    source = source.rstrip("\r\n")
    first = min(max(place.column, 1), len(source) + 1)
    last = place.end_column if place.end_line == place.line else len(source)
    length = max(1, min(last, len(source)) - first + 1)
    lead = "".join(letter if letter == "\t" else " " for letter in source[: first - 1])
    if len(source) > _LINE_WIDTH:  # a window around the mark
        start = max(0, first - _LINE_WIDTH // 4)
        source, lead = source[start : start + _LINE_WIDTH], lead[start:]
        length = min(length, _LINE_WIDTH - len(lead))
    kept = "".join(letter if letter == "\t" else printable(letter)[:1] for letter in source)
    return kept, lead + "^" + "~" * (length - 1)


def _paint(text: str, code: str, colour: bool) -> str:
    return f"\033[{code}m{text}\033[0m" if colour else text
