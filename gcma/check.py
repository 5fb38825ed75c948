"""``gcma check``: what Linux makes of the reserved memory of a devicetree."""

import argparse
import io
import sys
from typing import TYPE_CHECKING, Final

from gcma import against
from gcma.natural import natural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dts import Assumptions
    from dts.report import Report, Tally

DESCRIPTION: Final = """\
Say, before boot, what Linux makes of every reserved memory region and whether each device
can reach the memory it names. Reads .dts (through cpp and dtc) and .dtb, told apart by
content; "-" reads standard input.
"""
EPILOG: Final = """\
examples:
  gcma check dts/boards/rpi-4-b.dts
  gcma check --overlay camera.dtso board.dtb
  gcma check --format github boards/*.dts       annotations in a workflow
  gcma check --explain alignment-cells          the rule, with wrong and right

exit status: 0 no error-level finding, 1 some, 2 a file that cannot be read (the others are
still reported), a missing tool, or wrong usage
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("files", nargs="*", metavar="FILE", help=".dts or .dtb file, or - for standard input")
    parser.add_argument(
        "--format", choices=("text", "json", "sarif", "github"), default="text", help="of the report"
    )
    parser.add_argument("--report", metavar="DIR", help="also write a page to look at, DIR/index.html")
    parser.add_argument("--no-map", action="store_true", help="text: do not draw the memory map")
    parser.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="CODE[,CODE...]",
        help="leave out findings of these rules",
    )
    parser.add_argument("--explain", metavar="CODE", help="explain a rule, and exit")
    parser.add_argument("--rules", action="store_true", help="list all rules, and exit")
    assumed = parser.add_argument_group("assumptions about the kernel and the machine")
    assumed.add_argument(
        "--overlay", action="append", default=[], metavar="FILE", help="apply .dtbo or .dtso first"
    )
    assumed.add_argument(
        "--arch", choices=("arm64", "arm"), help="default: as the cpu nodes tell, else arm64"
    )
    assumed.add_argument(
        "--page-size", type=_size, default=4096, metavar="SIZE", help="4K (default), 16K or 64K"
    )
    assumed.add_argument(
        "--cma-alignment",
        type=_size,
        metavar="SIZE",
        help="smallest CMA alignment (default: of arch and page size)",
    )
    assumed.add_argument(
        "--cma-areas", type=natural, metavar="N", help="CONFIG_CMA_AREAS (default: 20 on arm64, 8 on arm)"
    )
    assumed.add_argument(
        "--cmdline", default="", metavar="TEXT", help="kernel command line, of which cma= matters"
    )
    assumed.add_argument("--no-gcma", action="store_true", help="a kernel with CONFIG_GCMA=n")
    against.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Check the files; the exit status."""
    if options.rules or options.explain is not None:
        return _rules(options.explain)
    if not options.files:
        print("gcma check: a devicetree is needed; give the path of a .dts or .dtb file.", file=sys.stderr)
        return 2
    if (word := against.misplaced(options)) is not None:
        print(f"gcma check: {word} belongs to --against-linux, which is not given", file=sys.stderr)
        return 2
    if options.against_linux:
        return against.run(options)
    from dts.report import Tally

    if isinstance(sys.stdout, io.TextIOWrapper):  # a name may hold letters that the output has no code for
        sys.stdout.reconfigure(errors="backslashreplace")
    assumed = assumptions(options)
    tally = Tally()
    kept: list[Report] = []
    _print(options, _reports(options, assumed, tally, kept), tally, assumed)
    if options.report:
        from pathlib import Path

        from gcma.checkreport import write_page

        write_page(kept, tally.failures, assumed, Path(options.report))
    return 2 if tally.failures else 1 if tally.bad else 0


def _reports(
    options: argparse.Namespace, assumed: "Assumptions", tally: "Tally", kept: "list[Report]"
) -> "Iterator[Report]":
    """The report on each file in turn, so that one tree at a time is in memory."""
    from dts import DtsError, examine, load
    from dts.report import printable, report

    ignored = _codes(",".join(options.ignore))
    for path in options.files:
        try:
            tree = load(path, options.overlay)
            found = report(path, tree, examine(tree, assumed), ignored)
        except DtsError as error:
            sentence = printable(str(error))
            tally.failures.append(sentence)
            print(f"gcma check: {sentence}", file=sys.stderr)
            continue
        tally.add(found)
        if options.report:
            kept.append(found)
        yield found


def _print(
    options: argparse.Namespace, reports: "Iterator[Report]", tally: "Tally", assumed: "Assumptions"
) -> None:
    if options.format == "json":
        import json

        from dts.report import document

        print(json.dumps(document(reports), indent=1))
    elif options.format == "sarif":
        import json

        from dts.report_sarif import log
        from gcma import __version__

        print(json.dumps(log(reports, tally.failures, __version__), indent=1))
    elif options.format == "github":
        from dts.report_github import commands

        for line in commands(reports):
            print(line)
    else:
        from dts.report_text import lines, summary

        for item in reports:
            for line in lines(item, assumed, colour=_colour(), draw=not options.no_map):
                print(line)
        if len(options.files) > 1:
            print(summary(tally))


def assumptions(options: argparse.Namespace) -> "Assumptions":
    """The assumptions that the options state."""
    from dts import Arch, Assumptions

    return Assumptions(
        arch=None if options.arch is None else Arch(options.arch),
        page_size=options.page_size,
        cma_alignment=options.cma_alignment,
        cma_on_cmdline=any(word.startswith("cma=") for word in options.cmdline.split()),
        gcma=not options.no_gcma,
        cma_areas=options.cma_areas,
    )


def _codes(text: str) -> frozenset[str]:
    """The codes of a list.

    :raise DtsError: one that no rule has
    """
    from dts import DtsError
    from dts.rules import RULES

    codes = frozenset(code.strip() for code in text.split(",") if code.strip())
    for code in sorted(codes - RULES.keys()):
        raise DtsError(_unknown(code))
    return codes


def _unknown(code: str) -> str:
    import difflib

    from dts.rules import RULES

    near = difflib.get_close_matches(code, RULES, 3)
    return f"{code!r}: no rule has this code; " + (
        f"did you mean {' or '.join(near)}?" if near else "'gcma check --rules' lists all."
    )


def _rules(code: str | None) -> int:
    from dts import DtsError
    from dts.rules import RULES, explain

    if code is None:
        for rule in RULES.values():
            print(f"{rule.code:<26}{rule.severity.value:<9}{rule.title}")
        return 0
    if code not in RULES:
        raise DtsError(_unknown(code))
    print(explain(RULES[code]))
    return 0


def _colour() -> bool:
    import os

    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def _size(text: str) -> int:
    """Bytes of a size such as 4096, 16K, 2M or 2MiB."""
    units = {"": 0, "K": 10, "M": 20, "G": 30}
    word = text.strip().upper().removesuffix("IB").removesuffix("B")
    unit = word[-1:] if word[-1:] in ("K", "M", "G") else ""
    digits = word.removesuffix(unit) if unit else word
    if not digits.isascii() or not digits.isdigit() or len(digits) > 15:
        raise argparse.ArgumentTypeError(f"a size such as 4096, 16K or 2M was expected, got {text!r}")
    return int(digits) << units[unit]
