"""A camera starts while memory is short: the three kinds of area, page by page."""

import dataclasses
import random

import numpy as np
import pytest

from allocator import (
    PAGE_SIZE,
    SAFE,
    V2,
    CarveOut,
    Cleancache,
    CmaArea,
    CmaEvents,
    ContiguousArea,
    GuaranteedArea,
    PhysicalMemory,
    Revision,
    Tenant,
)
from allocator.file import File, page_of
from allocator.invariant import check_area, check_cleancache
from allocator.pagecache import Filesystem, Inode, PageCache
from allocator.pressure import System

MEMORY = 512
AREA = 256
FILES = 8
FILE_PAGES = 128
BUFFERS = 3
BUFFER_PAGES = 64


def machine(kind: str, revision: Revision = SAFE, memory: int = MEMORY, count: int = AREA) -> System:
    area: ContiguousArea
    cache = None
    if kind == "gcma":
        cache = Cleancache(PhysicalMemory(np.zeros(count * PAGE_SIZE, np.uint8)), revision)
        area = GuaranteedArea("gcma", 0, count, cache)
    elif kind == "cma":
        area = CmaArea("cma", 0, count)
    else:
        area = CarveOut("carveout", 0, count)
    return System(memory, PageCache(cache), area)


def opened(system: System, *sizes: int) -> tuple[Filesystem, list[Inode]]:
    """Files of so many pages; page `at` of file `ino` holds version 1000 * ino + at."""
    files = {
        ino: File(ino, 1, size, {at: 1000 * ino + at for at in range(size)})
        for ino, size in enumerate(sizes, 1)
    }
    fs = system.page_cache.mount(files)
    return fs, [system.page_cache.inode(fs, ino) for ino in files]


def read(system: System, fs: Filesystem, inode: Inode, *indexes: int) -> None:
    """Read pages one after the other; readahead begins only at 0 or next to the page before."""
    for index in indexes:
        system.read(fs, inode, index)


def run(system: System, *, anonymous: int, camera: bool, rounds: int = 12, seed: int = 5) -> None:
    """Files read at random, the lower ones more often; every page is compared."""
    rng = random.Random(seed)
    files = {
        ino: File(ino, 1, FILE_PAGES, {at: 1000 * ino + at for at in range(FILE_PAGES)})
        for ino in range(1, FILES + 1)
    }
    fs = system.page_cache.mount(files)
    inodes = [system.page_cache.inode(fs, ino) for ino in files]
    held: list[int] = []
    for _ in range(rounds):
        for _ in range(600):
            inode = inodes[int(FILES * rng.random() ** 2)]
            index = rng.randrange(FILE_PAGES)
            assert system.read(fs, inode, index) == page_of(1000 * inode.file.ino + index)
            if anonymous:
                system.touch(int(anonymous * rng.random() ** 2))
        if camera:
            held = [pfn for _ in range(BUFFERS) if (pfn := system.request(BUFFER_PAGES, 4)) is not None]
            for _ in range(60):
                system.read(fs, inodes[0], rng.randrange(FILE_PAGES))
            for pfn in held:
                system.release(pfn, BUFFER_PAGES)
    check_area(system.area)
    if system.page_cache.cleancache is not None:
        check_cleancache(system.page_cache.cleancache)


def disk_reads(kind: str, revision: Revision = SAFE, anonymous: int = 0, camera: bool = False) -> int:
    system = machine(kind, revision)
    run(system, anonymous=anonymous, camera=camera)
    return system.page_cache.traffic.disk_reads + system.rest.swapped_in


def test_an_idle_area_serves_the_page_cache() -> None:
    reads = {kind: disk_reads(kind) for kind in ("carveout", "gcma", "cma")}
    assert reads["gcma"] < 0.9 * reads["carveout"]
    assert reads["cma"] < 0.8 * reads["carveout"]


def test_anonymous_memory_can_use_a_cma_area_only() -> None:
    """The downside: with much anonymous memory, guaranteed CMA costs more reads and swap than CMA."""
    reads = {kind: disk_reads(kind, anonymous=420) for kind in ("carveout", "gcma", "cma")}
    assert reads["cma"] < reads["gcma"] < reads["carveout"]


@pytest.mark.parametrize("kind", ["carveout", "gcma", "cma"])
def test_camera_start(kind: str) -> None:
    system = machine(kind)
    run(system, anonymous=420, camera=True)
    assert system.rest.failed == 0
    assert len(system.rest.requests_ns) == 12 * BUFFERS


def test_latency_of_a_camera_start() -> None:
    slowest: dict[str, float] = {}
    for kind in ("carveout", "gcma", "cma"):
        system = machine(kind)
        run(system, anonymous=420, camera=True)
        slowest[kind] = max(system.rest.requests_ns)
    assert slowest["carveout"] < slowest["gcma"] < slowest["cma"] / 2


def test_pins_fail_cma_and_leave_guaranteed_cma_alone() -> None:
    for kind, failed in (("cma", True), ("gcma", False)):
        system = machine(kind)
        run(system, anonymous=420, camera=False)
        if isinstance(system.area, CmaArea):
            for pfn in range(20, AREA, 40):
                if system.area.tenant(pfn) is not None:
                    system.area.pin(pfn)
        assert (system.request(BUFFER_PAGES, 4) is None) is failed


def test_h8_a_restored_page_that_cannot_be_stored_again_costs_reads() -> None:
    """v2 leaves restored pages without PG_mappedtodisk: their entry goes when they leave the page cache."""
    mended = dataclasses.replace(V2, name="v2, H8 mended", restores_mapped=True)
    assert disk_reads("gcma", mended, 420) < 0.95 * disk_reads("gcma", V2, 420)


def test_written_pages_come_back_whole() -> None:
    system = machine("gcma")
    files = {1: File(1, 1, 0)}
    fs = system.page_cache.mount(files)
    inode = system.page_cache.inode(fs, 1)
    for index in range(2 * MEMORY):
        system.write(fs, inode, index, 7 + index)
    for _ in range(3):
        for index in range(2 * MEMORY):
            assert system.read(fs, inode, index) == page_of(7 + index)


@pytest.mark.parametrize(
    "order", [range(FILE_PAGES), range(FILE_PAGES - 1, -1, -1)], ids=["forwards", "backwards"]
)
def test_readahead_reads_no_page_twice(order: range) -> None:
    system = machine("carveout")
    fs = system.page_cache.mount({1: File(1, 1, FILE_PAGES, {at: 5 + at for at in range(FILE_PAGES)})})
    inode = system.page_cache.inode(fs, 1)
    for index in order:
        system.read(fs, inode, index)
    assert system.page_cache.traffic.disk_reads == FILE_PAGES


def test_what_the_rest_paid_is_counted() -> None:
    """More anonymous memory than there is goes to swap and comes back; a request beyond the area fails."""
    system = machine("cma")
    assert system.request(AREA + 1) is None
    assert (system.rest.failed, system.rest.requests_ns) == (1, [])
    pages = MEMORY + AREA + 40
    for number in range(pages):
        system.touch(number)
    assert (system.rest.swapped_out, system.rest.swapped_in) == (40, 0)
    system.touch(0)
    assert (system.rest.swapped_out, system.rest.swapped_in) == (41, 1)


def test_a_released_buffer_is_lent_again() -> None:
    system = machine("cma")
    pfn = system.request(AREA)
    assert pfn == 0
    system.touch(0)  # finds none of the area's pages free
    system.release(pfn, AREA)
    for number in range(MEMORY + AREA):
        system.touch(number)
    assert system.rest.swapped_out == 0


def test_the_time_of_a_request_knows_what_was_dropped() -> None:
    system = machine("gcma")
    first = system.request(BUFFER_PAGES)
    assert first is not None
    system.release(first, BUFFER_PAGES)
    cache = system.page_cache.cleancache
    assert cache is not None
    fs = cache.add_fs()
    cache.put_pages(fs, 1, range(AREA), np.zeros(AREA * PAGE_SIZE, np.uint8))
    system.request(BUFFER_PAGES)
    empty, full = system.rest.requests_ns
    assert full > empty
    assert cache.counters.recalled == BUFFER_PAGES


def test_a_page_that_comes_back_soon_is_a_refault_and_of_the_workingset_only_if_it_was() -> None:
    """Four pages of memory. 4 and 2 are used until active; 8 and 6 are used once and go first."""
    system = machine("carveout", memory=4)
    fs, (inode,) = opened(system, 20)
    read(system, fs, inode, 8, 6, 4, 2, 4, 2, 4, 2)
    read(system, fs, inode, 10)
    assert sorted(inode.folios) == [2, 4, 6, 10]
    assert system.rest.refaults == 0
    read(system, fs, inode, 8)
    # Within the distance: counted and active at once, but it never was of the workingset.
    assert sorted(inode.folios) == [2, 4, 8, 10]
    assert system.rest.refaults == 1
    assert not inode.folios[8].workingset
    # Three active pages beside one: 4, the eldest, leaves the active list, then memory, then returns.
    read(system, fs, inode, 12, 14)
    assert sorted(inode.folios) == [2, 8, 12, 14]
    read(system, fs, inode, 4)
    assert system.rest.refaults == 2
    assert inode.folios[4].workingset


def test_a_page_that_comes_back_late_is_no_refault() -> None:
    system = machine("carveout", memory=4)
    fs, (inode,) = opened(system, 20)
    read(system, fs, inode, 8, 6, 4, 2, 10, 8)
    assert system.rest.refaults == 0
    assert not inode.folios[8].workingset


def test_a_dirty_page_is_written_before_it_makes_way() -> None:
    system = machine("cma", memory=40, count=64)
    fs, (inode,) = opened(system, 0)
    for index in range(2):
        system.write(fs, inode, index, 7 + index)
    assert isinstance(system.area, CmaArea)
    assert [system.area.tenant(pfn) for pfn in range(3)] == [Tenant.DIRTY_FILE, Tenant.DIRTY_FILE, None]
    assert system.page_cache.traffic.disk_writes == 0
    assert system.request(64) == 0
    assert system.area.events == CmaEvents(requests=1, isolated=64, migrated=2, written_back=2)
    assert system.page_cache.traffic.disk_writes == 2
    assert inode.file.blocks == {0: 7, 1: 8}
    # They were moved, not dropped: the next reads are served by memory.
    assert [system.read(fs, inode, index) for index in range(2)] == [page_of(7), page_of(8)]
    assert (system.page_cache.traffic.hits, system.page_cache.traffic.disk_reads) == (2, 0)


def test_reclaim_for_a_claim_may_write_what_the_claim_comes_to_next() -> None:
    """Memory is full. The claim is for |anonymous|dirty|dirty|: to move the first, reclaim lets the second
    go, and writes the third with it, which then need only be dropped.
    """
    system = machine("cma", memory=20, count=40)
    fs, (inode,) = opened(system, 0)
    system.touch(0)
    for index in range(2):
        system.write(fs, inode, index, 7 + index)
    for number in range(1, 58):
        system.touch(number)
    for _ in range(2):
        system.touch(0)
    assert isinstance(system.area, CmaArea)
    before = [system.area.tenant(pfn) for pfn in range(3)]
    assert before == [Tenant.ANONYMOUS, Tenant.DIRTY_FILE, Tenant.DIRTY_FILE]
    assert system.request(3) == 0
    assert system.area.events == CmaEvents(requests=1, isolated=3, migrated=1, dropped=1)
    assert inode.file.blocks == {0: 7, 1: 8}
    assert inode.folios == {}
    check_area(system.area)


def test_places_emptied_in_vain_are_lent_again() -> None:
    """|a|p|a|.|.|.|.|.|: what lay beside the pinned page has moved, and its places are free for others."""
    system = machine("cma", memory=5, count=8)
    for number in range(3):
        system.touch(number)
    assert isinstance(system.area, CmaArea)
    system.area.pin(1)
    assert system.request(8) is None
    assert system.area.events.migrated == 2
    assert [pfn for pfn in range(8) if system.area.tenant(pfn)] == [1]
    for number in range(3, 5 + 8):
        system.touch(number)
    assert system.rest.swapped_out == 0
    system.touch(5 + 8)
    assert system.rest.swapped_out == 1


def test_a_written_page_is_dropped_when_it_is_in_the_way() -> None:
    system = machine("cma", memory=40, count=64)
    fs, (inode,) = opened(system, 0)
    for index in range(5):  # the fifth is more than a tenth of memory
        system.write(fs, inode, index, 7 + index)
    assert isinstance(system.area, CmaArea)
    assert [system.area.tenant(pfn) for pfn in range(6)] == [Tenant.CLEAN_FILE] * 5 + [None]
    assert system.request(64) == 0
    assert (system.area.events.dropped, system.area.events.migrated) == (5, 0)
    assert inode.folios == {}


def test_dirty_pages_are_written_when_they_are_more_than_a_tenth_of_memory() -> None:
    system = machine("carveout", memory=20)
    fs, (inode,) = opened(system, 0)
    written = []
    for index in range(6):
        system.write(fs, inode, index, 7 + index)
        written.append(system.page_cache.traffic.disk_writes)
    assert written == [0, 0, 3, 3, 3, 6]


def test_dirty_pages_of_all_files_count() -> None:
    system = machine("carveout", memory=20)
    fs, inodes = opened(system, 0, 0, 0)
    for inode in inodes:
        system.write(fs, inode, 0, 7)
    assert system.page_cache.traffic.disk_writes == 3
    assert [inode.file.blocks for inode in inodes] == [{0: 7}] * 3


def full_of_anonymous(memory: int = 2, count: int = 8) -> tuple[System, CmaArea]:
    """Anonymous pages in all memory, the eldest at the start of the area.

    area |0|1|2|3|4|5|7|9|  ordinary |6|8|
    """
    system = machine("cma", memory=memory, count=count)
    for number in range(memory + count):
        system.touch(number)
    assert isinstance(system.area, CmaArea)
    assert system.rest.swapped_out == 0
    return system, system.area


def test_a_claim_fails_while_memory_is_full() -> None:
    """Page 0 is in use and must move. Reclaim finds pages 1 and 2, which lie in the area: no room there."""
    system, area = full_of_anonymous()
    for _ in range(2):
        system.touch(0)
    assert system.request(1) is None
    assert (system.rest.failed, system.rest.swapped_out, area.events.migrated) == (1, 2, 0)
    assert [area.tenant(pfn) for pfn in range(4)] == [Tenant.ANONYMOUS, None, None, Tenant.ANONYMOUS]
    # What memory holds was not exceeded: two more pages fit in the area, the third goes to swap.
    for number in (100, 101):
        system.touch(number)
    assert system.rest.swapped_out == 2
    system.touch(102)
    assert system.rest.swapped_out == 3


def test_a_page_reclaimed_to_make_room_for_itself_is_out_of_the_way() -> None:
    """Page 0 must move and is the eldest, so that reclaim lets it go, and then nothing needs to be moved."""
    system, area = full_of_anonymous()
    assert system.request(1) == 0
    assert (system.rest.failed, system.rest.swapped_out) == (0, 1)
    assert area.tenant(1) is Tenant.ANONYMOUS
    system.touch(0)  # from swap; another goes for it
    assert (system.rest.swapped_out, system.rest.swapped_in) == (2, 1)
