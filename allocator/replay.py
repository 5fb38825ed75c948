"""Replay: the same trace against guaranteed CMA, CMA and a carve-out, side by side.

Each allocator gets a machine of its own: the area, `memory_pages` of ordinary memory for the page cache, and
`anon_pages` of anonymous memory, which may live in a CMA area but not in a guaranteed one or a carve-out:
there they take ordinary memory away from the page cache. That is what guaranteed CMA costs; what it gains
is the cleancache.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, Final

import numpy as np

from allocator import cma_steps
from allocator import replay_cache as cached
from allocator import replay_steps as steps
from allocator.cleancache import Cleancache
from allocator.compiled import Bytes, Ints, Longs, Rows
from allocator.costs import COSTS_2015, EVENTS, CmaEvents, Costs, CostTable
from allocator.error import AllocatorError
from allocator.frames import COLUMNS, POOL0, POOL_CACHED, POOL_LONGS
from allocator.memory import PhysicalMemory
from allocator.revision import SAFE, Admission, Revision
from allocator.runs import Runs
from allocator.steps import give, take
from allocator.trace import ALLOC, FREE, OP, TIME, A

__all__ = [
    "Kind",
    "Lane",
    "Machine",
    "MachineError",
    "Sample",
    "Summary",
    "replay",
]

SAMPLES: Final = 240
PLACES: Final = 4
"""Of the lookup tables, for each frame: 8 bytes a page more than a cleancache has, for a tenth less time."""
PAGE_BYTES: Final = 2 * 4 * (COLUMNS + PLACES) + 2 * 4 * (COLUMNS + 2) // cached.DIRTY_SHARE + 4 + 8
"""What a lane needs for a page of memory or area: a frame in two of its lists, a share of two more, flags and
a time.
"""
PAGES_MAX: Final = 1 << 27
"""Pages of an area, or of memory, at most: 512 GiB."""


class MachineError(AllocatorError):
    """A machine that cannot be simulated."""


class Kind(Enum):
    """The allocators."""

    CARVEOUT = "carveout"
    GCMA = "gcma"
    CMA = "cma"

    @property
    def code(self) -> int:
        """What the steps call it."""
        return {Kind.CARVEOUT: steps.CARVE_OUT, Kind.GCMA: steps.GUARANTEED, Kind.CMA: steps.CMA}[self]


@dataclass(frozen=True, slots=True)
class Machine:
    """What the allocators run on.

    area_pages    size of the area
    memory_pages  ordinary memory for the page cache and anonymous pages
    anon_pages    anonymous pages, at most half of the ordinary memory
    pinned_pages  how many of the anonymous pages that lie in a CMA area are pinned
    base_pfn      first page of the area
    revision      of guaranteed CMA
    seed          of where anonymous and pinned pages lie
    costs         what turns events into time
    """

    area_pages: int
    memory_pages: int
    anon_pages: int = 0
    pinned_pages: int = 0
    base_pfn: int = 0
    revision: Revision = SAFE
    seed: int = 0
    costs: Costs = COSTS_2015

    def __post_init__(self) -> None:
        if not (0 < self.area_pages <= PAGES_MAX and 0 < self.memory_pages <= PAGES_MAX):
            raise MachineError(
                f"an area of {self.area_pages} pages and {self.memory_pages} pages of memory cannot be "
                f"simulated: use 1 to {PAGES_MAX} of each"
            )
        if not 0 <= self.anon_pages <= self.memory_pages // 2:
            raise MachineError(
                f"{self.anon_pages} anonymous pages leave too little of {self.memory_pages} pages of memory: "
                "use at most half"
            )
        if not 0 <= self.pinned_pages <= self.anon_pages:
            raise MachineError(
                f"{self.pinned_pages} pinned pages are more than the {self.anon_pages} anonymous ones "
                "they are among"
            )


@dataclass(frozen=True, slots=True)
class Sample:
    """The area at one moment: pages that devices hold, and pages that hold file data or anonymous memory."""

    time_ns: int
    held: int
    used: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What one allocator did with a trace. Times are modelled, by the machine's cost table.

    latencies   (time in ns, requests that took about as long): buckets 4 % apart, the empty ones left out
    """

    allocator: str
    requests: int
    failed: int
    success_rate: float
    p50_ns: int
    p99_ns: int
    max_ns: int
    mean_ns: float
    reads: int
    page_cache_hits: int
    restored: int
    disk_reads: int
    hit_rate: float
    refaults: int
    evicted: int
    stored: int
    dropped: int
    migrated: int
    retries: int
    written_back: int
    writes: int
    disk_writes: int
    held_most: int
    used_mean: float
    read_seconds: float
    latencies: tuple[tuple[int, int], ...]
    samples: tuple[Sample, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


class _Numbers(PhysicalMemory):
    """Page numbers without bytes behind them: a replay moves no data."""

    __slots__ = ()

    def __init__(self, count: int) -> None:
        super().__init__(np.empty(0, np.uint8))
        self.count = count


class Lane:
    """One allocator on its machine."""

    def __init__(self, kind: Kind, machine: Machine) -> None:
        self.kind = kind
        self.machine = machine
        area, memory = machine.area_pages, machine.memory_pages
        self._runs = Runs(area)
        self._tenants: Bytes = np.zeros(area if kind is Kind.CMA else 0, np.uint8)
        self._claim: Longs = np.zeros(cma_steps.CLAIM_LONGS, np.int64)
        everything = Revision("replay", admission=Admission.ALL, keeps_record=True)
        self._cache = Cleancache(_Numbers(memory + area), everything, places=PLACES)
        self._shadow = Cleancache(_Numbers(memory), everything, places=PLACES)
        self._clean = Cleancache(_Numbers(area), machine.revision, places=PLACES)
        system = memory if kind is Kind.CMA else memory - machine.anon_pages
        share = (memory + area) // cached.DIRTY_SHARE + 1
        self._dirty, self._writing = (Cleancache(_Numbers(share), everything) for _ in range(2))
        self._donate(self._dirty, "dirty", 0, share)
        self._donate(self._writing, "writing", 0, share)
        self._donate(self._cache, "memory", 0, system)
        self._donate(self._shadow, "shadow", 0, system)
        if kind is Kind.CMA:
            self._donate(self._cache, "area", memory, area)
            self._settle()
        if kind is Kind.GCMA:
            self._donate(self._clean, "area", 0, area)
        self._flags: Ints = np.zeros(len(self._cache.frames), np.int32)
        self._times: Longs = np.zeros(len(self._cache.frames), np.int64)
        self._buffers: Rows = np.zeros((16, 2), np.int64)
        self._prices = self.costs.prices()
        self._happened: Longs = np.zeros(EVENTS, np.int64)
        self._tallies: Longs = np.zeros(cached.TALLIES, np.int64)
        self._histogram: Longs = np.zeros(steps.BUCKETS, np.int64)
        self._samples: list[Sample] = []
        self._every = 1
        self._blocks = 0

    @property
    def costs(self) -> CostTable:
        """What things take."""
        costs = self.machine.costs
        return {Kind.CARVEOUT: costs.carveout, Kind.GCMA: costs.guaranteed, Kind.CMA: costs.cma}[self.kind]

    @property
    def events(self) -> CmaEvents:
        """What requests did so far."""
        return CmaEvents(*self._happened.tolist())

    def apply(self, events: Rows) -> None:
        """Apply a block of events."""
        self._make_room(events)
        steps.replay(
            self.kind.code,
            events,
            self._runs.words,
            self._runs.tree,
            self.machine.area_pages,
            self.machine.base_pfn,
            self._memory(),
            self._tenants,
            self._claim,
            self._buffers,
            self._prices,
            self._happened,
            self._tallies,
            self._histogram,
        )
        if len(events):
            self._sample(int(events[-1, TIME]))

    def summary(self) -> Summary:
        """What happened so far."""
        count = {name: int(self._tallies[at]) for name, at in _TALLIES.items()}
        events, reads = self.events, count["reads"]
        requests = events.requests
        hits = count["hits"] + count["restored"]
        area = self.machine.area_pages
        used = [(sample.held + sample.used) / area for sample in self._samples]
        slowest = count["slowest"]
        return Summary(
            allocator=self.kind.value,
            requests=requests,
            failed=count["failed"],
            success_rate=1 - count["failed"] / requests if requests else 1.0,
            p50_ns=min(self._percentile(0.50), slowest),
            p99_ns=min(self._percentile(0.99), slowest),
            max_ns=slowest,
            mean_ns=self.costs.time_ns(events) / requests if requests else 0.0,
            reads=reads,
            page_cache_hits=count["hits"],
            restored=count["restored"],
            disk_reads=count["disk"],
            hit_rate=hits / reads if reads else 0.0,
            refaults=count["refaults"],
            evicted=count["evicted"],
            stored=count["stored"],
            dropped=events.dropped,
            migrated=events.migrated,
            retries=events.retries,
            written_back=events.written_back,
            writes=count["writes"],
            disk_writes=count["written"],
            held_most=count["held_most"],
            used_mean=sum(used) / len(used) if used else 0.0,
            read_seconds=count["disk"] * self.machine.costs.read_ns / 1e9,
            latencies=tuple(
                (_bucket_ns(int(at)), int(self._histogram[at])) for at in np.flatnonzero(self._histogram)
            ),
            samples=tuple(self._samples),
        )

    @staticmethod
    def _donate(cache: Cleancache, name: str, base: int, count: int) -> None:
        pool = cache.register_pool(name, base, count)
        cache.put_folios(pool, base, count)

    def _settle(self) -> None:
        """Put anonymous pages into a CMA area, as many as lie there in the long run, some of them pinned."""
        machine = self.machine
        total = machine.memory_pages + machine.area_pages
        rng = np.random.default_rng(machine.seed)
        inside = round(machine.anon_pages * machine.area_pages / total)
        inside = min(max(inside, machine.pinned_pages), machine.area_pages, machine.anon_pages)
        places = rng.choice(machine.area_pages, inside, replace=False)
        self._tenants[places] = cma_steps.ANONYMOUS
        for page in places.tolist():
            self._cache.get_folio(1, machine.memory_pages + page)
        self._cache.get_folio(0, 0, machine.anon_pages - inside)
        self._tenants[places[: machine.pinned_pages]] |= cma_steps.PINNED

    def _make_room(self, events: Rows) -> None:
        """Arrays for all files and buffers that the block names."""
        buffers = (events[:, OP] == ALLOC) | (events[:, OP] == FREE)
        highest = int(events[buffers, A].max(initial=0))
        if highest >= len(self._buffers):
            self._buffers = np.concatenate([self._buffers, np.zeros((2 * highest, 2), np.int64)])
        files = int(events[~buffers, A].max(initial=0))
        for cache in self._lists:
            if files >= len(cache.inodes):
                cache.inodes = np.concatenate([cache.inodes, np.zeros(2 * files, np.int32)])

    @property
    def _lists(self) -> tuple[Cleancache, ...]:
        return self._cache, self._shadow, self._clean, self._dirty, self._writing

    def _memory(self) -> cached.Memory:
        cache, shadow, clean, dirty, writing = (
            (each.frames, each.table, each.inodes, each.counts) for each in self._lists
        )
        return cache, shadow, clean, dirty, writing, self._flags, self._times

    def _sample(self, time_ns: int) -> None:
        """Keep a sample of some blocks: of every second one each time there are too many."""
        self._blocks += 1
        if self._blocks % self._every:
            return
        used = 0
        if self.kind is Kind.GCMA:
            used = int(self._clean.counts[POOL0 + POOL_CACHED])
        elif self.kind is Kind.CMA:
            used = int(self._cache.counts[POOL0 + POOL_LONGS + POOL_CACHED] + np.count_nonzero(self._tenants))
        self._samples.append(Sample(time_ns, int(self._tallies[cached.LENT]), used))
        if len(self._samples) == 2 * SAMPLES:
            del self._samples[::2]
            self._every *= 2

    def _percentile(self, part: float) -> int:
        """The time that this part of the requests did not exceed, to within a bucket (4 %)."""
        total = int(self._histogram.sum())
        if not total:
            return 0
        return _bucket_ns(int(np.searchsorted(np.cumsum(self._histogram), math.ceil(part * total))))


def _bucket_ns(bucket: int) -> int:
    """The longest time of a bucket of the histogram."""
    return round(2 ** ((bucket + 1) / steps.BUCKETS_PER_OCTAVE))


_TALLIES: Final = {
    "reads": cached.READS, "hits": cached.HITS, "restored": cached.RESTORED, "disk": cached.DISK,
    "refaults": cached.REFAULTS, "evicted": cached.EVICTED, "stored": cached.STORED, "failed": cached.FAILED,
    "held_most": cached.LENT_MOST, "slowest": cached.SLOWEST_NS,
    "writes": cached.WRITES, "written": cached.WRITTEN,
}  # fmt: skip


def replay(
    blocks: Iterable[Rows],
    kinds: Sequence[Kind],
    machine: Machine,
    progress: Callable[[int], None] | None = None,
) -> list[Summary]:
    """Run `blocks` through one lane for each of `kinds`; `progress` is told the number of events done.

    KeyboardInterrupt ends the run early; the summaries tell what happened until then.

    Raises MachineError, also when this computer has too little memory, and TraceError from `blocks`.
    """
    _check_room(len(kinds), machine)
    for step in (give, take, steps.replay):
        step.native  # noqa: B018  compiled now: the first call of one may be for millions of pages
    lanes = [Lane(kind, machine) for kind in kinds]
    done = 0
    try:
        for block in blocks:
            for lane in lanes:
                lane.apply(block)
            done += len(block)
            if progress is not None:
                progress(done)
    except KeyboardInterrupt:
        if not done:
            raise
    return [lane.summary() for lane in lanes]


def _check_room(lanes: int, machine: Machine) -> None:
    """Refuse what would use most of this computer's memory."""
    area, memory = machine.area_pages >> 8, machine.memory_pages >> 8
    need = lanes * (machine.area_pages + machine.memory_pages) * PAGE_BYTES
    have = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if need > have * 3 // 4:
        raise MachineError(
            f"an area of {area} MiB beside {memory} MiB of memory takes "
            f"{need >> 20} MiB to simulate with {lanes} allocators, and this computer has {have >> 20} MiB: "
            "use a smaller machine or fewer allocators"
        )
