"""CMA page by page and in the replay: the same requests over the same tenants and pins, the same answers."""

import random

import numpy as np
import pytest

from allocator import CmaAllocError, CmaArea, CmaEvents, Tenant
from allocator.cma_steps import NOBODY, PINNED
from allocator.costs import COSTS_2015
from allocator.frames import CACHED, FIRST_FRAME, POOL0, POOL_CACHED, POOL_LONGS, POOL_ROW, TAKEN, state_of
from allocator.replay import Kind, Lane, Machine
from allocator.replay_cache import DIRTY, WRITING
from allocator.trace import ALLOC, DROP, FREE, READ, WRITE, rows

MEMORY = 320
ROOM = 9
"""A file in ordinary memory that ends before each request, so that nothing migrates within the area."""
SECOND = 1_000_000_000


def machine(seed: int, pinned: int) -> Machine:
    return Machine(160, MEMORY, anon_pages=90, pinned_pages=pinned, base_pfn=0x1234, seed=seed)


class Pair:
    """A lane of the replay, and an area that is told before each request what lies in the lane's."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.lane = Lane(Kind.CMA, machine)
        self.area = CmaArea("cma", machine.base_pfn, machine.area_pages, clear=self.clear)
        self.held: dict[int, tuple[int, int]] = {}
        self.now = 0
        self.copied: set[int] = set()

    def event(self, op: int, a: int, b: int = 0, c: int = 0) -> None:
        self.lane.apply(rows([(self.now, op, a, b, c)]))

    def read(self, *pages: tuple[int, int]) -> None:
        self.lane.apply(rows([(self.now, READ, file, index, 0) for file, index in pages]))

    def write(self, *pages: tuple[int, int, int]) -> None:
        self.lane.apply(rows([(self.now, WRITE, *page) for page in pages]))

    def clear(self, pfn: int, tenant: Tenant) -> bool:
        """Where one page under writeback was waited for, the others are written as well."""
        if tenant is Tenant.DIRTY_FILE:
            bit = pfn - self.area.base_pfn
            others = self.area._tenants == Tenant.DIRTY_FILE.code
            others[bit] = False
            self.area._tenants[others] = Tenant.CLEAN_FILE.code
        return True

    def tell(self) -> None:
        """Every page's tenant and pin."""
        for bit, (tenant, pinned) in enumerate(self.in_lane()):
            pfn = self.area.base_pfn + bit
            self.area.leave(pfn)
            if tenant is not None:
                self.area.settle(pfn, tenant)
            if pinned:
                self.area.pin(pfn)

    def in_lane(self) -> list[tuple[Tenant | None, bool]]:
        """What the lane has in each page of its area; no anonymous page is lost or there twice."""
        cache, tenants, lane_flags = self.lane._cache, self.lane._tenants, self.lane._flags
        first = int(cache.counts[POOL0 + POOL_LONGS + POOL_ROW])
        pages: list[tuple[Tenant | None, bool]] = []
        self.copied.clear()
        for bit, code in enumerate(tenants.tolist()):
            state = state_of(cache.frames, first + bit)
            if state == CACHED:
                assert code == NOBODY
                flags = int(lane_flags[first + bit])
                pages.append((Tenant.DIRTY_FILE if flags & WRITING else Tenant.CLEAN_FILE, False))
                if flags & DIRTY:
                    # To be copied as it is: to a request no other than an anonymous page.
                    pages[-1] = (Tenant.ANONYMOUS, False)
                    self.copied.add(bit)
            else:
                device = self.lane._runs.find(1, start=bit) != bit
                assert (state == TAKEN) == (device or code != NOBODY)
                assert not (device and code)
                pages.append((Tenant.ANONYMOUS if code else None, bool(code & PINNED)))
        outside = sum(state_of(cache.frames, row) == TAKEN for row in range(FIRST_FRAME, first))
        assert outside + np.count_nonzero(tenants) == self.machine.anon_pages
        return pages

    def anonymous_inside(self) -> int:
        """Anonymous pages in the lane's area."""
        return int(np.count_nonzero(self.lane._tenants))

    def cached(self) -> int:
        """Pages of files in the lane's memory and area."""
        counts = self.lane._cache.counts
        return int(counts[POOL0 + POOL_CACHED] + counts[POOL0 + POOL_LONGS + POOL_CACHED])

    def alloc(self, buffer: int, count: int, align: int) -> tuple[CmaEvents, CmaEvents]:
        """Ask both; what each did. They have to agree on the place, and on what is left in the area."""
        self.tell()
        before = self.lane.events, self.area.events
        self.event(ALLOC, buffer, count, align)
        bit, got = self.lane._buffers[buffer].tolist()
        try:
            pfn = self.area.cma_alloc(count, align)
        except CmaAllocError:
            assert not got
        else:
            assert (bit, got) == (pfn - self.area.base_pfn, count)
            self.held[buffer] = pfn, count
        assert [tenant for tenant, _ in self.in_lane()] == [
            self.area.tenant(self.area.base_pfn + each) for each in range(self.area.count)
        ]
        return self.lane.events - before[0], self.area.events - before[1]

    def free(self, buffer: int) -> None:
        self.event(FREE, buffer)
        assert self.area.cma_release(*self.held.pop(buffer))


@pytest.mark.parametrize("pinned", [0, 3, 12])
@pytest.mark.parametrize("seed", range(8))
def test_the_same_places_drops_migrations_and_retries(seed: int, pinned: int) -> None:
    pair, rng = Pair(machine(seed, pinned)), random.Random(seed)
    for _ in range(60):
        pair.read(*((ROOM, index) for index in range(MEMORY // 2)))
        pair.read(*((rng.randrange(4), rng.randrange(80)) for _ in range(200)))
        pair.event(DROP, rng.randrange(4), rng.randrange(80), 20)
        if pair.held and rng.random() < 0.5:
            pair.free(rng.choice(sorted(pair.held)))
        pair.event(DROP, ROOM)
        buffer = rng.choice([each for each in range(8) if each not in pair.held] or [8])
        if buffer == 8:
            continue
        lane, area = pair.alloc(buffer, rng.choice([1, 7, 16, 40, 90]), rng.randrange(6))
        assert lane == area
    done = pair.area.events
    assert done == pair.lane.events
    assert min(done.dropped, done.migrated) > 0
    assert (done.retries > 0) == (pinned > 0)
    summary = pair.lane.summary()
    assert summary.mean_ns * done.requests == pytest.approx(COSTS_2015.cma.time_ns(done))


@pytest.mark.parametrize("pinned", [0, 3])
@pytest.mark.parametrize("seed", range(8))
def test_the_same_waits_for_writeback(seed: int, pinned: int) -> None:
    """Files of which pages are written, some synced; seconds go by."""
    pair, rng = Pair(machine(seed, pinned)), random.Random(seed)
    copied = 0
    for _ in range(80):
        pair.now += rng.choice([0, SECOND // 3, SECOND, 20 * SECOND])
        pair.read(*((ROOM, index) for index in range(MEMORY // 2)))
        pair.read(*((rng.randrange(4), rng.randrange(80)) for _ in range(150)))
        pair.write(*((rng.randrange(6), rng.randrange(80), rng.randrange(8) == 0) for _ in range(50)))
        if pair.held and rng.random() < 0.5:
            pair.free(rng.choice(sorted(pair.held)))
        pair.event(DROP, ROOM)
        buffer = rng.choice([each for each in range(8) if each not in pair.held] or [8])
        if buffer == 8:
            continue
        lane, area = pair.alloc(buffer, rng.choice([1, 7, 16, 40, 90]), rng.randrange(6))
        assert lane == area
        assert lane.written_back <= 1
        copied += len(pair.copied)
    done = pair.lane.events
    assert min(done.dropped, done.migrated, done.written_back, copied) > 0
    summary = pair.lane.summary()
    assert summary.written_back == done.written_back
    assert summary.mean_ns * done.requests == pytest.approx(COSTS_2015.cma.time_ns(done))


@pytest.mark.parametrize("seed", range(4))
def test_what_is_reclaimed_in_the_range_itself_is_no_place_to_go(seed: int) -> None:
    """All memory is full and all of the area wanted: |afffafaf...| + |aff...|, a anonymous, f of a file."""
    pair, rng = Pair(Machine(64, 64, anon_pages=32, seed=seed)), random.Random(seed)
    # 96 frames, filled twice and a half: those used longest ago are in the area.
    pair.read(*((0, index) for index in rng.sample(range(300), 240)))
    inside, evicted = pair.anonymous_inside(), pair.lane.summary().evicted
    assert pair.cached() == 64 + 64 - 32
    pair.event(ALLOC, 0, 64)
    evicted = pair.lane.summary().evicted - evicted
    assert (pair.anonymous_inside(), pair.cached()) == (0, 32)
    # Each anonymous page goes where a file page outside was; the others reclaimed were in the range.
    assert evicted > inside > 0
    assert pair.lane.events == CmaEvents(1, 64, dropped=64 - evicted, migrated=inside)


def test_what_migrates_within_the_area_is_not_lost() -> None:
    """Memory is full: a place for an anonymous page is reclaimed, wherever it lies, and never used when it
    lies in the range itself.
    """
    moved = reclaimed = 0
    for seed in range(6):
        pair, rng = Pair(machine(seed, 2)), random.Random(seed)
        for _ in range(40):
            pair.read(*((rng.randrange(8), rng.randrange(200)) for _ in range(100)))
            inside, cached = pair.anonymous_inside(), pair.cached()
            events, evicted = pair.lane.events, pair.lane.summary().evicted
            pair.event(ALLOC, rng.randrange(6), rng.choice([7, 16, 40]), rng.randrange(6))
            events, evicted = pair.lane.events - events, pair.lane.summary().evicted - evicted
            assert pair.cached() == cached - events.dropped - evicted
            moved += events.migrated - inside + pair.anonymous_inside()
            reclaimed += evicted
            pair.event(FREE, rng.randrange(6))
    assert min(moved, reclaimed) > 0
