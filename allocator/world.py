"""A small machine whose every reader is checked: what `gcma explore` and the state-machine tests drive.

Two files, a page cache, a guaranteed area of a few pages. Each method is one operation: it returns False
and changes nothing when it does not apply, else it does it, compares what readers see with what was
written, and checks all invariants. A sequence of calls is a program that anybody can run again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from allocator.cleancache import NO_FS, Cleancache
from allocator.error import AreaError, CmaAllocError, CmaReleaseError, KernelBugError
from allocator.file import HOLE, File, page_of
from allocator.guaranteed import GuaranteedArea
from allocator.invariant import Invariant, InvariantError, check_area, check_cleancache, lowest_run
from allocator.memory import PAGE_SIZE, PhysicalMemory
from allocator.pagecache import Folio, Inode, PageCache, hash_bucket
from allocator.revision import Revision, revision

__all__ = ["OPERATIONS", "Parts", "World"]

FILE_PAGES: Final = 2
BASE_PFN: Final = 5
"""Odd, so that alignment of pfns and of offsets differ."""
FIRST_INO: Final = 12
SECOND_INO: Final = next(ino for ino in range(13, 999) if hash_bucket(ino) == hash_bucket(FIRST_INO))
"""Shares the hash bucket of the first, as any two inodes may."""
DEVICE: Final = 0xDE << 56
"""Versions of what devices write."""

OPERATIONS: Final[dict[str, tuple[tuple[object, ...], ...]]] = {
    "read": tuple((name, index) for name in "ab" for index in range(FILE_PAGES)),
    "refault": tuple((name, index) for name in "ab" for index in range(FILE_PAGES)),
    "read_large": (("a",), ("b",)),
    "readahead": (("a",), ("b",)),
    "readahead_large": (("a",), ("b",)),
    "write": tuple((name, index) for name in "ab" for index in range(FILE_PAGES)),
    "direct_write": tuple((name, index) for name in "ab" for index in range(FILE_PAGES)),
    "writeback": (("a",), ("b",)),
    "reclaim": tuple((name, index) for name in "ab" for index in range(FILE_PAGES)),
    "truncate": tuple((name, size) for name in "ab" for size in range(FILE_PAGES + 1)),
    "punch": tuple((name, index) for name in "ab" for index in range(FILE_PAGES)),
    "replace": (("a",), ("b",)),
    "evict_inode": (("a",), ("b",)),
    "begin_unmount": ((),),
    "mount": ((),),
    "alloc": ((1, 0), (2, 0), (2, 1)),
    "release": ((0,), (1,)),
    "release_again": ((),),
    "reference": ((0,), (1,)),
    "unreference": ((),),
}
"""All operations with all their arguments."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a world is built of; tests put broken parts in to see them caught."""

    cleancache: Callable[[PhysicalMemory, Revision], Cleancache] = Cleancache
    area: Callable[[str, int, int, Cleancache], GuaranteedArea] = GuaranteedArea
    page_cache: Callable[[Cleancache], PageCache] = PageCache


class World:
    """One filesystem with files "a" and "b" of two pages each, one area of `pages` pages.

    Every operation raises InvariantError when something is broken after it.
    """

    def __init__(self, of: Revision | str = "safe", pages: int = 2, parts: Parts | None = None) -> None:
        parts = parts or Parts()
        chosen = revision(of) if isinstance(of, str) else of
        self.memory = PhysicalMemory(np.zeros(pages * PAGE_SIZE, np.uint8), BASE_PFN * PAGE_SIZE)
        self.cleancache = parts.cleancache(self.memory, chosen)
        self.area: GuaranteedArea = parts.area("gcma", BASE_PFN, pages, self.cleancache)
        self.page_cache = parts.page_cache(self.cleancache)
        self._version = 0
        self._inos = {"a": FIRST_INO, "b": SECOND_INO}
        files = {}
        self._truth: dict[str, list[int]] = {}
        for name, ino in self._inos.items():
            self._truth[name] = [self._new_version() for _ in range(FILE_PAGES)]
            files[ino] = File(ino, 1, FILE_PAGES, dict(enumerate(self._truth[name])))
        self.fs = self.page_cache.mount(files)
        self._buffers: list[tuple[int, int, int]] = []
        self._released: tuple[int, int] | None = None
        self._references: list[int] = []

    # Reading and writing

    def read(self, name: str, index: int) -> bool:
        """Read a page and compare."""
        return self._apply(lambda: self._see(name, index))

    def refault(self, name: str, index: int) -> bool:
        """Read a page that is not in memory, within the workingset distance, and compare."""
        if index in self._folios(name) or index >= len(self._truth[name]):
            return False

        def act() -> None:
            self._see(name, index)
            self._folios(name)[index].workingset = True

        return self._apply(act)

    def read_large(self, name: str) -> bool:
        """Fault the whole file in as one large folio, and compare."""
        return self._read_whole(name, lambda inode: self.page_cache.read_large(inode, 0, FILE_PAGES))

    def readahead(self, name: str) -> bool:
        """Read the whole file ahead, and compare."""
        return self._read_whole(name, lambda inode: self.page_cache.readahead(self.fs, inode, 0, FILE_PAGES))

    def readahead_large(self, name: str) -> bool:
        """Read the whole file ahead as one large folio, and compare."""
        return self._read_whole(
            name, lambda inode: self.page_cache.readahead(self.fs, inode, 0, 1, pages=FILE_PAGES)
        )

    def write(self, name: str, index: int) -> bool:
        """Overwrite a page in memory, or append one."""
        if index > len(self._truth[name]):
            return False
        return self._apply(
            lambda: self.page_cache.write(self._inode(name), index, self._new_content(name, index))
        )

    def direct_write(self, name: str, index: int) -> bool:
        """Overwrite a page on disk past the page cache, or append one."""
        if index > len(self._truth[name]):
            return False
        return self._apply(
            lambda: self.page_cache.direct_write(
                self.fs, self._inode(name), index, self._new_content(name, index)
            )
        )

    def writeback(self, name: str) -> bool:
        """Bring dirty pages to disk."""
        if not any(folio.dirty for folio in self._folios(name).values()):
            return False
        return self._apply(lambda: self.page_cache.writeback(self._inode(name)))

    # Leaving memory

    def reclaim(self, name: str, index: int) -> bool:
        """Reclaim a clean page."""
        folio = self._folios(name).get(index)
        if folio is None or folio.dirty or folio.index != index:
            return False
        return self._apply(lambda: self.page_cache.reclaim(self.fs, folio))

    def truncate(self, name: str, size: int) -> bool:
        """Cut or extend a file to `size` pages."""
        if size == len(self._truth[name]):
            return False

        def act() -> None:
            self.page_cache.truncate(self.fs, self._inode(name), size)
            self._truth[name] = (self._truth[name] + [HOLE] * size)[:size]

        return self._apply(act)

    def punch(self, name: str, index: int) -> bool:
        """Punch a hole of one page."""
        if index >= len(self._truth[name]):
            return False

        def act() -> None:
            self.page_cache.punch(self.fs, self._inode(name), index)
            self._truth[name][index] = HOLE

        return self._apply(act)

    def replace(self, name: str) -> bool:
        """Unlink a file and create one of holes, which gets the same inode number, in its place."""

        def act() -> None:
            inode = self._inode(name)
            self.page_cache.unlink(self.fs, inode)
            size = len(self._truth[name])
            self.fs.files[inode.file.ino] = File(inode.file.ino, inode.file.generation + 1, size)
            self._truth[name] = [HOLE] * size

        return self._apply(act)

    def evict_inode(self, name: str) -> bool:
        """Let a clean inode leave memory."""
        inode = self.fs.inodes.get(self._inos[name])
        if inode is None or any(folio.dirty for folio in inode.folios.values()):
            return False
        return self._apply(lambda: self.page_cache.evict_inode(self.fs, inode))

    def begin_unmount(self) -> bool:
        """Begin to unmount: the cleancache forgets the filesystem, which still reads and writes."""
        if self.fs.cleancache_id == NO_FS:
            return False
        return self._apply(lambda: self.page_cache.begin_unmount(self.fs))

    def mount(self) -> bool:
        """Unmount, and mount again."""

        def act() -> None:
            self.page_cache.unmount(self.fs)
            self.fs = self.page_cache.mount(self.fs.files)

        return self._apply(act)

    # Devices

    def alloc(self, count: int, align: int) -> bool:
        """Take a buffer and let a device fill it."""
        wanted = lowest_run(self.area, count, align)

        def act() -> None:
            try:
                pfn = self.area.cma_alloc(count, align)
            except CmaAllocError as error:
                if wanted is not None:
                    raise InvariantError(
                        Invariant.PLACEMENT, f"{count} pages are free at {wanted:#x}, yet: {error}"
                    ) from error
                return
            if pfn != wanted:
                raise InvariantError(
                    Invariant.PLACEMENT,
                    f"{count} pages aligned to 2^{align} belong at {wanted}, came at {pfn}",
                )
            version = DEVICE | self._new_version()
            for page in range(pfn, pfn + count):
                self.memory.write(page, page_of(version))
            self._buffers.append((pfn, count, version))

        return self._apply(act)

    def release(self, at: int) -> bool:
        """Release a buffer."""
        if at >= len(self._buffers):
            return False
        pfn, count, _ = self._buffers[at]

        def act() -> None:
            try:
                self.area.cma_release(pfn, count)
            except CmaReleaseError:
                if not any(pfn <= page < pfn + count for page in self._references):
                    raise
                return
            del self._buffers[at]
            self._released = pfn, count

        return self._apply(act)

    def release_again(self) -> bool:
        """Release the buffer released last once more."""
        if self._released is None:
            return False
        pfn, count = self._released

        def act() -> None:
            try:
                self.area.cma_release(pfn, count)
            except CmaReleaseError:
                return
            # Accepted: then it was some buffer's, which is gone now.
            self._buffers = [each for each in self._buffers if each[:2] != (pfn, count)]

        return self._apply(act)

    def reference(self, at: int) -> bool:
        """Add a reference to the first page of a buffer, as a pin does."""
        if at >= len(self._buffers):
            return False
        pfn = self._buffers[at][0]
        self._references.append(pfn)
        return self._apply(lambda: self.area.get_page(pfn))

    def unreference(self) -> bool:
        """Drop the reference added last."""
        if not self._references:
            return False
        pfn = self._references.pop()
        return self._apply(lambda: self.area.put_page(pfn))

    def features(self) -> list[tuple[object, ...]]:
        """What can be said of each page of a file and of the area, without names and bytes.

        A search need not go on from a world all of whose features it has met.
        """
        found: list[tuple[object, ...]] = []
        mounted = self.fs.cleancache_id != NO_FS
        for name, ino in self._inos.items():
            inode = self.fs.inodes.get(ino)
            for index in range(FILE_PAGES):
                # Beyond the end of the file nothing that the cleancache has is current.
                version = self._truth[name][index] if index < len(self._truth[name]) else -1
                folio = inode.folios.get(index) if inode is not None else None
                memory = folio is not None and (folio.large, folio.dirty, folio.workingset)
                entry = inode is not None and self._entry(inode, index, version)
                found.append((mounted, memory, entry, version < 0, version == HOLE))
        (pool,) = self.cleancache.pools
        full = pool.size > 0 and pool.cached == pool.size
        found.append((len(self._buffers), bool(self._references), self._released is not None, full))
        return found

    # Inside

    def _entry(self, inode: Inode, index: int, version: int) -> str:
        """What the cleancache has for a page of a file that must read `version`."""
        pfn = self.cleancache.where(self.fs.cleancache_id, inode.key, index)
        if pfn < 0:
            return "nothing"
        current = version >= 0 and self.memory.view(pfn).tobytes() == page_of(version)
        return "current" if current else "old"

    def _apply(self, act: Callable[[], object]) -> bool:
        try:
            act()
        except (KernelBugError, AreaError, CmaReleaseError) as error:
            raise InvariantError(Invariant.SOUND, str(error)) from error
        check_cleancache(self.cleancache)
        check_area(self.area)
        for pfn, count, version in self._buffers:
            if self.memory.view(pfn, count).tobytes() != page_of(version) * count:
                raise InvariantError(Invariant.BUFFERS, f"the buffer at {pfn:#x} lost what the device wrote")
        return True

    def _read_whole(self, name: str, how: Callable[[Inode], object]) -> bool:
        """Bring a file of full size, none of which is in memory, there; read all of it."""
        if self._folios(name) or len(self._truth[name]) < FILE_PAGES:
            return False

        def act() -> None:
            how(self._inode(name))
            for index in range(FILE_PAGES):
                self._see(name, index)

        return self._apply(act)

    def _see(self, name: str, index: int) -> None:
        truth = self._truth[name]
        seen = self.page_cache.read(self.fs, self._inode(name), index)
        wanted = page_of(truth[index]) if index < len(truth) else b""
        if seen != wanted:
            raise InvariantError(
                Invariant.BYTES, f"file {name} page {index} must read {_what(wanted)} and reads {_what(seen)}"
            )

    def _inode(self, name: str) -> Inode:
        return self.page_cache.inode(self.fs, self._inos[name])

    def _folios(self, name: str) -> dict[int, Folio]:
        """The pages of a file in memory; does not bring its inode there."""
        inode = self.fs.inodes.get(self._inos[name])
        return inode.folios if inode is not None else {}

    def _new_version(self) -> int:
        self._version += 1
        return self._version

    def _new_content(self, name: str, index: int) -> int:
        version = self._new_version()
        self._truth[name][index:] = [version, *self._truth[name][index + 1 :]]
        return version


def _what(page: bytes) -> str:
    """A page of bytes in words."""
    version = int.from_bytes(page[:8], "little")
    if not page:
        return "end of file"
    if page != page_of(version):
        return "a mixture"
    if version >= DEVICE:
        return "what a device wrote"
    return f"write {version}" if version else "zeros"
