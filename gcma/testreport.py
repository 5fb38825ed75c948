"""The page of a test run."""

from pathlib import Path

from allocator.areamap import AreaHistory
from board import Result
from dts.range import size_text
from gcma.page import Cell, Page
from gcma.results import RunResults

STYLES = {Result.PASSED: "good", Result.FAILED: "bad", Result.SKIPPED: "skip"}
SERIAL_CHARACTERS = 20_000
POOL_PICTURE = "pool.png"


def write_page(results: RunResults, history: AreaHistory, folder: Path) -> Path:
    """Write ``index.html`` beside the pictures of the run."""
    plan, tally = results.plan, results.tally
    page = Page(
        f"gcma test {plan.name}",
        f"{plan.machine.name} under QEMU {results.qemu}; pool {plan.pool.path} at {plan.place}, "
        f"{size_text(plan.place.size)}",
    )
    verified = sum(test.bytes_verified for test in results.tests)
    passed, skipped = results.count(Result.PASSED), results.count(Result.SKIPPED)
    page.paragraph(
        f"{passed} passed, {results.failed} failed, {skipped} skipped in {results.seconds:.1f} s",
        "verdict " + ("bad" if results.failed else "good"),
    )
    page.paragraph(
        f"{verified / 2**20:.0f} MiB of DMA and cached data verified byte by byte; "
        f"{tally.allocations} allocations, {tally.allocation_failures} refused; "
        f"{tally.dropped_pages} cached pages dropped for devices; "
        f"{tally.put} pages put, {tally.hit} hits, {tally.miss} misses, {tally.stale_reads} stale reads."
    )
    _failures(page, results)
    _map(page, results, history, folder)
    for test in results.tests:
        path = folder / f"{test.id}.png"
        if path.exists():
            page.section(f"Screen: {test.id}")
            caption = "drawn by DMA, taken from QEMU"
            page.picture(path.read_bytes(), f"the board's screen at the end of {test.id}", caption)
    page.section("Tests")
    page.table(
        ("outcome", "test", "device", "verified", "time", "message"),
        (
            (
                Cell(test.result.value, STYLES[test.result]),
                Cell(test.id, "key"),
                test.device,
                Cell(f"{test.bytes_verified:,}", "number"),
                Cell(f"{test.seconds:.3f} s", "number"),
                test.message or test.title,
            )
            for test in results.tests
        ),
    )
    page.section("To run it again")
    page.preformatted(f"{results.again}\n\n{results.command}")
    if results.serial:
        page.preformatted(results.serial[-SERIAL_CHARACTERS:], "serial log")
    return page.save(folder)


def _failures(page: Page, results: RunResults) -> None:
    for test in results.tests:
        if test.result is Result.FAILED:
            page.section(f"Failed: {test.id}")
            page.paragraph(test.message, "bad")
            if test.evidence:
                page.preformatted(test.evidence)


def _map(page: Page, results: RunResults, history: AreaHistory, folder: Path) -> None:
    if len(history.samples) < 2:
        return
    from gcma.areamap import picture

    image = picture(history)
    (folder / POOL_PICTURE).write_bytes(image)

    page.section("The pool over time")
    place = results.plan.place
    page.area_map(
        image,
        "map of the pool over time: free, cached and taken pages",
        (f"{history.times[0]:.1f} s", f"{history.times[-1]:.1f} s"),
        f"Address upwards from {place.base:#x} to {place.last:#x}, time to the right. Devices take buffers "
        "first fit from below; file pages fill from above, and are dropped where a device wants the memory.",
    )
