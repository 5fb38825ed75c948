"""``gcma replay``: the same workload against the allocators, side by side."""

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gcma.events import Events
from gcma.natural import natural
from gcma.output import claim, claim_folder, write_json
from gcma.recorded import recorded_lines, time_text

if TYPE_CHECKING:
    from allocator.replay import Machine, Summary

DESCRIPTION = """\
Run a recorded or generated workload against guaranteed CMA, CMA and a carve-out of the same
size, and compare: requests that failed, how long they took (modelled), reads saved, memory used.

TRACE is a file (ftrace, trace-cmd or perf script text, libCacheSim's oracleGeneral, CSV, or a
gcma trace; gzip and xz are fine), or one of the generated workloads: camera, video, browse,
build, suspend, fragment."""
EPILOG = """\
examples:
  gcma replay camera --size 128M
  gcma replay trace.txt --board my.dts
  gcma replay suspend --seconds 600 --anon 256M --pins 32 --json -
  gcma replay trace.txt --convert trace.gcma      a few bytes an event
  trace-cmd record -e cma -e filemap -e vmscan ... ; trace-cmd report | gcma replay -

exit status: 0 done, 1 guaranteed CMA failed a request, 2 usage or unreadable input
"""
SCHEMA: Final = "gcma.replay/1"
KINDS: Final = "gcma,cma,carveout"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gcma replay``."""
    parser.add_argument(
        "trace", metavar="TRACE", help="a trace file, - for stdin, or the name of a generated workload"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--board", metavar="FILE", help="take the area from the guaranteed pool of a devicetree"
    )
    where.add_argument("--size", metavar="N", default="128M", help="size of the area (default: 128M)")
    parser.add_argument("--allocator", metavar="LIST", default=KINDS, help=f"which ones (default: {KINDS})")
    add_memory_arguments(parser)
    parser.add_argument(
        "--pins", type=natural, metavar="K", default=0, help="pinned pages in the CMA area (default: 0)"
    )
    parser.add_argument("--revision", default="safe", metavar="R", help="rfc, v1, v2 or safe (default: safe)")
    add_trace_arguments(parser)
    parser.add_argument("--json", metavar="FILE", help="write results as JSON; - prints them alone on stdout")
    parser.add_argument("--report", metavar="DIR", help="write a page to look at, DIR/index.html")
    parser.add_argument("--convert", metavar="FILE", help="write the events as a gcma trace and stop")


def add_memory_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say how much memory there is beside the area, for :func:`anonymous`."""
    parser.add_argument("--memory", metavar="N", default="512M", help="ordinary memory (default: 512M)")
    parser.add_argument(
        "--anon",
        metavar="N",
        help="anonymous memory, at most half of --memory (default: half of it; 0: none)",
    )


def add_trace_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say how :class:`~gcma.events.Events` reads or generates the events."""
    parser.add_argument(
        "--form", metavar="FORM", help="form of the trace: ftrace, csv, oracleGeneral or gcma"
    )
    parser.add_argument(
        "--area", metavar="NAME", help="only requests to the CMA area of that name in a recording"
    )
    parser.add_argument(
        "--seconds",
        type=natural,
        default=300,
        metavar="S",
        help="length of a generated workload (default: 300)",
    )
    parser.add_argument(
        "--seed", type=natural, default=0, metavar="N", help="seed of a generated workload (default: 0)"
    )


def run(options: argparse.Namespace) -> int:
    """Run ``gcma replay``."""
    from allocator.replay import Kind, replay
    from gcma.progress import Progress

    names = [name.strip() for name in options.allocator.split(",")]
    known = [kind.value for kind in Kind]
    if unknown := [name for name in names if name not in known]:
        print(f"gcma replay: --allocator {unknown[0]!r} is unknown: use {', '.join(known)}", file=sys.stderr)
        return 2
    if len(set(names)) < len(names):
        print(
            f"gcma replay: --allocator {options.allocator!r} names one twice: name each once", file=sys.stderr
        )
        return 2
    events = Events(options)
    if options.convert:
        return _convert(options, events)
    machine = machine_of(options)
    claim(options.json)
    folder = claim_folder(options.report) if options.report else None
    with Progress("events", part=events.part) as progress:
        summaries = replay(events, [Kind(name) for name in names], machine, progress.show)
    recording = events.recording
    if options.json:
        data = {
            "schema": SCHEMA,
            "trace": options.trace,
            "area": machine.area_pages << 12,
            "memory": machine.memory_pages << 12,
            "anonymous": machine.anon_pages << 12,
            "pinned_pages": machine.pinned_pages,
            "revision": machine.revision.name,
            "interrupted": not events.whole,
            "skipped": events.skipped,
            "recorded": None if recording is None else recording.as_json(),
            "allocators": [summary.as_json() for summary in summaries],
        }
        write_json(data, options.json)
    if options.json != "-":
        _print(options.trace, machine, summaries, events)
    if folder is not None:
        from gcma.replayreport import write_page

        write_page(options.trace, machine, summaries, ROWS, [*recorded_lines(events.recording)], folder)
    if not events.whole:
        print("gcma replay: interrupted; the figures are of the events until then", file=sys.stderr)
        return 128 + signal.SIGINT
    return int(any(summary.allocator == "gcma" and summary.failed for summary in summaries))


def anonymous(options: argparse.Namespace) -> int:
    """Bytes of anonymous memory: as said, else half of all, as on a system that runs programs."""
    from gcma.sizes import parse_size

    if options.anon is None:
        return parse_size(options.memory) >> 13 << 12
    return 0 if options.anon == "0" else parse_size(options.anon)


def machine_of(options: argparse.Namespace) -> "Machine":
    """The machine that the command line describes."""
    from allocator.replay import Machine, MachineError
    from allocator.revision import revision
    from gcma.sizes import parse_size

    base = 0
    if options.board:
        import dts

        verdict = dts.examine(dts.load(options.board))
        pool = next((r for r in verdict.regions.values() if r.live and r.guaranteed and r.range), None)
        if pool is None or pool.range is None:
            raise MachineError(f"{options.board}: no guaranteed pool with a known place: see gcma check")
        base, size = pool.range.base, pool.range.size
    else:
        size = parse_size(options.size)
    return Machine(
        area_pages=size >> 12,
        memory_pages=parse_size(options.memory) >> 12,
        anon_pages=anonymous(options) >> 12,
        pinned_pages=options.pins,
        base_pfn=base >> 12,
        revision=revision(options.revision),
        seed=options.seed,
    )


def _convert(options: argparse.Namespace, events: Events) -> int:
    from allocator.trace_compact import CompactWriter
    from gcma.progress import Progress

    count = 0
    with (
        CompactWriter(Path(options.convert), {"source": Path(options.trace).name}) as writer,
        Progress("events", part=events.part) as progress,
    ):
        for block in events:
            writer.write(block)
            count += len(block)
            progress.show(count)
    size = Path(options.convert).stat().st_size
    print(f"{options.convert}: {count:,} events, {size / max(count, 1):.1f} bytes each")
    _print_skipped(events.skipped)
    return 0


ROWS: "Final[tuple[tuple[str, Callable[[Summary], str]], ...]]" = (
    ("requests", lambda s: f"{s.requests:,}"),
    ("  failed", lambda s: f"{s.failed:,}"),
    ("  modelled time p50", lambda s: time_text(s.p50_ns)),
    ("  p99", lambda s: time_text(s.p99_ns)),
    ("  max", lambda s: time_text(s.max_ns)),
    ("  pages dropped", lambda s: f"{s.dropped:,}"),
    ("  pages migrated", lambda s: f"{s.migrated:,}"),
    ("  waits for writeback", lambda s: f"{s.written_back:,}"),
    ("  ranges given up", lambda s: f"{s.retries:,}"),
    ("page reads", lambda s: f"{s.reads:,}"),
    ("  from the page cache", lambda s: f"{s.page_cache_hits:,}"),
    ("  from the cleancache", lambda s: f"{s.restored:,}"),
    ("  from disk", lambda s: f"{s.disk_reads:,}"),
    ("  hit rate", lambda s: f"{100 * s.hit_rate:.2f} %"),
    ("  refaults", lambda s: f"{s.refaults:,}"),
    ("page writes", lambda s: f"{s.writes:,}"),
    ("  pages to disk", lambda s: f"{s.disk_writes:,}"),
    ("area in use, mean", lambda s: f"{100 * s.used_mean:.1f} %"),
    ("most held at once", lambda s: f"{s.held_most / 256:,.1f} MiB"),
)


def _print(
    name: str,
    machine: "Machine",
    summaries: "list[Summary]",
    events: Events,
) -> None:
    from dts.range import size_text

    print(
        f"{name}: area {size_text(machine.area_pages << 12)}, "
        f"memory {size_text(machine.memory_pages << 12)}, "
        f"anonymous {size_text(machine.anon_pages << 12)}, pinned pages {machine.pinned_pages}"
    )
    print(f"{'':<24}" + "".join(f"{summary.allocator:>14}" for summary in summaries))
    for label, show in ROWS:
        print(f"{label:<24}" + "".join(f"{show(summary):>14}" for summary in summaries))
    for line in recorded_lines(events.recording):
        print(line)
    _print_skipped(events.skipped)


def _print_skipped(skipped: dict[str, int]) -> None:
    for kind, count in sorted(skipped.items()):
        print(f"left out: {count:,} {kind}")
