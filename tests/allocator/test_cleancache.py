"""The cleancache's rules, one by one; sources in docs/semantics.md."""

import dataclasses
import random

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
from allocator.invariant import check_area, check_cleancache
from allocator.revision import Admission, Drop, Hit


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
    with pytest.raises(PageError, match="2 pages are 8192 contiguous bytes"):
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


@pytest.mark.parametrize("revision", [SAFE, RFC], ids=lambda each: each.name)
def test_a_long_life_keeps_every_invariant_and_every_byte(revision: Revision) -> None:
    """Two pools, four files, indexes that share their low and their high halves: each hit has the bytes that
    were put last, and after each call every page is in one state.
    """
    rng = random.Random(11)
    memory = PhysicalMemory(np.zeros(64 * PAGE_SIZE, np.uint8))
    cache = Cleancache(memory, revision, places=1)
    areas = [GuaranteedArea("a", 3, 9, cache), GuaranteedArea("b", 20, 14, cache)]
    fs = cache.add_fs()
    last: dict[tuple[int, int], int] = {}
    hits = 0
    for turn in range(1, 1500):
        inode, index = rng.randrange(4), rng.randrange(9) | rng.choice((0, 0, 1 << 32, 5 << 32))
        match rng.randrange(9):
            case 0 | 1 | 2 | 3:
                workingset = rng.random() < 0.9
                if cache.put(fs, inode, index, page(turn), workingset):
                    last[inode, index] = turn
            case 4 | 5:
                out = bytearray(PAGE_SIZE)
                if cache.get(fs, inode, index, out):
                    hits += 1
                    assert out == page(last[inode, index])
            case 6:
                count = rng.choice((1, 3, 1 << 33, 1 << 60))
                cache.invalidate_folio(fs, inode, index, count)
                assert all(cache.where(fs, inode, index + each) < 0 for each in range(min(count, 9)))
                last = {k: v for k, v in last.items() if k[0] != inode or not 0 <= k[1] - index < count}
            case 7:
                area = rng.choice(areas)
                try:
                    area.cma_alloc(rng.randrange(1, 5))
                except CmaAllocError:
                    assert area.runs.longest() < 5
            case _:
                area = rng.choice(areas)
                for pfn in list(area.allocations)[:2]:
                    area.cma_release(pfn, area.allocations[pfn])
        check_cleancache(cache)
        for area in areas:
            check_area(area)
    assert hits > 30


def test_a_range_of_many_indexes_drops_its_ends_and_nothing_else() -> None:
    """More indexes than are looked up one by one: the entries of the file are gone through instead."""
    bench = Bench(8)
    for index in (300, 99, 150, 5000, 100, 301):
        bench.put(1, index)
    bench.put(2, 150)
    assert bench.cache.invalidate_folio(bench.fs, 1, 100, 201)
    assert [bench.get(1, index) for index in (99, 100, 150, 300, 301, 5000)] == [
        1099, None, None, None, 1301, 6000,
    ]  # fmt: skip
    assert bench.get(2, 150) == 2150
    assert bench.cache.counters.invalidated == 3
    assert not bench.cache.invalidate_folio(bench.fs, 3, 0, 1000)


def test_a_range_of_two_files_that_share_a_place_of_the_table() -> None:
    """One place for each frame: entries of different files and halves of an index share places."""
    bench = Bench(2)
    for inode, index in ((1, 5), (2, 5)):
        assert bench.put(inode, index)
    assert (bench.get(1, 5), bench.get(2, 5), bench.get(3, 5)) == (1005, 2005, None)
    assert bench.get(1, 5 + (1 << 32)) is None


@pytest.mark.parametrize("revision", [SAFE, RFC], ids=lambda each: each.name)
def test_a_store_that_finds_no_page_counts_as_skipped(revision: Revision) -> None:
    bench = Bench(1, revision)
    assert bench.area.cma_alloc(1) == 8
    assert not bench.put(1, 0)
    assert bench.cache.counters == Counters(0, 1, 0, 0, 0, 0, 0, 0)


def test_v2_loses_the_record_only_of_the_file_that_is_stored_and_only_with_its_last_page() -> None:
    other = Bench(1, V2)
    other.put(1, 0)
    assert other.put(2, 0)
    assert other.get(2, 0) == 2000
    several = Bench(2, V2)
    for index in range(3):
        several.put(1, index)
    assert [several.get(1, index) for index in range(3)] == [None, 1001, 1002]
    lost = Bench(1, V2)
    lost.put(1, 0)
    lost.put(1, 1)
    (pool,) = lost.cache.pools
    assert (pool.cached, lost.cache.counters.cached, lost.cache.counters.stored) == (1, 1, 2)


def test_a_take_that_meets_a_taken_page_gives_back_what_it_took() -> None:
    bench = Bench(4)
    bench.put(1, 0)  # in page 11
    assert bench.cache.get_folio(0, 10) == 0
    assert bench.cache.get_folio(0, 8, 4) == -22
    (pool,) = bench.cache.pools
    assert (pool.size, pool.cached) == (3, 1)
    assert bench.cache.taken(0, 8, 4) == 0
    assert bench.cache.get_folio(0, 8, 2) == 0
    assert bench.get(1, 0) == 1000


@pytest.mark.parametrize(
    ("pool", "pfn", "count", "message"),
    [
        (1, 8, 1, "pool 1 does not exist"),
        (-1, 8, 1, "pool -1 does not exist"),
        (0, 7, 2, r"pages \[0x7, 0x9\) lie outside pool 'gcma', which has pages \[0x8, 0xc\)"),
        (0, 11, 2, r"pages \[0xb, 0xd\) lie outside"),
        (0, 10, -1, r"pages \[0xa, 0x9\) lie outside"),
    ],
)
def test_pages_of_no_pool_or_another(pool: int, pfn: int, count: int, message: str) -> None:
    cache = Bench(4).cache
    for act in (cache.get_folio, cache.put_folio, cache.put_folios, cache.taken):
        with pytest.raises(PoolError, match=message):
            act(pool, pfn, count)


def test_neighbouring_pools_are_no_overlap_and_empty_ones_are_refused() -> None:
    cache = Bench(4).cache
    assert cache.register_pool("below", 7, 1) == 1
    assert cache.register_pool("above", 12, 1) == 2
    with pytest.raises(PoolError, match=r"pool 'none' of 0 pages at pfn 0x20 lies outside memory"):
        cache.register_pool("none", 32, 0)


def test_unmounted_filesystems_give_their_ids_back() -> None:
    cache = Bench(2).cache
    for _ in range(500):
        fs = cache.add_fs()
        for inode in range(4):
            cache.put(fs, inode, 0, page(1))
        cache.remove_fs(fs)
    assert len(cache.inodes) == 16


def test_a_window_of_large_folios_asks_for_their_heads() -> None:
    bench = Bench(8)
    out = np.zeros(3 * PAGE_SIZE, np.uint8)
    assert bench.cache.get_window(bench.fs, 1, 8, out, 4) == 0
    assert bench.cache.counters.missed == 12
    for index in (8, 12, 13):
        bench.put(1, index)
    assert bench.cache.get_window(bench.fs, 1, 8, out, 4) == 2
    assert out[:8].tobytes() + out[PAGE_SIZE:][:8].tobytes() == page(1008)[:8] + page(1012)[:8]


def test_files_with_entries() -> None:
    bench = Bench(4)
    bench.put(1, 0)
    bench.put(2, 0)
    bench.cache.invalidate_inode(bench.fs, 1)
    assert bench.cache.files(bench.fs) == [2]


@pytest.mark.parametrize(("what", "dropped"), [(Drop.RESIDENT, 0), (Drop.RANGE, 2), (Drop.INODE, 3)])
def test_drop(what: Drop, dropped: int) -> None:
    bench = Bench(4)
    for index in (0, 5, 6):
        bench.put(1, index)
    assert bench.cache.drop(bench.fs, 1, 5, 1 << 62, what) == dropped
    assert bench.cache.counters.cached == 3 - dropped


def test_counters_after_a_take() -> None:
    bench = Bench(1)
    bench.put(1, 0)
    bench.area.cma_alloc(1)
    assert bench.cache.counters == Counters(1, 0, 0, 0, 0, 1, 0, 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros(2 * PAGE_SIZE, np.uint16), "got shape .* of uint16"),
        (np.zeros(4 * PAGE_SIZE, np.uint8)[::2], "2 pages are 8192 contiguous bytes"),
    ],
    ids=["wide", "strided"],
)
def test_a_batch_of_wrong_data_leaves_no_entry_behind(data: np.ndarray, message: str) -> None:
    """An entry without its bytes would be served with those of another file."""
    bench = Bench(4)
    with pytest.raises(PageError, match=message):
        bench.cache.put_pages(bench.fs, 1, [0, 1], data)
    assert bench.cache.counters == Counters(0, 0, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("indexes", [5, [[1], [2]], [1.5, 2.0], ["a", "b"], [1 << 70, 1]], ids=str)
def test_indexes_must_be_a_row_of_integers(indexes: object) -> None:
    bench = Bench(4)
    with pytest.raises(PageError, match="page indexes of inode 1 must be one row of integers"):
        bench.cache.put_pages(bench.fs, 1, indexes, np.zeros(2 * PAGE_SIZE, np.uint8))  # type: ignore[arg-type]


@pytest.mark.parametrize("index", [-1, 1 << 52])
def test_an_index_of_a_batch_out_of_range(index: int) -> None:
    bench = Bench(4)
    with pytest.raises(PageError, match=rf"page index {index} of inode 1 is out of range"):
        bench.cache.put_pages(bench.fs, 1, [0, index], np.zeros(2 * PAGE_SIZE, np.uint8))
    assert bench.cache.counters.cached == 0


def test_pages_are_not_read_into_memory_that_is_read_only() -> None:
    bench = Bench(1)
    bench.put(1, 0)
    out = np.zeros(PAGE_SIZE, np.uint8)
    out.flags.writeable = False
    with pytest.raises(PageError, match="pages are read into memory that is read-only"):
        bench.cache.get_pages(bench.fs, 1, [0], out)


def test_the_page_at_address_0_is_found() -> None:
    cache = Cleancache(PhysicalMemory(np.zeros(PAGE_SIZE, np.uint8)))
    GuaranteedArea("gcma", 0, 1, cache)
    fs = cache.add_fs()
    assert cache.put_pages(fs, 1, [7], np.ones(PAGE_SIZE, np.uint8)) == 1
    assert cache.get_pages(fs, 1, [7], np.zeros(PAGE_SIZE, np.uint8)).tolist() == [True]


def test_a_file_is_dropped_in_the_order_in_which_it_was_stored() -> None:
    """So its pages are used again in that order, whatever was dropped from its middle before."""
    bench = Bench(5)
    for index in range(5):
        bench.put(1, index)
    middle = bench.cache.where(bench.fs, 1, 2)
    order = [middle, *(bench.cache.where(bench.fs, 1, index) for index in (0, 1, 3, 4))]
    assert bench.cache.invalidate_folio(bench.fs, 1, 2)
    assert bench.cache.invalidate_inode(bench.fs, 1) == 4
    for index in range(5):
        bench.put(2, index)
    assert [bench.cache.where(bench.fs, 2, index) for index in range(5)] == order
