"""``gcma test``: boot a board and run the DMA device tests."""

import argparse
import os
import shlex
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from board import Plan, Test

DESCRIPTION = """\
Boot the emulated board that a devicetree describes and run the device tests: camera,
display, DMA, codec and 3D buffers out of the guaranteed pool while file pages fill the
rest of it. The firmware and the host both verify the bytes."""
EPILOG = """\
examples:
  gcma test dts/boards/rpi-4-b.dts
  gcma test my.dts -k 'camera or display' --report out/
  gcma test my.dts --json results.json --junit results.xml
  gcma test my.dts --revision v2           the posted series, with its stale reads
  gcma test my.dts --trace fail.trace      the requests of a trace, each buffer written by DMA
  gcma test my.dts --dry-run               print QEMU's command line

With --trace file pages fill the pool; each request takes its buffer through the model, DMA
fills it with a pattern of its own, and no byte of that may have changed when it is released.

The report folder holds index.html (a page to look at), the screen's picture, pool.png
(who had which part of the pool, over time), the table as SVG, results.json, junit.xml,
the serial log and QEMU's command line.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gcma test``."""
    parser.add_argument("board", metavar="BOARD.dts", help="devicetree of the board, .dts or .dtb")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("-k", metavar="EXPR", help="only tests whose id matches: words with and, or, not, ( )")
    which.add_argument(
        "--trace",
        metavar="FILE",
        help="instead of the tests, repeat the requests of a trace (of gcma prove, ftrace, ...) on the board",
    )
    parser.add_argument(
        "--area", metavar="NAME", help="with --trace: only requests to the CMA area of that name"
    )
    parser.add_argument(
        "--revision",
        metavar="NAME",
        default="safe",
        help="semantics of the pool: safe (default), or as posted (rfc, v1, v2), whose hazards then show",
    )
    parser.add_argument("-x", "--exitfirst", action="store_true", help="stop at the first failed test")
    parser.add_argument("--list", action="store_true", help="list the tests and stop")
    parser.add_argument("--json", metavar="FILE", help="write results as JSON; - prints them alone on stdout")
    parser.add_argument("--junit", metavar="FILE", help="write results as JUnit XML")
    parser.add_argument("--report", metavar="DIR", help="write a report folder")
    parser.add_argument(
        "--watch", action="store_true", help="draw the pool while the board runs (terminal only)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print QEMU's command line and start nothing")
    parser.add_argument(
        "--no-color",
        action="store_true",
        help="no colours, also on a terminal; the environment's NO_COLOR says the same",
    )


def run(options: argparse.Namespace) -> int:
    """Run ``gcma test``."""
    from gcma.select import ExpressionError

    try:
        tests = _chosen(options)
    except ExpressionError as error:
        print(f"gcma test: {error}", file=sys.stderr)
        return 2
    if options.area is not None and options.trace is None:
        print("gcma test: --area picks requests of a trace and needs --trace", file=sys.stderr)
        return 2
    if not tests:
        print(f"gcma test: -k {options.k!r} matches no test; --list shows them", file=sys.stderr)
        return 2
    if options.list:
        for test in tests:
            print(f"{test.id:<26}{test.device:<12}{test.title}")
        return 0

    from board import load_plan

    plan = load_plan(options.board)
    if options.dry_run:
        from gcma.dryrun import print_firmware

        print_firmware(plan)
        return 0
    return _run(plan, tests, options)


def wants_color(options: argparse.Namespace) -> bool:
    """Whether the terminal gets colours (https://no-color.org)."""
    return not options.no_color and not os.environ.get("NO_COLOR") and sys.stdout.isatty()


def _chosen(options: argparse.Namespace) -> "list[Test]":
    if options.trace is None:
        return _selected(options.k)
    from board import Test, load_recording

    return [Test(load_recording(options.trace, options.area))]


def _selected(expression: str | None) -> "list[Test]":
    from board import ALL_TESTS
    from gcma.select import matcher

    matches = matcher(expression) if expression is not None else lambda _: True
    # a hidden case breaks something on purpose: only its full name runs it
    return [
        test
        for test in ALL_TESTS
        if (expression == test.id if getattr(test.subject, "hidden", False) else matches(test.id))
    ]


def _again(options: argparse.Namespace) -> str:
    """The command line of a run, less its outputs."""
    revision = None if options.revision == "safe" else options.revision
    given = {"-k": options.k, "--trace": options.trace, "--area": options.area, "--revision": revision}
    words = [word for name, value in given.items() if value is not None for word in (name, value)]
    return shlex.join(["gcma", "test", options.board, *words])


def _run(plan: "Plan", tests: "list[Test]", options: argparse.Namespace) -> int:
    from allocator import revision
    from board import Result, TestRun
    from board.machine import qemu_version
    from gcma.output import claim, claim_folder, write_text
    from gcma.results import RunResults
    from gcma.table import Table
    from gcma.testreport import write_page

    # what cannot be written is said now, not after the run
    claim(options.json, options.junit)
    folder = claim_folder(options.report) if options.report else None
    for test in tests if folder else []:
        assert folder is not None
        (folder / f"{test.id}.png").unlink(missing_ok=True)  # of an earlier run
    began = time.monotonic()
    of = revision(options.revision)
    results = []
    out = None if options.json == "-" else sys.stdout
    with Table(plan, tests, out, color=wants_color(options)) as table:
        test_run = TestRun(plan, folder, table.show if options.watch else None, of)
        ongoing = test_run.run(tests, table.started)
        for result in ongoing:
            results.append(result)
            table.ended(result)
            if options.exitfirst and result.result is Result.FAILED:
                break
        ongoing.close()
    done = RunResults(
        plan=plan,
        again=_again(options),
        qemu=".".join(map(str, qemu_version())),
        seconds=time.monotonic() - began,
        tests=tuple(results),
        tally=test_run.tally,
        command=test_run.command,
        serial=test_run.serial,
    )
    table.summary(done)
    if options.json:
        write_text(done.as_json(), options.json)
    if options.junit:
        write_text(done.as_junit(), options.junit)
    if folder is not None:
        done.write_folder(folder)
        table.save_picture(folder / "table.svg")
        page = write_page(done, test_run.history, folder)
        if options.json != "-":
            print(f"report: {page}")
    return 1 if done.failed else 0
