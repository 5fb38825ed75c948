"""The latency table published with guaranteed CMA in 2015, and the same requests made to the model.

Source of the figures: cover letter of "[RFC v2 0/5] introduce gcma", S. Park, linux-mm, 24 February 2015.
CuBox i4 Pro (four 1 GHz ARMv7 cores), an area of 256 MiB, 32 requests of each size, a kernel build in the
background, an SD card.

The model runs the requests against `GuaranteedArea` and `CmaArea`; between two requests the background
uses `REFILL` pages of the area. What follows from that is counted, and `COSTS_2015` turns counts into time,
as in the replay. How long a page under writeback makes CMA wait is drawn at random here.

Fitted to the table: the cost of a request and of a page (from the minima), the cost of a page that held
data and the refill (from the averages of guaranteed CMA at 512 and 32000 pages), how many pages in CMA's
way are under writeback and how long it waits for one (from CMA's average at 16384 pages and its maximum),
and that CMA's area was still empty when the two smallest sizes ran, without which no share of pages under
writeback fits both ends of the table.
Predicted: everything else, so the averages at the other sizes, where the curves cross, which maxima collapse.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from allocator.area import ContiguousArea
from allocator.cleancache import Cleancache
from allocator.cma import CmaArea, Tenant
from allocator.costs import COSTS_2015, CmaEvents
from allocator.guaranteed import GuaranteedArea
from allocator.memory import PAGE_SIZE, PhysicalMemory
from allocator.revision import V2

__all__ = ["PUBLISHED", "Latency", "Row", "modelled"]

AREA_PAGES: Final = 65536
REQUESTS: Final = 32
REFILL: Final = 5_500
"""Pages that the background puts into the area between two requests."""
WARM_PAGES: Final = 1024
"""From requests of this size on CMA's area is in use."""
DIRTY_SHARE: Final = 1.1e-4
"""How many of the pages that the background puts into CMA's area are under writeback."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Microseconds of the requests of one size."""

    least: float
    most: float
    mean: float


@dataclass(frozen=True, slots=True)
class Row:
    """One size of requests."""

    pages: int
    cma: Latency
    guaranteed: Latency


PUBLISHED: Final = (
    Row(1, Latency(381, 2853, 684), Latency(13, 279, 26)),
    Row(512, Latency(818, 2382, 1162), Latency(512, 10140, 2002)),
    Row(1024, Latency(3113, 184703, 12303), Latency(1016, 17426, 3495)),
    Row(2048, Latency(2545, 790727, 33084), Latency(2029, 27027, 5983)),
    Row(4096, Latency(2899, 2768349, 298640), Latency(4087, 86887, 13091)),
    Row(8192, Latency(4476, 3496211, 407076), Latency(8254, 75976, 17519)),
    Row(16384, Latency(7266, 4132546, 657603), Latency(16398, 98087, 30474)),
    Row(32000, Latency(8612, 3910423, 641340), Latency(32328, 92502, 44675)),
)
SIZES: Final = tuple(each.pages for each in PUBLISHED)


def modelled(sizes: Sequence[int] = SIZES, requests: int = REQUESTS, seed: int = 1) -> tuple[Row, ...]:
    """The table as the model gives it."""
    return tuple(
        Row(pages, _of_cma(pages, requests, random.Random(seed)), _of_guaranteed(pages, requests))
        for pages in sizes
    )


def _of_guaranteed(pages: int, requests: int) -> Latency:
    memory = PhysicalMemory(np.zeros(AREA_PAGES * PAGE_SIZE, np.uint8))
    cache = Cleancache(memory, V2)
    area = GuaranteedArea("gcma", 0, AREA_PAGES, cache)
    fs = cache.add_fs()
    data = np.zeros(REFILL * PAGE_SIZE, np.uint8)
    times: list[float] = []
    for each in range(requests):
        # The first request finds the cleancache empty, as the least of the published times does.
        if each:
            cache.put_pages(fs, "build", range(each * REFILL, (each + 1) * REFILL), data)
        before = cache.counters.recalled
        _use(area, pages)
        recalled = cache.counters.recalled - before
        events = CmaEvents(requests=1, isolated=pages, dropped=recalled)
        times.append(COSTS_2015.guaranteed.time_ns(events))
    return _latency(times)


def _of_cma(pages: int, requests: int, rng: random.Random) -> Latency:
    area = CmaArea("cma", 0, AREA_PAGES)
    costs = replace(COSTS_2015.cma, write_ns=0)
    times: list[float] = []
    for each in range(requests):
        if each and pages >= WARM_PAGES:
            # What was freed last is used first, and the rest of the area is in use already.
            area.settle(0, Tenant.CLEAN_FILE, REFILL)
            for page in range(REFILL):
                if rng.random() < DIRTY_SHARE:
                    area.settle(page, Tenant.DIRTY_FILE)
        before = area.events
        _use(area, pages)
        events = area.events - before
        waits = (rng.expovariate(1 / COSTS_2015.cma.write_ns) for _ in range(events.written_back))
        times.append(costs.time_ns(events) + sum(waits))
    return _latency(times)


def _use(area: ContiguousArea, pages: int) -> None:
    area.cma_release(area.cma_alloc(pages), pages)


def _latency(times: list[float]) -> Latency:
    return Latency(min(times) / 1e3, max(times) / 1e3, sum(times) / len(times) / 1e3)
