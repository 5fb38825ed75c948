"""What happens in requests for contiguous memory, and what each of it costs.

A request is a vector of counts (`CmaEvents`), an allocator a vector of prices (`CostTable`); the modelled
time is their product (`modelled_ns`), in the replay, under memory pressure and beside the published table
alike.

Source of the figures, where none is named: the table of latencies in the cover letter of "[RFC v2 0/5]
introduce gcma", S. Park, linux-mm, 24 February 2015 (CuBox i4 Pro: 1 GHz ARMv7, SD card), which
`allocator.published` has.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Final

import numpy as np

from allocator.compiled import Longs, compiled

__all__ = ["COSTS_2015", "CmaEvents", "CostTable", "Costs", "modelled_ns"]

# Events, as `CmaEvents` has them.
REQUESTS: Final = 0
ISOLATED: Final = 1
DROPPED: Final = 2
MIGRATED: Final = 3
WRITTEN_BACK: Final = 4
TRIES: Final = 5
BUSY: Final = 6
RETRIES: Final = 7
EVENTS: Final = 8


@dataclass(frozen=True, slots=True)
class CmaEvents:
    """What requests did so far.

    requests       calls of cma_alloc
    isolated       pages that devices were given, whether or not in use before
    dropped        clean file pages
    migrated       pages copied elsewhere
    written_back   pages whose writeback was waited for first
    tries          attempts to migrate batches with a pinned file page
    busy           pages of ranges given up as busy
    retries        ranges given up as busy
    """

    requests: int = 0
    isolated: int = 0
    dropped: int = 0
    migrated: int = 0
    written_back: int = 0
    tries: int = 0
    busy: int = 0
    retries: int = 0

    def __sub__(self, earlier: CmaEvents) -> CmaEvents:
        """What happened since `earlier`."""
        return CmaEvents(*(now - then for now, then in zip(astuple(self), astuple(earlier), strict=True)))


@compiled
def modelled_ns(prices: Longs, events: Longs) -> int:
    """The time that events take."""
    time = 0
    for event in range(EVENTS):
        time += int(prices[event]) * int(events[event])
    return time


@dataclass(frozen=True, slots=True)
class CostTable:
    """What one allocator takes for each event, in nanoseconds.

    request_ns  a request, whatever it asks for
    page_ns     a page that a device is given
    drop_ns     more for one that held clean data
    migrate_ns  more for one that had to be copied elsewhere
    write_ns    more for one whose writeback was waited for, on average; in a replay, how long writeback takes
    busy_ns     each page of a range that was given up
    """

    request_ns: int
    page_ns: int = 0
    drop_ns: int = 0
    migrate_ns: int = 0
    write_ns: int = 0
    busy_ns: int = 0

    def prices(self) -> Longs:
        """The price of each event, as `modelled_ns` takes them."""
        prices = np.zeros(EVENTS, np.int64)
        prices[REQUESTS] = self.request_ns
        prices[ISOLATED] = self.page_ns
        prices[DROPPED] = self.drop_ns
        prices[MIGRATED] = self.migrate_ns
        prices[WRITTEN_BACK] = self.write_ns
        prices[BUSY] = self.busy_ns
        return prices

    def time_ns(self, events: CmaEvents) -> int:
        """The time that events take."""
        return modelled_ns(self.prices(), np.array(astuple(events), np.int64))


@dataclass(frozen=True, slots=True)
class Costs:
    """A table for each allocator.

    read_ns   reading one page from disk, whoever asks
    """

    guaranteed: CostTable
    cma: CostTable
    carveout: CostTable
    read_ns: int


COSTS_2015: Final = Costs(
    guaranteed=CostTable(
        request_ns=12_000,  # fitted: least time of one page
        page_ns=1_000,  # fitted: least times over pages
        drop_ns=2_300,  # fitted: averages at 512 and 32000 pages
    ),
    cma=CostTable(
        request_ns=381_000,  # fitted: least time of one page
        page_ns=270,  # fitted: least times over pages
        drop_ns=670,  # fitted: averages, waits for the disk taken out
        # Assumed: a copy of 4 KiB at 0.5 GB/s, and unmapping and mapping it again. The table cannot tell: a
        # build in the background leaves file pages.
        migrate_ns=10_000,
        write_ns=1_000_000_000,  # fitted: CMA's maxima; it is an SD card under load
        # Scaled: on the emulated board Linux 7.3 takes 60 ns for a page of a range that it gives up, where
        # hardly anything has to move, and 650 ns for one of a range that it gets (docs/linux.md).
        busy_ns=25,
    ),
    carveout=CostTable(request_ns=12_000),  # assumed: as guaranteed CMA with nothing to take
    read_ns=100_000,  # assumed: an SD card
)
"""The tables that fit the measurements published in 2015."""
