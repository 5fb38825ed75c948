"""The cleancache's rules, one by one; sources in docs/semantics.md."""

import dataclasses

import numpy as np
import pytest

from allocator import (
    NO_FS,
    PAGE_SIZE,
    RFC,
    SAFE,
    V2,
    Cleancache,
    CmaAllocError,
    Counters,
    GuaranteedArea,
    KernelBugError,
    PageError,
    PhysicalMemory,
    PoolError,
    Revision,
)
from allocator.revision import Admission, Hit


def page(value: int) -> bytes:
    return value.to_bytes(8, "little") * (PAGE_SIZE // 8)


class Bench:
    """One filesystem over a pool of a few pages."""

    def __init__(self, pages: int, revision: Revision = SAFE) -> None:
        self.memory = PhysicalMemory(np.zeros(256 * PAGE_SIZE, np.uint8))
        self.cache = Cleancache(self.memory, revision)
        self.area = GuaranteedArea("gcma", 8, pages, self.cache)
        self.fs = self.cache.add_fs()

    def put(self, inode: int, index: int, workingset: bool = True, value: int | None = None) -> bool:
        content = page(inode * 1000 + index & (1 << 63) - 1 if value is None else value)
        return self.cache.put(self.fs, inode, index, content, workingset)

    def get(self, inode: int, index: int) -> int | None:
        out = bytearray(PAGE_SIZE)
        if not self.cache.get(self.fs, inode, index, out):
            return None
        assert out == out[:8] * (PAGE_SIZE // 8)
        return int.from_bytes(out[:8], "little")

    def where(self, value: int) -> int:
        """The pfn whose bytes are those of `value`."""
        found = [
            pfn for pfn in range(8, 8 + self.area.count) if self.memory.view(pfn).tobytes() == page(value)
        ]
        assert len(found) == 1
        return found[0]


def test_first_store_takes_the_highest_page_so_that_takes_meet_cached_data_last() -> None:
    bench = Bench(4)
    for index in range(3):
        assert bench.put(1, index)
    assert [bench.where(1000 + index) for index in range(3)] == [11, 10, 9]
    assert bench.area.cma_alloc(1) == 8
    assert bench.cache.counters.recalled == 0
    assert bench.area.cma_alloc(1) == 9
    assert bench.get(1, 2) is None
    assert bench.cache.counters.recalled == 1


def test_rfc_fills_upwards() -> None:
    bench = Bench(4, RFC)
    bench.put(1, 1)
    assert bench.where(1001) == 8


def test_free_pages_are_reused_in_the_order_they_became_free() -> None:
    bench = Bench(3)
    for index in range(3):
        bench.put(1, index)
    bench.cache.invalidate_folio(bench.fs, 1, 1)
    bench.cache.invalidate_folio(bench.fs, 1, 0)
    bench.put(2, 0)
    assert bench.where(2000) == 9
    bench.put(2, 1)
    assert bench.where(2001) == 10


def test_released_pages_are_used_lowest_first() -> None:
    bench = Bench(4)
    pfn = bench.area.cma_alloc(4)
    bench.area.cma_release(pfn, 4)
    bench.put(1, 1)
    assert bench.where(1001) == 8


@pytest.mark.parametrize(
    ("workingset", "present", "kept", "counters"),
    [
        (True, False, True, Counters(1, 0, 0, 0, 0, 0, 0, 1)),
        (True, True, True, Counters(1, 0, 0, 0, 0, 0, 0, 1)),
        (False, False, False, Counters(0, 1, 0, 0, 0, 0, 0, 0)),
        (False, True, False, Counters(1, 1, 0, 0, 1, 0, 0, 0)),
    ],
)
def test_admission(workingset: bool, present: bool, kept: bool, counters: Counters) -> None:
    bench = Bench(2)
    if present:
        bench.put(1, 5, value=77)
    assert bench.put(1, 5, workingset, value=78) is kept
    assert bench.cache.counters == counters
    assert bench.get(1, 5) == (78 if kept else None)


def test_v2_counts_every_store_as_skipped() -> None:
    bench = Bench(2, V2)
    bench.put(1, 5)
    bench.put(1, 5)
    bench.put(1, 6, workingset=False)
    assert bench.cache.counters == Counters(1, 3, 0, 0, 0, 0, 0, 1)


def test_admission_of_all() -> None:
    bench = Bench(2, dataclasses.replace(SAFE, name="all", admission=Admission.ALL))
    assert bench.put(1, 5, workingset=False)


def test_full_pool_drops_the_page_used_longest_ago() -> None:
    bench = Bench(3)
    for index in range(3):
        bench.put(1, index)
    assert bench.get(1, 0) == 1000  # a hit makes it the newest
    bench.put(1, 1, value=9)  # so does overwriting
    bench.put(1, 3)
    assert [bench.get(1, index) for index in range(4)] == [1000, 9, None, 1003]


def test_rfc_fails_when_full() -> None:
    bench = Bench(1, RFC)
    assert bench.put(1, 0)
    assert not bench.put(1, 1)
    assert bench.get(1, 0) == 1000


def test_exclusive_hit() -> None:
    bench = Bench(1, dataclasses.replace(SAFE, name="tmem", hit=Hit.EXCLUSIVE))
    bench.put(1, 0)
    assert bench.get(1, 0) == 1000
    assert bench.get(1, 0) is None
    assert bench.cache.counters.cached == 0


def test_the_lru_spans_all_pools_and_pools_fill_in_order() -> None:
    bench = Bench(2)
    other = GuaranteedArea("other", 100, 2, bench.cache)
    for index in range(5):
        bench.put(1, index)
    assert [(each.name, each.size, each.cached) for each in bench.cache.pools] == [
        ("gcma", 2, 2),
        ("other", 2, 2),
    ]
    assert bench.get(1, 0) is None
    assert other.cma_alloc(2) == 100
    assert [bench.get(1, index) for index in range(1, 5)] == [1001, None, None, 1004]
    assert [each.recalled for each in bench.cache.pools] == [0, 2]


def test_data_survives_the_arrival_of_a_pool() -> None:
    bench = Bench(8)
    for index in range(8):
        bench.put(1, index << 33)
    GuaranteedArea("late", 100, 20, bench.cache)
    assert [bench.get(1, index << 33) for index in range(8)] == [1000 + (index << 33) for index in range(8)]


def test_h5_v2_loses_the_record_that_it_is_storing_into() -> None:
    """Pool of one page: A:0, then A:1. The page is leaked: no hit, no take, though the bitmap shows it
    free.
    """
    bench = Bench(1, V2)
    assert bench.put(1, 0)
    assert bench.put(1, 1)
    assert bench.get(1, 1) is None
    with pytest.raises(CmaAllocError, match="ret: -22"):
        bench.area.cma_alloc(1)
    assert not bench.put(2, 0)


def test_h5_safe() -> None:
    bench = Bench(1)
    assert bench.put(1, 0)
    assert bench.put(1, 1)
    assert bench.get(1, 1) == 1001
    assert bench.area.cma_alloc(1) == 8


def test_window_stops_at_the_first_miss() -> None:
    bench = Bench(8)
    for index in (10, 11, 13):
        bench.put(1, index)
    out = np.full(4 * PAGE_SIZE, 255, np.uint8)
    assert bench.cache.get_window(bench.fs, 1, 10, out) == 2
    assert out.tobytes() == page(1010) + page(1011) + b"\xff" * (2 * PAGE_SIZE)
    assert bench.cache.counters.missed == 1
    assert bench.cache.get_window(bench.fs, 2, 10, out) == 0
    assert bench.cache.counters.missed == 5


def test_h6_window_of_a_filesystem_without_cleancache() -> None:
    out = np.zeros(PAGE_SIZE, np.uint8)
    assert Bench(1).cache.get_window(NO_FS, 1, 0, out) == 0
    with pytest.raises(KernelBugError, match="error pointer"):
        Bench(1, V2).cache.get_window(NO_FS, 1, 0, out)


def test_invalidate() -> None:
    bench = Bench(8)
    for index in (0, 1, 2, 500):
        bench.put(1, index)
    bench.put(2, 1)
    assert not bench.cache.invalidate_folio(bench.fs, 1, 3)
    assert bench.cache.invalidate_folio(bench.fs, 1, 1)
    assert bench.cache.invalidate_folio(bench.fs, 1, 2, 1 << 40)
    assert [bench.get(1, index) for index in (0, 1, 2, 500)] == [1000, None, None, None]
    assert bench.cache.invalidate_inode(bench.fs, 1) == 1
    assert bench.get(2, 1) == 2001


def test_unmount_drops_everything_and_ends_the_id() -> None:
    bench = Bench(4)
    other = bench.cache.add_fs()
    bench.put(1, 0)
    bench.put(2, 0)
    assert bench.cache.put(other, 1, 0, page(5))
    assert bench.cache.invalidate_fs(bench.fs) == 2
    assert not bench.put(1, 0)
    assert bench.get(1, 0) is None
    assert bench.cache.get(other, 1, 0, bytearray(PAGE_SIZE))
    assert bench.cache.counters == Counters(3, 0, 1, 0, 0, 0, 2, 1)


def test_many_files_reuse_the_ids_of_forgotten_ones() -> None:
    bench = Bench(4)
    for inode in range(5000):
        bench.put(inode, inode)
        assert bench.get(inode, inode) == inode * 1001
    assert len(bench.cache.inodes) <= 64
    assert [bench.get(inode, inode) for inode in range(4996, 5000)] == [
        inode * 1001 for inode in range(4996, 5000)
    ]


def test_batches_do_what_single_calls_do() -> None:
    single, batch = Bench(16), Bench(16)
    indexes = [3, 4, 5, 9, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 7, 4]
    data = np.frombuffer(b"".join(page(1000 + each) for each in indexes), np.uint8)
    kept = sum(single.put(1, each) for each in indexes)
    assert batch.cache.put_pages(batch.fs, 1, indexes, data) == kept
    assert batch.memory.ram.tobytes() == single.memory.ram.tobytes()
    wanted = [41, 2, 42, 7, 3, *range(30, 42)]
    out = np.zeros(len(wanted) * PAGE_SIZE, np.uint8)
    found = batch.cache.get_pages(batch.fs, 1, wanted, out)
    assert [
        int.from_bytes(out[at * PAGE_SIZE :][:8].tobytes(), "little") if hit else None
        for at, hit in enumerate(found.tolist())
    ] == [single.get(1, each) for each in wanted]
    assert batch.cache.counters == single.cache.counters


@pytest.mark.parametrize("size", [0, 1, PAGE_SIZE - 1, PAGE_SIZE + 1])
def test_data_must_be_one_page(size: int) -> None:
    bench = Bench(1)
    with pytest.raises(PageError, match="page data must be 4096 contiguous bytes"):
        bench.cache.put(bench.fs, 1, 0, bytes(size))
    assert bench.cache.counters.cached == 0
    bench.put(1, 0)
    with pytest.raises(PageError, match="a page is read into 4096 contiguous writable bytes"):
        bench.cache.get(bench.fs, 1, 0, bytearray(size))
    with pytest.raises(PageError, match="2 pages of 4096 bytes are wanted"):
        bench.cache.put_pages(bench.fs, 1, [0, 1], np.zeros(size, np.uint8))


@pytest.mark.parametrize("index", [-1, 1 << 52, 1 << 70])
def test_index_out_of_range(index: int) -> None:
    bench = Bench(1)
    with pytest.raises(PageError, match=r"page index .* is out of range"):
        bench.put(1, index)
    with pytest.raises(PageError, match=r"page index .* is out of range"):
        bench.get(1, index)


def test_pools() -> None:
    cache = Cleancache(PhysicalMemory(np.zeros(70 * PAGE_SIZE, np.uint8)))
    with pytest.raises(PoolError, match=r"a cleancache pool needs a name \(-EINVAL\)"):
        cache.register_pool("", 0, 1)
    for pool in range(64):
        assert cache.register_pool(f"p{pool}", pool, 1) == pool
        assert cache.put_folio(pool, pool) == 0
    with pytest.raises(PoolError, match=r"the limit is 64 \(-ENOMEM\)") as caught:
        cache.register_pool("p64", 64, 1)
    assert caught.value.errno == 12
    fs = cache.add_fs()
    assert cache.put_pages(fs, 1, range(65), np.zeros(65 * PAGE_SIZE, np.uint8)) == 65
    assert cache.counters.cached == 64
