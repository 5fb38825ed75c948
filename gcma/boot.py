"""``gcma boot``: boot an emulated board and attach its console."""

import argparse
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from board import Plan
    from gcma.terminal import Terminal

PIPED_SECONDS: Final = 600.0
"""How long a session may last that nobody sits at."""

DESCRIPTION = """\
Boot the emulated board that a devicetree describes and attach its serial console to this
terminal. The firmware's console lists and runs the device tests and shows the board's
regions and counters; with standard input from a pipe it does what is written there. With
--linux a stock Debian kernel takes the firmware's place, and the console has a shell."""
EPILOG = """\
examples:
  gcma boot dts/boards/rpi-4-b.dts                  Ctrl-] leaves, so does 'quit'
  printf 'run camera\\nstats\\n' | gcma boot my.dts   the end of input quits
  gcma boot my.dts --dry-run                        print QEMU's command line
  gcma boot my.dts --linux                          Debian's kernel, and a shell
  echo 'cat /proc/iomem' | gcma boot my.dts --linux
  gcma boot my.dts --linux --kernel arch/arm64/boot/Image

exit status: 0 the session ended as wished, 1 the board was lost, 2 usage or a missing tool
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gcma boot``."""
    parser.add_argument("board", metavar="BOARD.dts", help="devicetree of the board, .dts or .dtb")
    parser.add_argument("--dry-run", action="store_true", help="print QEMU's command line and start nothing")
    parser.add_argument("--linux", action="store_true", help="boot Linux: a kernel of Debian's, fetched once")
    parser.add_argument(
        "--kernel", metavar="IMAGE", help="with --linux: 7.3 (default) or 6.12 of Debian, or an arm64 Image"
    )


def run(options: argparse.Namespace) -> int:
    """Run ``gcma boot``."""
    if options.kernel and not options.linux:
        print("gcma boot: --kernel names a Linux kernel and needs --linux", file=sys.stderr)
        return 2
    if options.linux:
        return _linux(options)
    from board import load_plan

    plan = load_plan(options.board)
    if options.dry_run:
        from gcma.dryrun import print_firmware

        print_firmware(plan)
        return 0
    return _console(plan)


def _console(plan: "Plan") -> int:
    from board import Board, LostBoardError
    from gcma.terminal import Terminal

    with Board(plan) as board:
        with Terminal(board.console.offer, b"\rquit\r") as terminal:
            _greet(terminal, plan.name, plan.machine.name)
            board.console.listen(terminal.show)
            try:
                board.attach(terminal.step, None if terminal.interactive else PIPED_SECONDS)
                return 0
            except LostBoardError as error:
                lost = error
        print(f"gcma boot: {lost.evidence()}", file=sys.stderr)
        return 1


def _greet(terminal: "Terminal", name: str, machine: str) -> None:
    if terminal.interactive:
        print(f"{name} on {machine}: Ctrl-] leaves\r", file=sys.stderr)


def _linux(options: argparse.Namespace) -> int:
    import dts
    from board.error import EvidenceError
    from board.kernel import choose_kernel
    from board.linux import LinuxBoard, initramfs, plan_linux
    from gcma.terminal import Terminal

    tree = dts.load(options.board)
    plan = plan_linux(tree, choose_kernel(options.kernel))
    initrd = initramfs(interactive=True)
    if options.dry_run:
        from gcma.dryrun import print_linux

        print_linux(plan, initrd)
        return 0

    begun = False

    def offer(data: bytes) -> int:
        """Type it; out of a pipe a line at a time, for Linux forgets what it has no room for."""
        nonlocal begun
        if terminal.interactive:
            return board.console.offer(data)
        if not begun and not board.prompts():
            return 0
        line = data[: data.find(b"\n") + 1] or data
        taken = board.console.offer(line)
        if taken:
            # a line without its end shows no prompt behind it: the rest may follow at once
            begun = not line[:taken].endswith(b"\n")
        return taken

    board = LinuxBoard(plan, initrd, lambda data: terminal.show(data))
    terminal = Terminal(offer, b"\nexit\n")
    with board:
        with terminal:
            _greet(terminal, plan.name, plan.machine.name)
            try:
                board.run(terminal.step, None if terminal.interactive else PIPED_SECONDS)
                return 0
            except EvidenceError as error:
                lost = error
        print(f"gcma boot: {lost.evidence()}", file=sys.stderr)
        return 1
