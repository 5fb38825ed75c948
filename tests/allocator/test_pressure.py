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
    ContiguousArea,
    GuaranteedArea,
    PhysicalMemory,
    Revision,
)
from allocator.file import File, page_of
from allocator.invariant import check_area, check_cleancache
from allocator.pagecache import PageCache
from allocator.pressure import System

MEMORY = 512
AREA = 256
FILES = 8
FILE_PAGES = 128
BUFFERS = 3
BUFFER_PAGES = 64


def machine(kind: str, revision: Revision = SAFE) -> System:
    area: ContiguousArea
    cache = None
    if kind == "gcma":
        cache = Cleancache(PhysicalMemory(np.zeros(AREA * PAGE_SIZE, np.uint8)), revision)
        area = GuaranteedArea("gcma", 0, AREA, cache)
    elif kind == "cma":
        area = CmaArea("cma", 0, AREA)
    else:
        area = CarveOut("carveout", 0, AREA)
    return System(MEMORY, PageCache(cache), area)


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
