"""arm64 Linux kernels: Debian's, pinned by package name, or the user's own."""

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from board.error import BoardError
from board.package import Package, PackageError, fetch

_HEADER: Final = struct.Struct("<8xQQ32xI4x")
"""Documentation/arch/arm64/booting.rst: text_offset, image_size, ..., magic."""
_MAGIC: Final = 0x644D5241
BASE: Final = 0x0020_0000
"""Where QEMU's boards put an Image with a text_offset of 0."""


class KernelError(BoardError):
    """There is no kernel to boot, or the file is none."""


KERNELS: Final = {
    "7.3": Package(
        "linux-binary-7.3.4+deb13-arm64", "trixie-backports", "usr/lib/modules/7.3.4+deb13-arm64/vmlinuz"
    ),
    "6.12": Package(
        "linux-image-6.12.95+deb12-arm64-unsigned", "bookworm-backports", "boot/vmlinuz-6.12.95+deb12-arm64"
    ),
}
"""Debian's kernels by version. 7.3 is what the rules of :mod:`dts` follow; 6.12 is the long-term one."""
DEFAULT: Final = "7.3"
HEADERS: Final = tuple(
    Package(
        f"linux-headers-7.3.4+deb13-{part}", "trixie-backports", f"usr/src/linux-headers-7.3.4+deb13-{part}/"
    )
    for part in ("common", "arm64")
)
"""What a module for the DEFAULT kernel is compiled against."""
MODULES: Final = ("crc16.ko.xz", "mbcache.ko.xz", "jbd2.ko.xz", "loop.ko.xz", "ext4.ko.xz")
"""What the DEFAULT kernel needs for a file system in a file, in the order in which they are loaded."""
MODULE_PACKAGE: Final = Package(
    "linux-modules-7.3.4+deb13-arm64",
    "trixie-backports",
    "usr/lib/modules/7.3.4+deb13-arm64/kernel/",
    frozenset(MODULES),
)
BUSYBOX: Final = Package("busybox-static", "trixie", "usr/bin/busybox")


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel that can be booted.

    :ivar path: an arm64 Image, plain or gzip
    :ivar memory_bytes: what it takes of memory from BASE on
    """

    path: Path
    memory_bytes: int


def choose_kernel(choice: str | None) -> Kernel:
    """A kernel by its version in KERNELS, fetched when needed, or by its file; None for the DEFAULT one.

    :raise KernelError: no arm64 Image, or it cannot be fetched
    """
    package = KERNELS.get(choice or DEFAULT)
    if package is None:
        path = Path(choice or DEFAULT)
    else:
        try:
            path = fetch(package)
        except PackageError as error:
            raise KernelError(f"no Linux kernel at hand: {error}; give one with --kernel Image") from error
    return Kernel(path, _memory_bytes(path))


def _memory_bytes(path: Path) -> int:
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER.size)
        if head.startswith(b"\x1f\x8b"):
            with gzip.open(path) as packed:
                head = packed.read(_HEADER.size)
    except (OSError, EOFError, zlib.error) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise KernelError(f"{path}: it cannot be read as a kernel: {reason}") from error
    if len(head) < _HEADER.size or _HEADER.unpack(head)[2] != _MAGIC:
        raise KernelError(
            f"{path}: expected an arm64 Image, plain or gzip, with {_MAGIC:#x} at byte 56; found another file"
        )
    offset, size, _ = _HEADER.unpack(head)
    if offset or not size:
        raise KernelError(f"{path}: expected text_offset 0 and an image_size (Linux 5.8 and later), "
                          f"found {offset:#x} and {size:#x}")  # fmt: skip
    return int(size)
