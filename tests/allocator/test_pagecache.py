"""The page cache alone: what is restored, written back, and told apart, call by call."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from allocator import PAGE_SIZE, SAFE, V2, Cleancache, GuaranteedArea, PhysicalMemory, Revision
from allocator.file import HOLE, File, page_of
from allocator.pagecache import Filesystem, Inode, PageCache

PAGES = 4


def page_cache(revision: Revision) -> PageCache:
    cache = Cleancache(PhysicalMemory(np.zeros(16 * PAGE_SIZE, np.uint8)), revision)
    GuaranteedArea("gcma", 0, 16, cache)
    return PageCache(cache)


def stored(pages: PageCache, fs: Filesystem, inode: Inode, index: int) -> None:
    """Read a page of the workingset, let it go to the cleancache."""
    pages.read(fs, inode, index)
    reclaimed(pages, fs, inode, index)


def reclaimed(pages: PageCache, fs: Filesystem, inode: Inode, index: int) -> None:
    inode.folios[index].workingset = True
    assert pages.reclaim(fs, inode.folios[index])


Restore = Callable[[PageCache, Filesystem, Inode], object]
both_ways = pytest.mark.parametrize(
    "restore",
    [
        lambda pages, fs, inode: pages.read(fs, inode, 2),
        lambda pages, fs, inode: pages.readahead(fs, inode, 2, 1),
    ],
    ids=["read", "readahead"],
)


@both_ways
def test_a_page_restored_over_a_hole_is_not_stored_again(restore: Restore) -> None:
    """v2 leaves the entry below a hole punched later (H1). Marking what is restored as mapped (H8) must ask
    the file system for the block: without one the page is dropped as it leaves, its stale entry with it.
    """
    pages = page_cache(dataclasses.replace(V2, name="v2, H8 mended", restores_mapped=True))
    fs = pages.mount({1: File(1, 1, PAGES, {at: 10 + at for at in range(PAGES)})})
    inode = pages.inode(fs, 1)
    stored(pages, fs, inode, 2)
    pages.punch(fs, inode, 2)
    restore(pages, fs, inode)
    assert inode.folios[2].content == [page_of(12)]  # H1 as published
    reclaimed(pages, fs, inode, 2)
    assert pages.read(fs, inode, 2) == page_of(HOLE)


@both_ways
def test_a_page_restored_over_a_block_is_stored_again(restore: Restore) -> None:
    pages = page_cache(SAFE)
    fs = pages.mount({1: File(1, 1, PAGES, {at: 10 + at for at in range(PAGES)})})
    inode = pages.inode(fs, 1)
    for _ in range(3):
        restore(pages, fs, inode)
        reclaimed(pages, fs, inode, 2)
    assert (pages.traffic.disk_reads, pages.traffic.restored) == (1, 2)


def test_writeback_ends_where_the_file_ends() -> None:
    """A large folio of four pages over a file of three: |0|1|2|end of file|, three blocks, once."""
    pages = page_cache(SAFE)
    fs = pages.mount({1: File(1, 1, 3, {at: 10 + at for at in range(3)})})
    inode = pages.inode(fs, 1)
    pages.read_large(inode, 0, PAGES)
    assert pages.traffic.disk_reads == PAGES
    pages.write(inode, 0, 99)
    for _ in range(2):
        pages.writeback(inode)
    assert inode.file.blocks == {0: 99, 1: 11, 2: 12}
    assert pages.traffic.disk_writes == 3


def test_a_new_file_with_an_old_number_does_not_see_the_old_pages() -> None:
    """Nobody here unlinks: a server replaced the file while no inode of it was in memory. Its number is used
    again, its generation tells.
    """
    pages = page_cache(SAFE)
    fs = pages.mount({1: File(1, 1, PAGES, {at: 10 + at for at in range(PAGES)})})
    old = pages.inode(fs, 1)
    stored(pages, fs, old, 2)
    pages.evict_inode(fs, old)
    fs.files[1] = File(1, 2, PAGES, {at: 20 + at for at in range(PAGES)})
    new = pages.inode(fs, 1)
    assert pages.read(fs, new, 2) == page_of(22)
    assert (pages.traffic.disk_reads, pages.traffic.restored) == (2, 0)


def test_the_same_file_sees_its_pages_after_its_inode_left_memory() -> None:
    pages = page_cache(SAFE)
    fs = pages.mount({1: File(1, 1, PAGES, {at: 10 + at for at in range(PAGES)})})
    inode = pages.inode(fs, 1)
    stored(pages, fs, inode, 2)
    pages.evict_inode(fs, inode)
    assert pages.read(fs, pages.inode(fs, 1), 2) == page_of(12)
    assert (pages.traffic.disk_reads, pages.traffic.restored) == (1, 1)
