"""``gcma boot``: boot an emulated board and attach its console."""

import argparse
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from board import Plan

PIPED_SECONDS: Final = 600.0
"""How long a session may last that nobody sits at."""

DESCRIPTION = """\
Boot the emulated board that a devicetree describes and attach its serial console to this
terminal. The firmware's console lists and runs the device tests and shows the board's
regions and counters; with standard input from a pipe it does what is written there."""
EPILOG = """\
examples:
  gcma boot dts/boards/rpi-4-b.dts                  Ctrl-] leaves, so does 'quit'
  printf 'run camera\\nstats\\n' | gcma boot my.dts   the end of input quits
  gcma boot my.dts --dry-run                        print QEMU's command line

exit status: 0 the session ended as wished, 1 the board was lost, 2 usage or a missing tool
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gcma boot``."""
    parser.add_argument("board", metavar="BOARD.dts", help="devicetree of the board, .dts or .dtb")
    parser.add_argument("--dry-run", action="store_true", help="print QEMU's command line and start nothing")


def run(options: argparse.Namespace) -> int:
    """Run ``gcma boot``."""
    from board import load_plan

    plan = load_plan(options.board)
    if options.dry_run:
        from gcma.test import dry_run

        dry_run(plan)
        return 0
    return _console(plan)


def _console(plan: "Plan") -> int:
    from board import Board, LostBoardError
    from gcma.terminal import Terminal

    with Board(plan) as board:
        with Terminal(lambda data: board.console.offer(data), b"\rquit\r") as terminal:
            if terminal.interactive:
                print(f"{plan.name} on {plan.machine.name}: Ctrl-] leaves\r", file=sys.stderr)
            board.console.listener = terminal.show
            try:
                board.attach(terminal.step, None if terminal.interactive else PIPED_SECONDS)
                return 0
            except LostBoardError as error:
                lost = error
        print(f"gcma boot: {lost.evidence()}", file=sys.stderr)
        return 1
