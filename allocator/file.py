"""Files as a disk holds them, filesystems, and what a page of each must contain.

A disk block is remembered by its *version*, a number that no two writes share; `page_of(version)` is its
content. So a whole disk costs a few bytes a page, and still every byte can be checked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from allocator.memory import PAGE_SIZE

__all__ = ["HOLE", "File", "page_of"]

HOLE: Final = 0
"""The version of a block that was never written: zeros."""


@lru_cache(maxsize=4096)
def page_of(version: int) -> bytes:
    """The page of bytes that stands for a version."""
    return version.to_bytes(8, "little") * (PAGE_SIZE // 8)


@dataclass(slots=True)
class File:
    """A file on disk.

    ino          inode number, used again after unlink
    generation   tells files of one number apart
    size         pages
    blocks       page index -> version of the block, where there is one
    """

    ino: int
    generation: int
    size: int = 0
    blocks: dict[int, int] = field(default_factory=dict)

    def truncate(self, size: int) -> None:
        """Cut or extend to `size` pages; what is added is a hole."""
        for index in [each for each in self.blocks if each >= size]:
            del self.blocks[index]
        self.size = size
