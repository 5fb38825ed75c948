"""The curves of ``gcma size`` as a picture."""

from pathlib import Path
from typing import Final

from allocator.error import AllocatorError
from allocator.sizing import BIN_PAGES, Study

__all__ = ["PlotError", "plot"]

READS: Final = "#3a7ca5"
FAILURES: Final = "#c8553d"


class PlotError(AllocatorError):
    """No picture can be drawn here."""


def plot(path: Path, name: str, found: Study, cache: int, recommended: int | None) -> None:
    """Draw the part of reads that come from disk, and of requests that fail, over the size of the area.

    :param cache: pages of ordinary memory that the page cache has
    :raise PlotError: matplotlib is not installed
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlotError(f"{path}: drawing needs matplotlib: pip install matplotlib") from error
    rungs = [rung for rung in found.rungs if rung.pages <= 4 * (recommended or 65536)]
    end = rungs[-1].pages if rungs else 65536
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    sizes = range(0, end + 1, max(BIN_PAGES, end // 512 // BIN_PAGES * BIN_PAGES))
    handles = []
    if found.reads:
        handles += axes.plot(
            [size / BIN_PAGES for size in sizes],
            [100 * found.misses_at(cache + size) for size in sizes],
            color=READS,
            label="page reads from disk (bound)",
        )
    axes.set(xlabel="size of the area, MiB", ylabel="page reads from disk, %", title=f"gcma size: {name}")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    if found.requests:
        right = axes.twinx()
        # In steps: between two sizes no more can be said than that the smaller one's failures bound them.
        points = {rung.pages: 100 * rung.failed / found.requests for rung in rungs}
        if found.never_fails is not None and found.never_fails <= end:
            points[found.never_fails] = 0
        handles += right.plot(
            [pages / BIN_PAGES for pages in sorted(points)],
            [points[pages] for pages in sorted(points)],
            color=FAILURES,
            marker="o",
            drawstyle="steps-post",
            label="requests that fail",
        )
        right.set_ylabel("requests that fail, %")
        right.set_ylim(bottom=0)
    if recommended is not None:
        handles.append(
            axes.axvline(
                recommended / BIN_PAGES,
                color="#555555",
                linestyle="--",
                label=f"recommended: {recommended / BIN_PAGES:g} MiB",
            )
        )
    axes.legend(handles=handles, loc="upper right")
    figure.savefig(path, dpi=150)
