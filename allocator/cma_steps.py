"""What a claim does to the pages of a CMA area: the rules of CMA, for the page by page model and the replay.

`tenants` has a byte for each page of the area: what uses it, and whether it is pinned. A claim goes through
its range batch by batch: `isolate` chooses pages, the caller gets them out of the way and says so
(`vacate`), `conclude` tells what came of it.

Source: Linux 7.3. `alloc_contig_frozen_range` (mm/page_alloc.c) isolates all pageblocks that the range
touches. That fails for nothing that lies in them: `has_unmovable_pages` (mm/page_isolation.c) takes every
page of a CMA pageblock for movable. Then `__alloc_contig_migrate_range` empties the range itself, 32 pages
in use at a time, and what has moved stays moved:

- A pinned anonymous page has more references than mappings, so `isolate_migratepages_block`
  (mm/compaction.c) passes over it. All the rest of the range is emptied; in the end `test_pages_isolated`
  finds the page, and the range is busy.
- A pinned file page is isolated like any other. Its batch is tried five times, then the range is busy;
  later batches are left alone.

A reference to one page of a large folio is one to the folio: it pins all of its pages.
"""

from __future__ import annotations

from typing import Final

from allocator.compiled import Bytes, Longs, compiled
from allocator.costs import BUSY, DROPPED, ISOLATED, MIGRATED, RETRIES, TRIES, WRITTEN_BACK

__all__ = ["conclude", "isolate", "vacate"]

# What uses a page.
NOBODY: Final = 0
CLEAN_FILE: Final = 1
DIRTY_FILE: Final = 2
"""Its writeback is waited for."""
ANONYMOUS: Final = 3
UNWRITTEN_FILE: Final = 4
"""Dirty, and its writeback has not begun: copied as it is."""
PINNED: Final = 0x80
"""Added to what uses it."""

BATCH: Final = 32
"""Pages that are isolated and migrated together (COMPACT_CLUSTER_MAX)."""
MOST_TRIES: Final = 5
"""How often migration of a batch is tried before the range counts as busy."""

# A claim under way.
HELD: Final = 0
"""Pinned anonymous pages, passed over."""
STUCK: Final = 1
"""Pinned file pages."""
COUNT: Final = 2
"""Pages of the batch, which follow."""
PAGES: Final = 3
CLAIM_LONGS: Final = PAGES + BATCH

EBUSY: Final = 16


@compiled
def isolate(tenants: Bytes, page: int, stop: int, claim: Longs) -> int:
    """Choose the next pages of [page, stop) that have to go; the page to go on from, `stop` for none.

    `claim` is all zero at first.
    """
    claim[COUNT] = 0
    isolated = 0
    while page < stop and isolated < BATCH:
        tenant = int(tenants[page])
        if tenant == ANONYMOUS | PINNED:
            claim[HELD] += 1
        elif tenant & PINNED:
            claim[STUCK] += 1
            isolated += 1
        elif tenant != NOBODY:
            claim[PAGES + claim[COUNT]] = page
            claim[COUNT] += 1
            isolated += 1
        page += 1
    return stop if claim[STUCK] else page


@compiled
def vacate(tenants: Bytes, claim: Longs, count: int, events: Longs) -> None:
    """The first `count` pages of the batch are out of the way."""
    for page in claim[PAGES : PAGES + count]:
        tenant = tenants[page]
        tenants[page] = NOBODY
        events[DROPPED] += tenant == CLEAN_FILE
        events[MIGRATED] += tenant in (DIRTY_FILE, ANONYMOUS, UNWRITTEN_FILE)
        events[WRITTEN_BACK] += tenant == DIRTY_FILE


@compiled
def conclude(claim: Longs, want: int, events: Longs) -> int:
    """Whether the range of `want` pages is free now: 0, or EBUSY."""
    if claim[HELD] == 0 and claim[STUCK] == 0:
        events[ISOLATED] += want
        return 0
    if claim[STUCK]:
        events[TRIES] += MOST_TRIES
    events[BUSY] += want
    events[RETRIES] += 1
    return EBUSY
