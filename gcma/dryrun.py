"""``--dry-run``: QEMU's command line for a shell, with all its files in place."""

import hashlib
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from board import Plan
from board.command import PASTABLE, as_text, command_line
from board.linux import LinuxPlan
from board.machine import Machine
from guest.build import cache_folder, firmware


def print_firmware(plan: Plan) -> None:
    """What would boot the firmware.

    :raise guest.GuestError: it cannot be built
    :raise OSError: a file cannot be written
    """
    _print(plan.machine, firmware(), plan.blob)
    _tell(plan.machine, f"; the pool would lie at {plan.place}")


def print_linux(plan: LinuxPlan, initrd: bytes) -> None:
    """What would boot Linux.

    :raise OSError: a file cannot be written
    """
    options = ("-initrd", str(_kept(initrd, "initrd")), *plan.options())
    _print(plan.machine, plan.kernel.path.absolute(), plan.blob, options)
    _tell(plan.machine, "; the console is this terminal, and Ctrl-C ends QEMU")


def _print(machine: Machine, image: Path, blob: bytes, options: Sequence[str] = ()) -> None:
    endpoints = replace(PASTABLE, blob=str(_kept(blob, "dtb")))
    print(as_text(command_line(machine, str(image), endpoints, options)))


def _tell(machine: Machine, more: str) -> None:
    print(
        "dry run: nothing was started; the command makes the socket gcma.qmp and gcma.ram, of "
        f"{machine.ram_bytes >> 20} MiB, in the current folder{more}",
        file=sys.stderr,
    )


def _kept(data: bytes, suffix: str) -> Path:
    """A file in the cache, named by its content."""
    path = cache_folder() / f"board-{hashlib.sha256(data).hexdigest()[:16]}.{suffix}"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            file = Path(folder) / "file"
            file.write_bytes(data)
            file.replace(path)  # complete or not there at all
    return path
