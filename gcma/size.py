"""``gcma size``: how large must the area be?"""

import argparse
import contextlib
import dataclasses
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gcma.events import Events, generated
from gcma.natural import natural
from gcma.output import claim, claim_folder, write_json
from gcma.recorded import recorded_lines
from gcma.replay import add_memory_arguments, add_trace_arguments, anonymous, machine_of

if TYPE_CHECKING:
    from allocator.replay import Summary
    from allocator.sizing import Study

DESCRIPTION = """\
Study a trace (see gcma replay --help) in one pass: the smallest area in which none of its
requests fails, how many fail in each smaller one, and what the area's idle pages save in reads
from disk, for all sizes at once. --sweep replays single sizes exactly, on all cores or on a
Dask cluster."""
EPILOG = """\
examples:
  gcma size trace.txt --board my.dts             with the floor that gcma prove guarantees
  gcma size camera --plot camera.png             or .svg, for a picture
  gcma size huge.gcma --rate 0.01                sample one page in a hundred
  gcma size browse --sweep 64M,128M,256M --jobs 4
  gcma size browse --sweep 64M,128M --scheduler tcp://head:8786

exit status: 0 done, 2 usage or unreadable input
"""
SCHEMA: Final = "gcma.size/1"
MIB_PAGES: Final = 256
STEP_MIB: Final = 16
CMA_ALIGNMENT_PAGES: Final = 512
"""Areas are multiples of 2 MiB on arm64."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gcma size``."""
    parser.add_argument(
        "trace", metavar="TRACE", help="a trace file, - for stdin, or the name of a generated workload"
    )
    parser.add_argument(
        "--board", metavar="FILE", help="devicetree: its declared buffers give the proven floor"
    )
    add_memory_arguments(parser)
    parser.add_argument("--rate", type=float, default=1.0, metavar="R", help="sample this part of the pages")
    parser.add_argument("--report", metavar="DIR", help="write a page to look at, DIR/index.html")
    parser.add_argument(
        "--plot", metavar="FILE", action="append", default=[], help="draw the curves: .png or .svg"
    )
    parser.add_argument("--json", metavar="FILE", help="write results as JSON; - prints them alone on stdout")
    add_trace_arguments(parser)
    parser.add_argument("--sweep", metavar="SIZES", help="replay these sizes exactly, as in 64M,128M")
    parser.add_argument(
        "--revisions", metavar="LIST", default="safe", help="revisions to sweep (default: safe)"
    )
    parser.add_argument(
        "--seeds", type=natural, metavar="K", default=1, help="seeds of a workload to sweep (default: 1)"
    )
    parser.add_argument(
        "--jobs", type=natural, metavar="J", help="processes for the sweep (default: one a core)"
    )
    parser.add_argument("--scheduler", metavar="ADDRESS", help="run the sweep on a Dask cluster")


def run(options: argparse.Namespace) -> int:
    """Run ``gcma size``."""
    from allocator.sizing import study
    from gcma.progress import Progress
    from gcma.sizes import parse_size

    if wrong := [name for name in options.plot if Path(name).suffix not in (".png", ".svg")]:
        print(f"gcma size: --plot {wrong[0]}: expected a name that ends in .png or .svg", file=sys.stderr)
        return 2
    if options.seeds < 1 or (options.jobs is not None and options.jobs < 1):
        print("gcma size: --seeds and --jobs must be at least 1", file=sys.stderr)
        return 2
    if options.sweep is not None and (options.trace == "-" or Path(options.trace).is_fifo()):
        print("gcma size: --sweep reads the trace again and again; give a file, not a pipe", file=sys.stderr)
        return 2
    memory = parse_size(options.memory) >> 12
    anon = anonymous(options) >> 12
    if anon > memory // 2:
        print("gcma size: --anon must be at most half of --memory", file=sys.stderr)
        return 2
    cache = memory - anon
    claim(options.json, *options.plot)
    folder = claim_folder(options.report) if options.report else None
    floor = _floor(options.board) if options.board else None
    summaries = _sweep(options) if options.sweep is not None else []
    events = Events(options)
    with Progress("events", part=events.part) as progress:
        found = study(events, rate=options.rate, progress=progress.show)
    recording = events.recording
    recommended = _recommend(found, floor)
    if options.json:
        data = {
            "schema": SCHEMA,
            "trace": options.trace,
            "memory": memory << 12,
            "anonymous": anon << 12,
            "recommended": None if recommended is None else recommended << 12,
            "proven_floor": None if floor is None else floor << 12,
            "skipped": events.skipped,
            "recorded": None if recording is None else recording.as_json(),
            "sweep": [_swept(label, summary) for label, summary in summaries],
            **dataclasses.asdict(found),
        }
        write_json(data, options.json, indent=None)
    for name in options.plot:
        from gcma.sizeplot import plot

        plot(Path(name), options.trace, found, cache, recommended)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        _print(options.trace, found, memory, anon, options.board, floor, recommended, summaries)
        for line in recorded_lines(recording):
            print(line)
        for kind, count in sorted(events.skipped.items()):
            print(f"left out: {count:,} {kind}")
    if options.json != "-":
        print(out.getvalue(), end="")
    if folder is not None:
        _report(folder, options.trace, out.getvalue(), found, cache, recommended)
    return 0


def _report(folder: Path, name: str, text: str, found: "Study", cache: int, recommended: int | None) -> None:
    """Write ``index.html`` and its picture."""
    from gcma.page import Page
    from gcma.sizeplot import plot

    picture = folder / "size.png"
    plot(picture, name, found, cache, recommended)
    page = Page(f"gcma size {name}", "how large must the area be; what does each size cost and gain")
    if recommended is not None:
        page.paragraph(f"Recommended: {_mib(recommended)}", "verdict good")
    page.picture(picture.read_bytes(), "reads from disk and failed requests over the size of the area")
    page.preformatted(text)
    page.save(folder)


def _floor(board: str) -> int | None:
    """The size in which every order of the declared buffers succeeds, None when nothing is declared or
    known.
    """
    import dts
    from allocator.prove import decide
    from allocator.prove_board import problems

    tree = dts.load(board)
    found, _notes = problems(tree, dts.examine(tree))
    sizes = [decide(problem, seconds=10).enough_pages for problem in found]
    known = [size for size in sizes if size is not None]
    return sum(known) if known and len(known) == len(sizes) else None


def _recommend(found: "Study", floor: int | None) -> int | None:
    """The larger of what the trace needs and what is proven, in whole multiples of the area's alignment."""
    needs = [size for size in (found.never_fails, floor) if size]
    return -(-max(needs) // CMA_ALIGNMENT_PAGES) * CMA_ALIGNMENT_PAGES if needs else None


def _sweep(options: argparse.Namespace) -> "list[tuple[dict[str, Any], Summary]]":
    from allocator.replay import Kind
    from allocator.sizing_sweep import Source, Task, cluster, local, sweep
    from gcma.progress import Progress

    is_workload = generated(options.trace)
    labels, tasks = [], []
    for size in options.sweep.split(","):
        for revision in options.revisions.split(","):
            for seed in range(options.seed, options.seed + (options.seeds if is_workload else 1)):
                chosen = argparse.Namespace(
                    board=None,
                    size=size,
                    memory=options.memory,
                    anon=options.anon,
                    pins=0,
                    revision=revision.strip(),
                    seed=seed,
                )
                where = Source(
                    options.trace if is_workload else str(Path(options.trace).resolve()),
                    options.form,
                    options.area,
                    options.seconds if is_workload else 0,
                    seed,
                )
                machine = machine_of(chosen)
                labels.append(
                    {"size": machine.area_pages << 12, "revision": machine.revision.name, "seed": seed}
                )
                tasks.append(Task(where, Kind.GCMA, machine))
    with Progress("replays", len(tasks)) as progress:
        if options.scheduler:
            with cluster(options.scheduler) as engine:
                summaries = sweep(tasks, engine, progress.show)
        else:
            summaries = sweep(tasks, local(options.jobs), progress.show)
    return list(zip(labels, summaries, strict=True))


def _swept(label: dict[str, Any], summary: "Summary") -> dict[str, Any]:
    data = summary.as_json()
    del data["samples"]
    return {**label, **data}


def _print(
    name: str,
    found: "Study",
    memory: int,
    anon: int,
    board: str | None,
    floor: int | None,
    recommended: int | None,
    summaries: "list[tuple[dict[str, Any], Summary]]",
) -> None:
    cache = memory - anon
    print(
        f"{name}: {found.requests:,} requests, at most {_mib(found.held_most)} held at once; "
        f"{found.reads:,} page reads of {found.pages:,} pages in {found.seconds:,.1f} s"
    )
    if found.reads:
        print(f"Memory beside the area: {_mib(memory)}, anonymous {_mib(anon)}.")
    if found.requests:
        if found.never_fails is None:
            print("Some request fails even in 64 GiB.")
        else:
            print(f"{_mib(found.never_fails)} never failed in this trace.")
        interesting = [rung for rung in found.rungs if rung.pages <= 2 * (found.never_fails or 1 << 24)]
        print(f"{'size':>10}{'failed':>10}{'of these fragmented':>22}{'read from disk':>17}")
        for rung in interesting[-12:]:
            saved = f"{100 * found.misses_at(cache + rung.pages):.2f} %" if found.reads else "-"
            print(f"{_mib(rung.pages):>10}{rung.failed:>10,}{rung.fragmented:>22,}{saved:>17}")
    if board is not None and floor is None:
        print(f"No proven floor: gcma prove {board} has no answer, or no buffers to answer for.")
    if floor is not None:
        print(f"Proven floor: {_mib(floor)}; in an area of that size no order of the declared buffers fails.")
    if recommended is not None:
        print(f"Recommended: {_mib(recommended)}, for the reasons above.")
    if found.reads and found.seconds:
        base = recommended or 0
        step = STEP_MIB * MIB_PAGES
        rate = found.reads / found.seconds
        idle, more = (found.misses_at(cache + pages) for pages in (base, base + step))
        print(
            f"The idle area saves up to {(found.misses_at(cache) - idle) * rate:,.1f} reads/s, "
            f"the next {STEP_MIB} MiB up to {(idle - more) * rate:,.1f} more."
        )
    if found.error:
        print(
            f"Sampled {100 * found.rate:g} % of the pages: miss ratios are good to about {found.error:.4f}."
        )
    for label, summary in summaries:
        print(
            f"{_mib(label['size'] >> 12):>10}  {label['revision']:<5} seed {label['seed']}: "
            f"{summary.failed:,} failed, {100 * summary.hit_rate:.2f} % of reads hit, "
            f"{summary.dropped:,} pages dropped"
        )


def _mib(pages: int) -> str:
    return f"{pages // MIB_PAGES:,} MiB" if pages % MIB_PAGES == 0 else f"{pages / MIB_PAGES:,.1f} MiB"
