"""The emulated machines, as data: which QEMU machine a tree's root ``compatible`` asks for.

What stands here was measured with QEMU 10.0: RAM sizes are fixed per machine, QEMU writes
its own /memory node, and it puts things where it likes without looking at the tree.
"""

import functools
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import Final

import dts
from board.error import MachineError
from dts import Range

QEMU: Final = "qemu-system-aarch64"
_VERSION_SECONDS: Final = 20
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Occupied:
    """A range a pool must stay clear of, and what is there; a closed one no DMA may touch either."""

    range: Range
    what: str
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """A QEMU machine.

    :ivar name: for QEMU's ``-M``
    :ivar compatible: what the root's ``compatible`` must list
    :ivar ram_bytes: RAM, all of it; QEMU takes no other size
    :ivar memory: the RAM that a kernel may use
    :ivar occupied: where QEMU, its boot stub and the firmware are
    :ivar qemu_since: the first QEMU release that has the machine
    """

    name: str
    compatible: str
    ram_bytes: int
    memory: tuple[Range, ...]
    occupied: tuple[Occupied, ...]
    qemu_since: tuple[int, int]


DOORBELL: Final = Range(0x0010_0000, 0x1000)
"""Where the doorbell page goes: between the boot stub and the firmware."""

WORKSHOP: Final = Range(0x0380_0000, 0x0080_0000)
"""Memory of the firmware's that it leaves to the host: control blocks, and what DMA is to copy."""

DTB_LIMIT_BYTES: Final = 1 * _MIB
"""The largest tree that is booted. QEMU doubles it (slack for its own edits) at 128 MiB."""

_COMMON: Final = (
    Occupied(Range(0, 0x1000), "QEMU's boot stub and spin table", closed=True),
    Occupied(DOORBELL, "the doorbell page", closed=True),
    Occupied(Range(0x0020_0000, 0x03E0_0000), "the firmware"),
    Occupied(Range(0x0800_0000, 0x0040_0000), "the devicetree, where QEMU puts it"),
    Occupied(Range(0x3C00_0000, 0x0400_0000), "VideoCore's memory and the peripherals"),
)

MACHINES: Final = (
    Machine(
        name="raspi4b",
        compatible="brcm,bcm2711",
        ram_bytes=2048 * _MIB,
        memory=(Range(0, 0x3C00_0000), Range(0x4000_0000, 0x4000_0000)),
        occupied=_COMMON,
        qemu_since=(9, 0),
    ),
    Machine(
        name="raspi3b",
        compatible="brcm,bcm2837",
        ram_bytes=1024 * _MIB,
        memory=(Range(0, 0x3C00_0000),),
        occupied=_COMMON,
        qemu_since=(5, 2),
    ),
)


def machine_for(tree: dts.Tree) -> Machine:
    """The machine for a tree.

    :raise MachineError: none is compatible with the tree's root
    """
    names = tree.root.compatible
    for machine in MACHINES:
        if machine.compatible in names:
            return machine
    known = ", ".join(machine.compatible for machine in MACHINES)
    seen = ", ".join(names) or "nothing"
    raise MachineError(
        f"{tree.name}: no emulated machine: the root's compatible must list one of {known}; it lists {seen}"
    )


def qemu_version() -> tuple[int, int]:
    """The version of QEMU on PATH.

    :raise MachineError: none is there, or it does not say
    """
    path = shutil.which(QEMU)
    if path is None:
        raise MachineError(
            f"{QEMU} is not on PATH: install Debian's qemu-system-arm (9.0 or newer for raspi4b) "
            "or run scripts/setup"
        )
    return _version_of(path)


@functools.cache  # every board asks, and QEMU takes 20 ms to answer
def _version_of(path: str) -> tuple[int, int]:
    try:
        run = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_VERSION_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MachineError(f"{path}: it does not run: {error}") from error
    match = re.search(r"version (\d+)\.(\d+)", run.stdout)
    if match is None:
        raise MachineError(f"{path} --version: expected a version number, saw {run.stdout[:80]!r}")
    return int(match[1]), int(match[2])


def require_qemu(machine: Machine) -> tuple[int, int]:
    """The version of QEMU, which is new enough for the machine.

    :raise MachineError: missing or too old; the message says what still works
    """
    version = qemu_version()
    if version >= machine.qemu_since:
        return version
    others = [other.name for other in MACHINES if other.qemu_since <= version]
    still = f"; boards on {', '.join(others)} work (dts/boards/rpi-3-b.dts)" if others else ""
    raise MachineError(
        f"{machine.name} came with QEMU {'.'.join(map(str, machine.qemu_since))}, this is "
        f"{'.'.join(map(str, version))}: on Debian 12 take qemu-system-arm from bookworm-backports "
        f"(scripts/setup does){still}"
    )
