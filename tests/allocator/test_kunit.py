"""The acceptance tests of the posted series (mm/tests/cleancache_kunit.c, patch 5 of v2), case by case.

5 inodes of 4 pages, so 20 pages; a pool of 20 pages; all pages stored as workingset pages.
"""

import numpy as np
import pytest

from allocator import PAGE_SIZE, RFC, SAFE, V1, V2, Cleancache, PhysicalMemory, Revision

INODES = 5
PAGES = 4
COUNT = INODES * PAGES
POOL_PFN = 16


def content(inode: int, index: int) -> bytes:
    return bytes([inode, index]) * (PAGE_SIZE // 2)


class Bench:
    def __init__(self, revision: Revision) -> None:
        self.cache = Cleancache(PhysicalMemory(np.zeros(64 * PAGE_SIZE, np.uint8)), revision)
        self.fs = self.cache.add_fs()
        self.pool = self.cache.register_pool("kunit_pool", POOL_PFN, COUNT)
        assert self.cache.put_folios(self.pool, POOL_PFN, COUNT) == 0
        for inode in range(INODES):
            for index in range(PAGES):
                assert self.cache.put(self.fs, inode, index, content(inode, index))
        self.page = bytearray(PAGE_SIZE)

    def restore(self, inode: int, index: int) -> bool:
        return self.cache.get(self.fs, inode, index, self.page)


@pytest.fixture(params=[RFC, V1, V2, SAFE], ids=lambda each: each.name)
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param)


def test_restore(bench: Bench) -> None:
    for inode in range(INODES):
        for index in range(PAGES):
            assert bench.restore(inode, index)
            assert bench.page == content(inode, index)
    assert bench.cache.counters.restored == COUNT


def test_walk_and_restore(bench: Bench) -> None:
    window = np.zeros(PAGES * PAGE_SIZE, np.uint8)
    assert bench.cache.get_window(bench.fs, 0, 0, window) == PAGES
    assert window.tobytes() == b"".join(content(0, index) for index in range(PAGES))


def test_invalidate(bench: Bench) -> None:
    assert bench.restore(0, 0)
    assert bench.cache.invalidate_folio(bench.fs, 0, 0)
    assert not bench.restore(0, 0)
    assert bench.cache.invalidate_inode(bench.fs, 1) == PAGES
    for inode in range(INODES):
        for index in range(PAGES):
            gone = inode == 1 or (inode, index) == (0, 0)
            assert bench.restore(inode, index) is not gone
            if not gone:
                assert bench.page == content(inode, index)
    assert bench.cache.counters.invalidated == 1 + PAGES


@pytest.mark.parametrize("bench", [V1, V2, SAFE], ids=lambda each: each.name, indirect=True)
def test_reclaim(bench: Bench) -> None:
    new = b"\xba\xdc\xab\x32" * (PAGE_SIZE // 4)
    assert bench.cache.put(bench.fs, INODES - 1, PAGES, new)
    assert not bench.restore(0, 0)
    for inode in range(INODES):
        for index in range(PAGES):
            if (inode, index) != (0, 0):
                assert bench.restore(inode, index)
                assert bench.page == content(inode, index)
    assert bench.restore(INODES - 1, PAGES)
    assert bench.page == new
    assert bench.cache.counters.reclaimed == 1


def test_rfc_has_no_lru() -> None:
    bench = Bench(RFC)
    assert not bench.cache.put(bench.fs, INODES - 1, PAGES, bytes(PAGE_SIZE))
    assert bench.restore(0, 0)


def test_backend_api(bench: Bench) -> None:
    for pfn in range(POOL_PFN, POOL_PFN + COUNT):
        assert bench.cache.get_folio(bench.pool, pfn) == 0
        assert bench.cache.get_folio(bench.pool, pfn) == -22
    assert not bench.cache.put(bench.fs, 0, 0, content(0, 0))
    assert not bench.restore(0, 0)
    counters = bench.cache.counters
    assert (counters.recalled, counters.cached) == (COUNT, 0)
    assert bench.cache.pools[0].size == 0
    for pfn in range(POOL_PFN, POOL_PFN + COUNT):
        assert bench.cache.put_folio(bench.pool, pfn) == 0
        assert bench.cache.put_folio(bench.pool, pfn) == -22
    assert bench.cache.pools[0].size == COUNT
    assert bench.cache.put(bench.fs, 0, 0, content(0, 0))
