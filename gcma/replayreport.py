"""The page of a replay: the allocators side by side."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dts.range import size_text
from gcma.figure import latencies, use
from gcma.page import Cell, Page

if TYPE_CHECKING:
    from allocator.replay import Machine, Summary


def write_page(
    name: str,
    machine: "Machine",
    summaries: "list[Summary]",
    rows: "Sequence[tuple[str, Callable[[Summary], str]]]",
    recorded: Sequence[str],
    folder: Path,
) -> Path:
    """Write ``index.html``: verdict, latencies, use of the area over time, all figures as a table.

    :param recorded: what the recording tells of its own kernel, in lines
    """
    page = Page(
        f"gcma replay {name}",
        f"area {size_text(machine.area_pages << 12)}, memory {size_text(machine.memory_pages << 12)}, "
        f"anonymous {size_text(machine.anon_pages << 12)}, pinned pages {machine.pinned_pages}; "
        f"revision {machine.revision.name}",
    )
    for summary in summaries:
        page.paragraph(
            f"{summary.allocator}: {summary.requests - summary.failed:,} of {summary.requests:,} requests "
            "succeeded",
            "verdict " + ("bad" if summary.failed else "good"),
        )
    page.section("How long a request takes")
    page.drawing(
        latencies(summaries),
        "distribution of the modelled time of a request, for each allocator",
        "Modelled: events counted, turned into time by the cost table that fits the measurements published "
        "in 2015.",
    )
    page.section("Use of the area")
    page.drawing(
        use(summaries, machine.area_pages),
        "part of the area in use over time, for each allocator",
        "Solid: by devices, file pages and movable pages together. Dotted: by devices alone.",
    )
    page.section("All figures")
    page.table(
        ("", *(summary.allocator for summary in summaries)),
        (
            (Cell(label.strip(), "key"), *(Cell(show(summary), "number") for summary in summaries))
            for label, show in rows
        ),
    )
    if recorded:
        page.section("What was recorded")
    for line in recorded:
        page.paragraph(line.removeprefix("recorded: "))
    return page.save(folder)
