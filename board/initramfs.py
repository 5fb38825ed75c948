"""An initramfs, written without a cpio tool: the same files always give the same bytes."""

import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

_MAGIC: Final = b"070701"
"""The "newc" format: Documentation/driver-api/early-userspace/buffer-format.rst."""
_TRAILER: Final = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, folder or device node of the archive.

    :ivar name: its path, without a leading slash; a folder comes before what is in it
    :ivar mode: type and permissions, as ``st_mode`` has them
    :ivar device: major and minor number of a device node
    """

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)

    @classmethod
    def folder(cls, name: str) -> Self:
        """A folder that everybody may enter."""
        return cls(name, stat.S_IFDIR | 0o755)

    @classmethod
    def program(cls, name: str, data: bytes) -> Self:
        """A file that everybody may run."""
        return cls(name, stat.S_IFREG | 0o755, data)

    @classmethod
    def character_device(cls, name: str, major: int, minor: int) -> Self:
        """A device node of root's."""
        return cls(name, stat.S_IFCHR | 0o600, device=(major, minor))


def archive(entries: Iterable[Entry]) -> bytes:
    """The archive: root owns everything, and nothing has a date."""
    out = bytearray()
    for inode, entry in enumerate([*entries, Entry(_TRAILER, 0)], start=1):
        name = entry.name.encode() + b"\0"
        links = 2 if stat.S_ISDIR(entry.mode) else 1
        fields = (
            *(inode if entry.mode else 0, entry.mode, 0, 0, links, 0, len(entry.data)),
            *(0, 0, *entry.device, len(name), 0),
        )
        out += _MAGIC + b"".join(b"%08X" % field for field in fields) + name
        _align(out)
        out += entry.data
        _align(out)
    return bytes(out)


def _align(out: bytearray) -> None:
    out += bytes(-len(out) % 4)
