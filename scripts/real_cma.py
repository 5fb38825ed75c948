#!/usr/bin/env python3
"""Linux's own CMA and the models, on the same requests: who succeeds, where, and what it costs.

    .venv/bin/python scripts/real_cma.py [--requests N] [--trace DIR] [SCENARIO...]

Boots Debian's kernel once for each scenario, with a module that calls cma_alloc().
The time is the guest's: -icount makes it 2 ns an instruction, the same in every run, and
no board's latency. docs/linux.md explains each column.
"""

import argparse
import lzma
import sys
from pathlib import Path

import dts
from board.error import BoardError
from board.linux_bench import (
    POOL,
    SCENARIOS,
    SIZES,
    Call,
    guaranteed,
    plan_bench,
    read_calls,
    requests,
    run,
    script,
    trace_of,
)
from board.linux_files import record
from guest import GuestError

BOARD = Path(__file__).resolve().parent.parent / "dts" / "boards" / "rpi-4-b.dts"


def main() -> int:
    """Run the scenarios; 1 when real CMA answered otherwise than the model, or the guaranteed area failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "scenario", nargs="*", help=", ".join(f"{each.name}: {each.title}" for each in SCENARIOS)
    )
    parser.add_argument(
        "--requests", type=int, default=32, metavar="N", help="calls of cma_alloc (default 32)"
    )
    parser.add_argument(
        "--trace",
        type=Path,
        metavar="DIR",
        help="keep the kernel's traces, for gcma replay, and record one of file reads beside a camera",
    )
    options = parser.parse_args()
    chosen = [each for each in SCENARIOS if not options.scenario or each.name in options.scenario]
    sequence = requests(options.requests)
    plan = plan_bench(dts.load(BOARD))
    place = plan.verdict().regions[POOL].range
    assert place is not None
    ours = guaranteed(plan, sequence)
    print(
        f"{'scenario':<9}{'size':>8}{'real CMA: met':>15}{'p50':>11}{'most':>11}   answered as the model does"
    )
    differing = 0
    for scenario in chosen:
        log = run(plan, script(scenario, sequence, trace=options.trace is not None))
        calls = read_calls(log, sequence, place)
        if options.trace is not None:
            keep(options.trace / f"{scenario.name}.txt.xz", log)
        for pages in SIZES:
            print_row(scenario.name, pages, [call for call in calls if call.request.pages == pages])
        differing += sum(not call.agrees for call in calls)
    if options.trace is not None and not options.scenario:
        keep(options.trace / "files-and-camera.txt.xz", record(plan))
    print(
        f"the guaranteed area, full of cached pages: {ours.succeeded} of {ours.requests} met; "
        f"{ours.dropped_pages} cached pages dropped, none moved, none waited for"
    )
    return 1 if differing or ours.succeeded < ours.requests else 0


def keep(path: Path, log: str) -> None:
    """Write the kernel's trace, packed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lzma.compress(("\n".join(trace_of(log)) + "\n").encode(), preset=9))


def print_row(name: str, pages: int, calls: list[Call]) -> None:
    """One size in one scenario."""
    times = sorted(call.latency_ns / 1e6 for call in calls)
    met = sum(call.pfn is not None for call in calls)
    same = sum(call.agrees for call in calls)
    skipped = sum(call.skipped for call in calls)
    why = f", {skipped} places passed over" if skipped else ""
    print(
        f"{name:<9}{pages * 4:>5} KiB{met:>9} of {len(calls):<3}{times[len(times) // 2]:>8.2f} ms"
        f"{times[-1]:>8.2f} ms   {same} of {len(calls)}{why}"
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BoardError, GuestError, dts.DtsError) as error:
        print(f"real_cma: {error}", file=sys.stderr)
        sys.exit(2)
