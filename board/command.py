"""QEMU's command line as a value: it can be printed, tested and pasted; it starts nothing."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from board.machine import QEMU, Machine


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where QEMU meets its host: file names, and backends of two chardevs with their options."""

    ram: str
    blob: str
    serial: str
    monitor: str


PASTABLE = Endpoints(
    ram="gcma.ram",
    blob="gcma.dtb",
    serial="stdio",
    monitor="socket,path=gcma.qmp,server=on,wait=off",
)
"""For a command line to paste: the terminal, and files in the current folder."""


def command_line(
    machine: Machine, image: str, endpoints: Endpoints, options: Sequence[str] = ()
) -> list[str]:
    """The command that boots ``image`` on the machine, RAM shared with the host.

    :param options: more of QEMU's options, which an operating system needs

    A file offset is a guest physical address: neither machine has a hole in its RAM.
    """
    megabytes = f"{machine.ram_bytes >> 20}M"
    return [
        QEMU,
        "-nodefaults",
        "-no-user-config",
        "-M", f"{machine.name},memory-backend=ram",
        "-m", megabytes,
        "-object", f"memory-backend-file,id=ram,size={megabytes},mem-path={_comma(endpoints.ram)},share=on",
        "-display", "none",
        "-chardev", f"{endpoints.serial},id=serial",
        "-serial", "chardev:serial",
        "-chardev", f"{endpoints.monitor},id=monitor",
        "-mon", "chardev=monitor,mode=control",
        "-kernel", image,
        "-dtb", endpoints.blob,
        *options,
    ]  # fmt: skip


def _comma(value: str) -> str:
    """QEMU's option lists end a value at a comma; a doubled one stands for itself."""
    return value.replace(",", ",,")


def as_text(command: list[str]) -> str:
    """The command as one line for a shell."""
    return shlex.join(command)
