"""``gcma check --against-linux``: the verdict beside what a real kernel makes of the tree."""

import argparse
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from board.linux import LinuxPlan
    from board.linux_agree import Row

EARLY_SECONDS: Final = 60.0
FULL_SECONDS: Final = 180.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that ask Linux."""
    group = parser.add_argument_group("comparison with a real kernel")
    group.add_argument(
        "--against-linux",
        action="store_true",
        help="boot the tree on the emulated board and report every disagreement",
    )
    group.add_argument(
        "--early",
        action="store_true",
        help="stop Linux once it has set up reserved memory, before its first process",
    )
    group.add_argument("--kernel", metavar="IMAGE", help="7.3 (default) or 6.12 of Debian, or an arm64 Image")


def misplaced(options: argparse.Namespace) -> str | None:
    """An option that means something together with ``--against-linux`` only, and stands without it."""
    given = {"--early": options.early, "--kernel": options.kernel is not None}
    return None if options.against_linux else next((name for name, there in given.items() if there), None)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A tree, the kernel that booted it, and what both told."""

    path: str
    release: str
    rows: "tuple[Row, ...]"


def run(options: argparse.Namespace) -> int:
    """Compare; 0 all agree or are explained, 1 some do not, 2 a tree or the kernel cannot be had."""
    from board.error import BoardError
    from board.kernel import choose_kernel
    from board.linux import plan_linux
    from dts import DtsError, load
    from gcma.progress import Progress

    kernel = choose_kernel(options.kernel)
    words = f"gcma=report ignore_loglevel {options.cmdline}".strip()
    done: list[Comparison] = []
    failed = False
    for path in options.files:
        try:
            plan = plan_linux(load(path, options.overlay), kernel, words)
            with Progress(path, begin="Linux boots, for some seconds"):
                done.append(_compare(plan, early=options.early))
        except (DtsError, BoardError) as error:
            failed = True
            evidence = getattr(error, "evidence", None)
            print(f"gcma check: {evidence() if callable(evidence) else error}", file=sys.stderr)
            continue
        if options.format != "json":
            _print(done[-1], every=len(options.files) == 1)
    if options.format == "json":
        _print_json(done)
    else:
        _summary(done)
    bad = any(not row.agree and not row.why for item in done for row in item.rows)
    return 2 if failed else int(bad)


def _compare(plan: "LinuxPlan", *, early: bool) -> Comparison:
    from board.linux import LinuxBoard, PanicError, initramfs
    from board.linux_agree import compare_early, compare_late, compare_panic
    from board.linux_log import DONE, read_log
    from board.linux_report import read_report

    verdict = plan.verdict()
    rows: list[Row] = []
    with LinuxBoard(plan, initramfs(interactive=False)) as board:
        try:
            board.run(lambda: early and board.saw(DONE), EARLY_SECONDS if early else FULL_SECONDS)
            if not early:
                rows += compare_late(verdict, read_log(board.log), read_report(board.log))
        except PanicError:
            rows.append(compare_panic(verdict, board.log))
        log = read_log(board.log)
    return Comparison(plan.name, log.release, (*compare_early(plan, verdict, log), *rows))


def _print(item: Comparison, *, every: bool) -> None:
    differing = sum(not row.agree for row in item.rows)
    print(f"{item.path} on Linux {item.release}: {len(item.rows) - differing} of {len(item.rows)} agree")
    for row in item.rows:
        if row.agree and every:
            print(f"  agree   {row.subject}: {row.linux}")
        elif not row.agree:
            print(f"  {'differ ' if row.why else 'DIFFER '} {row.subject}: {row.ours}; Linux: {row.linux}")
            if row.why:
                print(f"          known: {row.why}")


def _summary(done: list[Comparison]) -> None:
    rows = [row for item in done for row in item.rows]
    agree = sum(row.agree for row in rows)
    explained = sum(not row.agree and bool(row.why) for row in rows)
    trees = "1 tree" if len(done) == 1 else f"{len(done)} trees"
    print(
        f"{trees}, {len(rows)} statements: {agree} agree, {explained} differ for a known reason, "
        f"{len(rows) - agree - explained} disagree"
    )


def _print_json(done: list[Comparison]) -> None:
    import json

    files = [
        {"path": item.path, "kernel": item.release, "rows": [asdict(row) for row in item.rows]}
        for item in done
    ]
    print(json.dumps({"schema": "gcma.against/1", "files": files}, indent=1))
