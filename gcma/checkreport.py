"""The page of a devicetree check."""

from pathlib import Path
from typing import TYPE_CHECKING

from dts import Severity
from dts.range import size_text
from dts.report import Report
from dts.report_text import counts, lines
from gcma.page import Cell, Page

if TYPE_CHECKING:
    from dts import Assumptions

STYLES = {Severity.ERROR: "bad", Severity.WARNING: "skip", Severity.NOTE: ""}


def write_page(reports: list[Report], failures: list[str], assumptions: "Assumptions", folder: Path) -> Path:
    """Write ``index.html``: for each file its findings, regions, consumers and memory map."""
    page = Page("gcma check", "what Linux makes of each reserved region, before boot")
    bad = bool(failures) or not all(report.ok for report in reports)
    page.paragraph(counts(reports), "verdict " + ("bad" if bad else "good"))
    for failure in failures:
        page.paragraph(failure, "bad")
    for report in reports:
        page.section(report.path)
        _findings(page, report)
        _regions(page, report)
        _consumers(page, report)
        text = "\n".join(lines(report, assumptions, colour=False, draw=True))
        page.preformatted(text)
    return page.save(folder)


def _findings(page: Page, report: Report) -> None:
    if not report.found:
        page.paragraph("No findings.", "good")
        return
    page.table(
        ("severity", "place", "code", "finding", "what to do"),
        (
            (
                Cell(item.finding.severity.value, STYLES[item.finding.severity]),
                f"{item.place.file}:{item.place.line}" if item.place else item.finding.node,
                Cell(item.finding.code, "key"),
                item.finding.what,
                item.finding.hint,
            )
            for item in report.found
        ),
    )


def _regions(page: Page, report: Report) -> None:
    regions = report.verdict.regions.values()
    if regions:
        page.table(
            ("region", "fate", "from", "size", "flags"),
            (
                (
                    Cell(region.path, "key"),
                    region.state.value,
                    Cell(f"{region.range.base:#x}" if region.range else "-", "number"),
                    Cell(size_text(region.range.size) if region.range else "-", "number"),
                    ", ".join(region.flags),
                )
                for region in regions
            ),
        )


def _consumers(page: Page, report: Report) -> None:
    consumers = report.verdict.consumers.values()
    if consumers:
        page.table(
            ("device", "regions", "reaches memory up to"),
            (
                (
                    Cell(consumer.path, "key"),
                    ", ".join(region or "(dangling)" for region in consumer.regions),
                    "no limit known" if consumer.cpu_limit is None else f"{consumer.cpu_limit:#x}",
                )
                for consumer in consumers
            ),
        )
