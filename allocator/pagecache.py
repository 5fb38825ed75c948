"""The page cache above the cleancache: what readers see, and the hooks by which v2 moves pages between the
two.

Mechanism only: pages enter by reads and writes, leave by `reclaim`, truncation, direct writes and unmount.
Which page leaves when is for the caller to say (`allocator.pressure` does it as the kernel's LRU lists
do). Every hook stands where the posted series has it: `__remove_mapping`, `filemap_remove_folio`,
`delete_from_page_cache_batch`, `folio_invalidate`, `folio_unmap_invalidate`, `filemap_read_folio`,
`read_pages`, `deactivate_locked_super`.

Not safe to use from several threads at once; the cleancache below is.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

import numpy as np

from allocator.cleancache import NO_FS, Cleancache
from allocator.error import AllocatorError, KernelBugError
from allocator.file import HOLE, File, page_of
from allocator.memory import PAGE_SIZE
from allocator.revision import SAFE, Drop, InodeKey, LargeFolio, Revision

__all__ = ["Filesystem", "Folio", "Inode", "PageCache", "Traffic"]

HASH_BITS: Final = 6
ALL_PAGES: Final = 1 << 62


class Folio:
    """One or more neighbouring pages of a file in memory.

    content      bytes of each page
    workingset   PG_workingset: in use again within the workingset distance, or has been on the active list
    mapped       PG_mappedtodisk: all blocks below were known when it was read; only such pages are stored in
              the cleancache
    dirty        memory is newer than disk
    """

    __slots__ = ("content", "dirty", "index", "inode", "mapped", "workingset")

    def __init__(self, inode: Inode, index: int, content: list[bytes], mapped: bool) -> None:
        self.inode = inode
        self.index = index
        self.content = content
        self.mapped = mapped
        self.dirty = False
        self.workingset = False

    @property
    def large(self) -> bool:
        """Whether it spans several pages."""
        return len(self.content) > 1


class Inode:
    """A file in memory. `address` is where the kernel's inode lies: slabs use addresses again."""

    __slots__ = ("address", "file", "folios", "key")

    def __init__(self, file: File, address: int, key: Hashable) -> None:
        self.file = file
        self.address = address
        self.key = key
        self.folios: dict[int, Folio] = {}

    def each_folio(self) -> list[Folio]:
        """Its folios in memory, each once."""
        return list(dict.fromkeys(self.folios.values()))


class Filesystem:
    """A mounted filesystem: its files on disk by inode number, and those that are in memory."""

    __slots__ = ("cleancache_id", "files", "inodes")

    def __init__(self, files: dict[int, File], cleancache_id: int) -> None:
        self.files = files
        self.cleancache_id = cleancache_id
        self.inodes: dict[int, Inode] = {}


@dataclass(slots=True)
class Traffic:
    """Events so far, in pages: reads served by memory, by the cleancache, by the disk, and writes to the
    disk.
    """

    hits: int = 0
    restored: int = 0
    disk_reads: int = 0
    disk_writes: int = 0


class PageCache:
    """All file pages in memory.

    cleancache   None where the machine has none
    revision     the one of the cleancache
    """

    def __init__(self, cleancache: Cleancache | None) -> None:
        self.cleancache = cleancache
        self.revision: Revision = cleancache.revision if cleancache is not None else SAFE
        self.traffic = Traffic()
        self._next_address = 0
        self._free_addresses: list[int] = []

    # Filesystems and inodes

    def mount(self, files: dict[int, File]) -> Filesystem:
        """Mount a filesystem whose disk holds `files`, by inode number."""
        return Filesystem(files, self.cleancache.add_fs() if self.cleancache is not None else NO_FS)

    def begin_unmount(self, fs: Filesystem) -> None:
        """The first half of unmount (`cleancache_remove_fs`): the cleancache forgets the filesystem,
        inodes still live.

        Raises KernelBugError where the cleancache looks at inodes that are gone (H3).
        """
        if self.cleancache is None or fs.cleancache_id == NO_FS:
            return
        if self.revision.inode_key is InodeKey.POINTER:
            live = {inode.key for inode in fs.inodes.values()}
            for key in self.cleancache.files(fs.cleancache_id):
                if key not in live:
                    raise KernelBugError(
                        "unmount reads i_ino of an inode that was freed: its pages are still in cleancache"
                    )
        self.cleancache.remove_fs(fs.cleancache_id)
        fs.cleancache_id = NO_FS

    def unmount(self, fs: Filesystem) -> None:
        """Write back and forget everything of a filesystem.

        Raises KernelBugError as `begin_unmount` does.
        """
        self.begin_unmount(fs)
        for inode in list(fs.inodes.values()):
            self.writeback(inode)
            self.evict_inode(fs, inode)

    def inode(self, fs: Filesystem, ino: int) -> Inode:
        """The in-memory inode of a file, read in if need be (`iget`).

        Raises AllocatorError when there is no such file.
        """
        inode = fs.inodes.get(ino)
        if inode is None:
            file = fs.files.get(ino)
            if file is None:
                raise AllocatorError(f"inode {ino} does not exist on this filesystem: create it first")
            # A slab hands out the object freed last.
            address = self._free_addresses.pop() if self._free_addresses else self._new_address()
            inode = fs.inodes[ino] = Inode(file, address, self._key(file, address))
        return inode

    def evict_inode(self, fs: Filesystem, inode: Inode) -> None:
        """Drop an inode from memory; its pages must be clean. They leave by reclaim, as under memory
        pressure.
        """
        for folio in inode.each_folio():
            self.reclaim(fs, folio)
        if self.revision.evict is not Drop.RESIDENT:
            self._drop(fs, inode, 0, ALL_PAGES, self.revision.evict)
        del fs.inodes[inode.file.ino]
        self._free_addresses.append(inode.address)

    def unlink(self, fs: Filesystem, inode: Inode) -> None:
        """Delete a file that nobody has open: its pages end, its inode goes."""
        self.truncate(fs, inode, 0)
        del fs.files[inode.file.ino]
        self.evict_inode(fs, inode)

    # Reading

    def read(self, fs: Filesystem, inode: Inode, index: int) -> bytes:
        """One page as a reader sees it; empty beyond the end of the file (`filemap_read_folio`)."""
        if index >= inode.file.size:
            return b""
        folio = inode.folios.get(index)
        if folio is not None:
            self.traffic.hits += 1
            return folio.content[index - folio.index]
        page = bytearray(PAGE_SIZE)
        if self.cleancache is not None and self.cleancache.get(fs.cleancache_id, inode.key, index, page):
            self.traffic.restored += 1
            content, mapped = bytes(page), self.revision.restores_mapped and index in inode.file.blocks
            self._add(Folio(inode, index, [content], mapped))
            return content
        return self._read_disk(inode, index, 1).content[0]

    def readahead(self, fs: Filesystem, inode: Inode, first: int, count: int, pages: int = 1) -> None:
        """Read `count` folios of `pages` pages each from index `first` on (`read_pages`).

        None of them may be in memory yet. The cleancache is asked folio by folio until its first miss; the
        disk gives the rest.

        Raises KernelBugError where v2 follows an error pointer (H6).
        """
        found = 0
        asks = self.revision.restores_window and (pages == 1 or self.revision.restores_large)
        if self.cleancache is not None and asks:
            window = np.zeros(count * PAGE_SIZE, np.uint8)
            found = self.cleancache.get_window(fs.cleancache_id, inode.key, first, window, pages)
            for at in range(found):
                # v2 copies one page into a large folio, then calls all of it up to date (H9).
                head = window[at * PAGE_SIZE : (at + 1) * PAGE_SIZE].tobytes()
                index = first + at * pages
                mapped = self.revision.restores_mapped and index in inode.file.blocks
                self._add(Folio(inode, index, [head, *[bytes(PAGE_SIZE)] * (pages - 1)], mapped))
            self.traffic.restored += found
        for at in range(found, count):
            self._read_disk(inode, first + at * pages, pages)

    def read_large(self, inode: Inode, index: int, pages: int) -> Folio:
        """Read a large folio on a fault; the cleancache has none (`cleancache_restore_folio`)."""
        return self._read_disk(inode, index, pages)

    # Writing

    def write(self, inode: Inode, index: int, version: int) -> None:
        """Overwrite or append one page in memory."""
        inode.file.size = max(inode.file.size, index + 1)
        folio = inode.folios.get(index)
        if folio is None:
            folio = Folio(inode, index, [b""], mapped=False)
            self._add(folio)
        folio.content[index - folio.index] = page_of(version)
        folio.dirty = True

    def writeback(self, inode: Inode) -> None:
        """Bring the dirty pages of a file to disk."""
        for folio in inode.each_folio():
            self.writeback_folio(folio)

    def writeback_folio(self, folio: Folio) -> None:
        """Bring a folio to disk if it is dirty, as far as its file goes."""
        if not folio.dirty:
            return
        folio.dirty = False
        file = folio.inode.file
        for index, content in enumerate(folio.content, folio.index):
            if index < file.size:
                file.blocks[index] = int.from_bytes(content[:8], "little")
                self.traffic.disk_writes += 1

    def direct_write(self, fs: Filesystem, inode: Inode, index: int, version: int) -> None:
        """Write one page to disk past the page cache, whose copy is written back and dropped
        (`generic_file_direct_write`).
        """
        folio = inode.folios.get(index)
        if folio is not None:
            self.writeback(inode)
            self._remove(folio)
            self._invalidate_resident(fs, folio)
        self._drop(fs, inode, index, 1, self.revision.direct_write)
        inode.file.size = max(inode.file.size, index + 1)
        inode.file.blocks[index] = version
        self.traffic.disk_writes += 1

    # Leaving

    def reclaim(self, fs: Filesystem, folio: Folio) -> bool:
        """Take a clean folio out of memory, perhaps into the cleancache (`__remove_mapping`); whether it
        went.
        """
        if folio.dirty:
            return False
        self._remove(folio)
        self._store(fs, folio)
        return True

    def truncate(self, fs: Filesystem, inode: Inode, size: int) -> None:
        """Set the size of a file in pages; pages beyond it end, a longer file has a hole at its end."""
        if size < inode.file.size:
            self._end_pages(fs, inode, size, ALL_PAGES)
        inode.file.truncate(size)

    def punch(self, fs: Filesystem, inode: Inode, index: int, count: int = 1) -> None:
        """Make a hole of pages [index, index + count)."""
        self._end_pages(fs, inode, index, count)
        for each in range(index, min(index + count, inode.file.size)):
            inode.file.blocks.pop(each, None)

    # Inside

    def _end_pages(self, fs: Filesystem, inode: Inode, first: int, count: int) -> None:
        """`truncate_inode_pages_range`: the content of pages [first, first + count) ends."""
        for folio in inode.each_folio():
            if first < folio.index + len(folio.content) and folio.index < first + count:
                if folio.large:
                    folio = self._split(folio, first, count)
                # truncate_cleanup_folio clears mappedtodisk, so that the store hook drops the entry; 7.3's
                # does not (H7).
                folio.mapped = folio.mapped and self.revision.truncate_stores
                self._remove(folio)
                self._store(fs, folio)
        self._drop(fs, inode, first, count, self.revision.truncate)

    def _split(self, folio: Folio, first: int, count: int) -> Folio:
        """Keep the pages of a large folio outside [first, first + count) as small ones; a folio of the
        rest.
        """
        self._remove(folio)
        inside = [at for at in range(len(folio.content)) if first <= folio.index + at < first + count]
        for at, content in enumerate(folio.content):
            if at not in inside:
                kept = Folio(folio.inode, folio.index + at, [content], folio.mapped)
                kept.dirty = folio.dirty
                self._add(kept)
        rest = Folio(folio.inode, folio.index + inside[0], [folio.content[at] for at in inside], folio.mapped)
        self._add(rest)
        return rest

    def _store(self, fs: Filesystem, folio: Folio) -> None:
        """`store_into_cleancache`: the page leaves memory and must not leave stale data behind."""
        if self.cleancache is None:
            return
        if folio.mapped and not folio.large:
            self.cleancache.put(
                fs.cleancache_id, folio.inode.key, folio.index, folio.content[0], folio.workingset
            )
        else:
            self._invalidate_resident(fs, folio)

    def _drop(self, fs: Filesystem, inode: Inode, first: int, count: int, what: Drop) -> None:
        """Drop from the cleancache what a revision drops beyond resident pages."""
        if self.cleancache is not None:
            self.cleancache.drop(fs.cleancache_id, inode.key, first, count, what)

    def _invalidate_resident(self, fs: Filesystem, folio: Folio) -> None:
        """`cleancache_invalidate_folio`: drop the entries below a folio that was in memory; v2 passes over
        large ones (H4).
        """
        if self.cleancache is None or (folio.large and self.revision.large_folio is LargeFolio.IGNORED):
            return
        self.cleancache.invalidate_folio(fs.cleancache_id, folio.inode.key, folio.index, len(folio.content))

    def _read_disk(self, inode: Inode, index: int, pages: int) -> Folio:
        blocks = [inode.file.blocks.get(each, HOLE) for each in range(index, index + pages)]
        folio = Folio(inode, index, [page_of(version) for version in blocks], HOLE not in blocks)
        self._add(folio)
        self.traffic.disk_reads += pages
        return folio

    def _add(self, folio: Folio) -> None:
        for index in range(folio.index, folio.index + len(folio.content)):
            folio.inode.folios[index] = folio

    def _remove(self, folio: Folio) -> None:
        for index in range(folio.index, folio.index + len(folio.content)):
            del folio.inode.folios[index]

    def _new_address(self) -> int:
        self._next_address += 1
        return self._next_address

    def _key(self, file: File, address: int) -> Hashable:
        if self.revision.inode_key is InodeKey.NUMBER:
            return file.ino, file.generation
        # Found in the bucket of i_ino, compared by address.
        return address, hash_bucket(file.ino)


def hash_bucket(ino: int) -> int:
    """The bucket of an inode number: `hash_long(ino, 6)`."""
    return ((ino * 0x61C8864680B583EB) & ((1 << 64) - 1)) >> (64 - HASH_BITS)
