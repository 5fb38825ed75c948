"""The cleancache's counters as sysfs shows them (v2 4/8)."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from allocator import frames as layout
from allocator.compiled import Longs

__all__ = ["Counters", "PoolCounters", "counters_of", "pool_counters_of", "sysfs_of"]


@dataclass(frozen=True, slots=True)
class Counters:
    """The files of /sys/kernel/mm/cleancache.

    stored        new entries; overwriting one does not count
    skipped       stores that kept nothing (v2 counts every store)
    restored      hits
    missed        lookups without a hit
    reclaimed     entries dropped for a newer one, or because their page came back cold
    recalled      entries dropped because an area took the page
    invalidated   entries dropped because their content ended
    cached        entries now, computed from the others as the kernel does
    """

    stored: int
    skipped: int
    restored: int
    missed: int
    reclaimed: int
    recalled: int
    invalidated: int
    cached: int


@dataclass(frozen=True, slots=True)
class PoolCounters:
    """The files of /sys/kernel/mm/cleancache/<pool>.

    size       pages that no area has taken
    cached     pages that hold data
    recalled   pages taken with data in them
    """

    name: str
    size: int
    cached: int
    recalled: int


def counters_of(counts: Longs) -> Counters:
    """The counters of a cleancache."""
    events: list[int] = counts[layout.STORED : layout.INVALIDATED + 1].tolist()
    stored, skipped, restored, missed, reclaimed, recalled, invalidated = events
    cached = stored - invalidated - reclaimed - recalled
    return Counters(stored, skipped, restored, missed, reclaimed, recalled, invalidated, cached)


def pool_counters_of(counts: Longs, pool: int, name: str) -> PoolCounters:
    """The counters of one of its pools."""
    at = layout.POOL0 + layout.POOL_LONGS * pool
    size, cached, recalled = (
        int(counts[at + each]) for each in (layout.POOL_SIZE, layout.POOL_CACHED, layout.POOL_RECALLED)
    )
    return PoolCounters(name, size, cached, recalled)


def sysfs_of(counters: Counters, pools: tuple[PoolCounters, ...]) -> dict[str, int]:
    """The files below /sys/kernel/mm/cleancache, by path."""
    files: dict[str, int] = asdict(counters)
    for pool in pools:
        files |= {f"{pool.name}/{name}": getattr(pool, name) for name in ("size", "cached", "recalled")}
    return files
