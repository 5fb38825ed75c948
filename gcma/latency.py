"""``gcma latency``: the latency table published in 2015 beside the model's."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gcma.natural import natural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from allocator.published import Row

DESCRIPTION: Final = """\
Make the requests of the latency table that was published with guaranteed CMA in 2015 to the model,
and print both: microseconds of 32 requests of each size to CMA and to guaranteed CMA. What is
fitted and what is predicted is said below the table and in docs/semantics.md."""
EPILOG: Final = """\
examples:
  gcma latency
  gcma latency --plot latency.png                or .svg

exit status: 0 done, 2 usage
"""
SCHEMA: Final = "gcma.latency/1"
NOTE: Final = """\
Fitted: the minima (cost of a request and of a page), guaranteed CMA at 512 and 32000 pages (cost of a page
that held data, pages used between requests), CMA at 16384 pages and its maximum (share of pages under
writeback, and how long one makes it wait), and an area still empty at CMA's two smallest sizes. Predicted:
the rest. The pages under writeback are random: other seeds move CMA's maxima by a factor of two."""
CMA_COLOUR: Final = "#c8553d"
GUARANTEED_COLOUR: Final = "#3a7ca5"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument(
        "--seed", type=natural, default=1, metavar="N", help="of the waits for the disk (default: 1)"
    )
    parser.add_argument("--plot", metavar="FILE", action="append", default=[], help="draw both: .png or .svg")
    parser.add_argument("--json", metavar="FILE", help="write both as JSON; - prints them alone on stdout")


def run(options: argparse.Namespace) -> int:
    """Print the tables; the exit status."""
    from allocator.published import PUBLISHED, modelled
    from gcma.output import claim, write_json
    from gcma.progress import Progress

    claim(options.json, *options.plot)
    with Progress("model"):
        rows = modelled(seed=options.seed)
    for path in options.plot:
        plot(Path(path), PUBLISHED, rows)
    if options.json:
        data = {
            "schema": SCHEMA,
            "seed": options.seed,
            "published": [asdict(row) for row in PUBLISHED],
            "modelled": [asdict(row) for row in rows],
        }
        write_json(data, options.json, indent=2)
    if options.json != "-":
        print(_table(PUBLISHED, rows))
    return 0


def _table(published: "Sequence[Row]", ours: "Sequence[Row]") -> str:
    lines = [
        "microseconds            CMA                                guaranteed CMA",
        "pages           least        most        mean       least        most        mean",
    ]
    for pair in zip(published, ours, strict=True):
        for name, row in zip(("published", "modelled"), pair, strict=True):
            head = f"{row.pages:>6}" if name == "published" else " " * 6
            figures = (
                row.cma.least,
                row.cma.most,
                row.cma.mean,
                row.guaranteed.least,
                row.guaranteed.most,
                row.guaranteed.mean,
            )
            lines.append(f"{head} {name[0]} " + "".join(f"{figure:>12,.0f}" for figure in figures))
    return "\n".join([*lines, "", "p: published, m: modelled", NOTE])


def plot(path: Path, published: "Sequence[Row]", ours: "Sequence[Row]") -> None:
    """Draw least, mean and most over the size of requests, published and modelled.

    :raise PlotError: matplotlib is not installed, or cannot write such a file
    """
    from gcma.sizeplot import PlotError

    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlotError(f"{path}: drawing needs matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    pair = figure.subplots(1, 2, sharey=True)
    for axes, kind, colour, title in (
        (pair[0], "cma", CMA_COLOUR, "CMA"),
        (pair[1], "guaranteed", GUARANTEED_COLOUR, "guaranteed CMA"),
    ):
        for rows, style, name in ((published, "-", "published"), (ours, "--", "model")):
            sizes = [row.pages for row in rows]
            values = [getattr(row, kind) for row in rows]
            axes.plot(
                sizes,
                [value.mean for value in values],
                style,
                color=colour,
                marker="o",
                label=f"mean, {name}",
            )
            axes.plot(
                sizes,
                [value.most for value in values],
                style,
                color=colour,
                alpha=0.55,
                marker="^",
                markersize=4,
            )
            axes.plot(
                sizes,
                [value.least for value in values],
                style,
                color=colour,
                alpha=0.55,
                marker="v",
                markersize=4,
            )
        axes.set(xscale="log", yscale="log", xlabel="pages of a request", title=title)
        axes.grid(alpha=0.3)
        axes.legend()
    pair[0].set_ylabel("microseconds: least (v), mean (o), most (^)")
    try:
        figure.savefig(path)
    except ValueError as error:
        raise PlotError(f"{path}: {error}: name a .png or .svg file") from error
