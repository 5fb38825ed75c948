"""Calls from many threads: nothing is lost, nothing is torn."""

import random
import threading
from collections.abc import Callable

import numpy as np

from allocator import PAGE_SIZE, Cleancache, CmaAllocError, GuaranteedArea, PhysicalMemory
from allocator.invariant import check_area, check_cleancache

AREAS = 3
PAGES = 64
ROUNDS = 400
SECONDS = 60


def content(who: int, inode: int, index: int) -> bytes:
    return bytes([who, inode, index, 7]) * (PAGE_SIZE // 4)


def test_files_and_devices_at_once() -> None:
    memory = PhysicalMemory(np.zeros(AREAS * PAGES * PAGE_SIZE, np.uint8))
    cache = Cleancache(memory)
    areas = [GuaranteedArea(f"area{each}", each * PAGES, PAGES, cache) for each in range(AREAS)]
    fs = cache.add_fs()
    errors: list[BaseException] = []
    hits = [0] * 4

    def files(who: int) -> None:
        """Uses files that no other thread does, so that each get must give the bytes of its last put."""
        rng = random.Random(who)
        out = bytearray(PAGE_SIZE)
        for _ in range(ROUNDS):
            inode, index = rng.randrange(4), rng.randrange(32)
            if rng.random() < 0.5:
                cache.put(fs, (who, inode), index, content(who, inode, index))
            elif cache.get(fs, (who, inode), index, out):
                assert out == content(who, inode, index)
                hits[who] += 1
            if rng.random() < 0.02:
                cache.invalidate_inode(fs, (who, inode))

    def device(who: int) -> None:
        """Takes buffers, fills them, and finds them as they were."""
        rng = random.Random(who)
        held: list[tuple[GuaranteedArea, int, int, bytes]] = []
        for turn in range(ROUNDS):
            if held and rng.random() < 0.5:
                area, pfn, count, mark = held.pop(rng.randrange(len(held)))
                assert memory.view(pfn, count).tobytes() == mark * count
                assert area.cma_release(pfn, count)
            else:
                area, count = rng.choice(areas), rng.randrange(1, 9)
                mark = bytes([who, turn & 255]) * (PAGE_SIZE // 2)
                try:
                    pfn = area.cma_alloc(count, rng.randrange(3))
                except CmaAllocError:
                    continue
                memory.view(pfn, count)[:] = np.frombuffer(mark * count, np.uint8)
                held.append((area, pfn, count, mark))
        for area, pfn, count, _ in held:
            area.cma_release(pfn, count)

    def guard(work: Callable[[int], None], who: int) -> None:
        try:
            work(who)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guard, args=(files, who), daemon=True) for who in range(4)]
    threads += [threading.Thread(target=guard, args=(device, 16 + who), daemon=True) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()
    assert errors == []
    check_cleancache(cache)
    for area in areas:
        check_area(area)
        assert area.available_count == PAGES
    assert min(hits) > 0
    assert cache.counters.restored == sum(hits)
