"""``gcma explore``: search for a shortest sequence of operations that breaks a revision."""

import argparse
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

from gcma.natural import natural

if TYPE_CHECKING:
    from allocator.explore import CounterExample, Report

DESCRIPTION: Final = """\
Drive a small machine (two files, a page cache, a guaranteed area of a few pages) at random through
reads, writes, direct writes, truncation, reclaim, inode eviction, unmount, allocation, release and
references. After every operation compare what readers see with what was written, and check that
no page is in two states, no buffer overlaps, every request with a free aligned run succeeds, and
the counters add up. What breaks is attributed to a defect, shrunk to a shortest sequence, and
printed as a program; the search goes on with that defect repaired. docs/semantics.md describes
revisions and defects."""
EPILOG: Final = """\
examples:
  gcma explore --revision v2                   the series as posted on 26 October 2025
  gcma explore --revision safe --steps 100000
  gcma explore --revision v2 --json -          for a report

exit status: 0 nothing broke, 1 something did, 2 usage
"""
REVISIONS: Final = ("rfc", "v1", "v2", "v2-7.3", "safe")
SCHEMA: Final = "gcma.explore/1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument(
        "--revision", choices=REVISIONS, default="safe", help="what to explore (default: safe)"
    )
    parser.add_argument(
        "--seconds", type=float, default=30.0, metavar="S", help="how long to search (default: 30)"
    )
    parser.add_argument(
        "--steps", type=natural, metavar="N", help="search for N operations instead, which repeats exactly"
    )
    parser.add_argument("--seed", type=natural, default=1, metavar="N", help="of the search (default: 1)")
    parser.add_argument(
        "--json", metavar="FILE", help="write the result as JSON; - prints it alone on stdout"
    )


def run(options: argparse.Namespace) -> int:
    """Search; the exit status."""
    if not 0 < options.seconds < 1e6 or (options.steps is not None and options.steps < 1):
        print("gcma explore: --seconds and --steps must be above 0", file=sys.stderr)
        return 2

    from allocator.explore import explore
    from allocator.revision import revision
    from gcma.output import claim, write_json
    from gcma.progress import Progress

    claim(options.json)
    with Progress(f"{options.revision}: operations", options.steps) as progress:
        report = explore(
            revision(options.revision),
            seconds=options.seconds,
            steps=options.steps,
            seed=options.seed,
            progress=lambda steps, _: progress.show(steps),
        )
    if options.json:
        write_json(_as_json(report), options.json, indent=2)
    if options.json != "-":
        print(_text(report))
    if report.interrupted:
        print("gcma explore: interrupted; what was found until then is above", file=sys.stderr)
        return 128 + signal.SIGINT
    return 1 if report.examples else 0


def _text(report: "Report") -> str:
    parts = [_one(example) for example in report.examples]
    count = len(report.examples)
    found = f"{count} {'defect' if count == 1 else 'defects'}" if count else "nothing broke"
    parts.append(
        f"{report.revision}: {found} in {report.steps:,} operations, "
        f"{report.seconds:.1f} s, seed {report.seed}"
    )
    return "\n".join(parts)


def _one(example: "CounterExample") -> str:
    hazard = example.hazard
    title = f"{hazard.name}: {hazard.summary}" if hazard else "a defect without a name"
    length = f"{len(example.operations)} operations"
    proof = (
        "no shorter sequence of the same operations breaks it"
        if example.shortest
        else "not every shorter one was tried"
    )
    return f"{title}\n  broken: {example.invariant.value}\n  {length}; {proof}\n\n{example.program()}"


def _as_json(report: "Report") -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "revision": report.revision,
        "seed": report.seed,
        "steps": report.steps,
        "seconds": round(report.seconds, 3),
        "interrupted": report.interrupted,
        "defects": [
            {
                "name": example.hazard.name if example.hazard else None,
                "summary": example.hazard.summary if example.hazard else None,
                "invariant": example.invariant.name.lower(),
                "detail": example.detail,
                "area_pages": example.pages,
                "operations": [[each.name, *each.arguments] for each in example.operations],
                "shortest": example.shortest,
                "program": example.program(),
            }
            for example in report.examples
        ],
    }
