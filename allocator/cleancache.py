"""Cleancache: file pages kept in memory that may be wanted back at any moment.

The names and rules are those of the posted series (mm/cleancache.c, v2), as far as the `Revision` does not
say otherwise. One lock covers a call with its copy; the kernel has several, whose only visible effect is
who waits for whom.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Hashable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from allocator import frames as layout
from allocator import steps
from allocator.compiled import Ints, Longs, Table
from allocator.counters import Counters, PoolCounters, counters_of, pool_counters_of, sysfs_of
from allocator.error import KernelBugError, PageError, PoolError
from allocator.memory import PAGE_SIZE, PageBytes, PhysicalMemory, page_rows
from allocator.revision import SAFE, Admission, Drop, Hit, Revision, WhenFull

__all__ = ["NO_FS", "Cleancache"]

NO_FS: Final = -1
"""The id of a filesystem that has no cleancache (`CLEANCACHE_ID_INVALID`)."""


class Cleancache:
    """The cleancache of one machine, over all pools of its `memory`.

    frames, table, inodes, counts   the whole state, see `allocator.frames`; replaced when a pool is added
    places                          of the lookup table for each frame, 4 bytes each: more shorten lookups
    """

    def __init__(self, memory: PhysicalMemory, revision: Revision = SAFE, *, places: int = 2) -> None:
        self.memory = memory
        self.revision = revision
        self.places = places
        self.lock = threading.RLock()
        self.frames: Table = np.zeros((layout.FIRST_FRAME, layout.COLUMNS), np.int32)
        heads = np.arange(layout.FIRST_FRAME, dtype=np.int32)
        self.frames[:, layout.PREV] = self.frames[:, layout.NEXT] = heads
        self.table: Ints = np.zeros(places, np.int32)
        self.inodes: Ints = np.zeros(16, np.int32)
        self.counts: Longs = np.zeros(layout.COUNTS, np.int64)
        self.counts[layout.FAIL_WHEN_FULL] = revision.when_full is WhenFull.FAIL
        self.counts[layout.ADMIT_ALL] = revision.admission is Admission.ALL
        self.counts[layout.EXCLUSIVE] = revision.hit is Hit.EXCLUSIVE
        self.counts[layout.LOSE_RECORD] = not revision.keeps_record
        self.counts[layout.COUNT_ALL_SKIPS] = revision.counts_all_skips
        self._pools: list[str] = []
        self._filesystems: dict[int, dict[Hashable, int]] = {}
        self._next_fs = 0
        self._unused = list(range(len(self.inodes) - 1, -1, -1))

    # Filesystems and files

    def add_fs(self) -> int:
        """Register a mounted filesystem; its id."""
        with self.lock:
            fs = self._next_fs
            self._next_fs += 1
            self._filesystems[fs] = {}
            return fs

    def remove_fs(self, fs: int) -> int:
        """Forget a filesystem and all its pages (unmount); how many entries there were."""
        with self.lock:
            ids = self._filesystems.pop(fs, {})
            dropped = sum(self._invalidate_key(each) for each in ids.values())
            self._unused.extend(ids.values())
            return dropped

    invalidate_fs = remove_fs

    def put(self, fs: int, inode: Hashable, index: int, data: PageBytes, workingset: bool = True) -> bool:
        """Offer a clean page on its way out of the page cache; whether it was kept.

        Raises PageError when `data` is not one page of bytes or `index` is out of range.
        """
        with self.lock:
            key = self._key(fs, inode, index)
            if key < 0:
                return False
            pfn = steps.store(self.frames, self.table, self.inodes, self.counts, key, index, workingset)
            if pfn < 0:
                return False
            try:
                self.memory.write(pfn, data)
            except PageError:
                steps.invalidate(self.frames, self.table, self.inodes, self.counts, key, index)
                raise
            return True

    def get(
        self, fs: int, inode: Hashable, index: int, out: bytearray | memoryview | npt.NDArray[np.uint8]
    ) -> bool:
        """Copy a page into `out` if it is here; whether it was. A miss leaves `out` as it is.

        Raises PageError when `out` is not one writable page or `index` is out of range.
        """
        with self.lock:
            key = self._key(fs, inode, index)
            if key < 0:
                return False
            pfn = steps.load(self.frames, self.table, self.inodes, self.counts, key, index)
            if pfn < 0:
                return False
            self.memory.read(pfn, out)
            return True

    def put_pages(
        self,
        fs: int,
        inode: Hashable,
        indexes: Sequence[int] | Longs,
        data: npt.NDArray[np.uint8],
        workingset: bool = True,
    ) -> int:
        """`put` for many pages of one file, page `i` of `data` at `indexes[i]`; how many were kept.

        Raises PageError when `data` is not one page for each index, or an index is out of range.
        """
        with self.lock:
            key, wanted, pfns = self._batch(fs, inode, indexes, data)
            if key < 0:
                return 0
            kept = steps.store_many(
                self.frames, self.table, self.inodes, self.counts, key, wanted, workingset, pfns
            )
            self.memory.write_pages(pfns, data)
            return kept

    def get_pages(
        self, fs: int, inode: Hashable, indexes: Sequence[int] | Longs, out: npt.NDArray[np.uint8]
    ) -> npt.NDArray[np.bool_]:
        """`get` for many pages of one file, into page `i` of `out` for `indexes[i]`; which were found.

        Raises PageError when `out` is not one writable page for each index, or an index is out of range.
        """
        with self.lock:
            key, wanted, pfns = self._batch(fs, inode, indexes, out)
            if key < 0:
                return np.zeros(len(wanted), np.bool_)
            steps.load_many(self.frames, self.table, self.inodes, self.counts, key, wanted, pfns)
            self.memory.read_pages(pfns, out)
            return pfns >= 0

    def get_window(
        self, fs: int, inode: Hashable, first: int, out: npt.NDArray[np.uint8], stride: int = 1
    ) -> int:
        """Restore a readahead window up to the first miss; how many pages.

        Page `i` of `out` is for index `first + i * stride`.
        A file without entries misses the whole window at once (`cleancache_start_inode_walk`).

        Raises PageError when `out` is not made of pages, KernelBugError where v2's readahead follows an
        error pointer (H6).
        """
        if fs == NO_FS and not self.revision.checks_walk:
            raise KernelBugError(
                "readahead took the error pointer -EINVAL of cleancache_start_inode_walk for an "
                "inode record: its caller tests for NULL only"
            )
        count = out.size // PAGE_SIZE
        with self.lock:
            key, wanted, pfns = self._batch(fs, inode, range(first, first + count * stride, stride), out)
            if key < 0:
                return 0
            if self.inodes[key] == 0:
                self.counts[layout.MISSED] += count * stride
                return 0
            found = 0
            pfns.fill(-1)
            while found < count:
                pfns[found] = steps.load(
                    self.frames, self.table, self.inodes, self.counts, key, int(wanted[found])
                )
                if pfns[found] < 0:
                    break
                found += 1
            self.memory.read_pages(pfns, out)
            return found

    def invalidate_folio(self, fs: int, inode: Hashable, index: int, count: int = 1) -> bool:
        """Drop `count` pages of a file from `index` on; whether any was here."""
        with self.lock:
            key = self._key(fs, inode, index)
            if key < 0:
                return False
            last = min(index + count, steps.MAX_INDEX) - 1
            return (
                steps.invalidate_range(self.frames, self.table, self.inodes, self.counts, key, index, last)
                > 0
            )

    def drop(self, fs: int, inode: Hashable, first: int, count: int, what: Drop) -> int:
        """Drop what a revision drops when the content of pages [first, first + count) of a file ends and
        they are not in memory; how many entries.
        """
        if what is Drop.INODE:
            return self.invalidate_inode(fs, inode)
        if what is Drop.RANGE:
            with self.lock:
                before = self.counters.invalidated
                self.invalidate_folio(fs, inode, first, count)
                return self.counters.invalidated - before
        return 0

    def invalidate_inode(self, fs: int, inode: Hashable) -> int:
        """Drop all pages of a file; how many there were."""
        with self.lock:
            key = self._key(fs, inode, 0)
            return self._invalidate_key(key) if key >= 0 else 0

    def where(self, fs: int, inode: Hashable, index: int) -> int:
        """The pfn that holds a page, or -1; counts as no lookup and changes nothing."""
        with self.lock:
            key = self._filesystems.get(fs, {}).get(inode, -1)
            row = layout.lookup(self.frames, self.table, key, index) if key >= 0 else 0
            return layout.pfn_of(self.frames, self.counts, row) if row else -1

    def files(self, fs: int) -> list[Hashable]:
        """The files of a filesystem that have entries."""
        with self.lock:
            keys = self._filesystems.get(fs, {})
            return [inode for inode, key in keys.items() if self.inodes[key] != 0]

    # Backend API

    def register_pool(self, name: str, base_pfn: int, count: int) -> int:
        """Register a pool over pages [base_pfn, base_pfn + count), none of them donated yet; its id.

        Raises PoolError without a name (EINVAL), for a 65th pool (ENOMEM), or when pages lie in another
        pool or outside memory (EINVAL).
        """
        with self.lock:
            pool = len(self._pools)
            if not name:
                raise PoolError("a cleancache pool needs a name", errno.EINVAL)
            if pool == layout.MAX_POOLS:
                raise PoolError(
                    f"pool {name!r} is one too many: the limit is {layout.MAX_POOLS}", errno.ENOMEM
                )
            if count < 1 or not self.memory.holds(base_pfn, count):
                raise PoolError(
                    f"pool {name!r} of {count} pages at pfn {base_pfn:#x} lies outside memory, "
                    f"which has pages [{self.memory.base_pfn:#x}, {self.memory.end_pfn:#x})",
                    errno.EINVAL,
                )
            for other, known in enumerate(self._pools):
                at = layout.POOL0 + layout.POOL_LONGS * other
                start = int(self.counts[at + layout.POOL_PFN])
                size = int(self.counts[at + layout.POOL_COUNT])
                if start < base_pfn + count and base_pfn < start + size:
                    raise PoolError(
                        f"pool {name!r} at pfn {base_pfn:#x} overlaps pool {known!r}", errno.EINVAL
                    )
            self._add_frames(pool, base_pfn, count)
            self._pools.append(name)
            return pool

    def put_folios(self, pool: int, pfn: int, count: int) -> int:
        """Donate pages [pfn, pfn + count) in bulk, as an area does when it is set up; 0, or -EINVAL when
        one is not taken.
        """
        with self.lock:
            self._check_pool(pool, pfn, count)
            return steps.give(self.frames, self.counts, pool, pfn, count, self.revision.first_highest)

    def put_folio(self, pool: int, pfn: int, count: int = 1) -> int:
        """Give pages back one by one, in ascending order; 0, or -EINVAL when one is not taken."""
        with self.lock:
            self._check_pool(pool, pfn, count)
            return steps.give(self.frames, self.counts, pool, pfn, count, False)

    def get_folio(self, pool: int, pfn: int, count: int = 1) -> int:
        """Take pages [pfn, pfn + count) whatever they hold; 0, or -EINVAL when one is taken already."""
        with self.lock:
            self._check_pool(pool, pfn, count)
            return steps.take(self.frames, self.table, self.inodes, self.counts, pool, pfn, count)

    def taken(self, pool: int, pfn: int, count: int) -> int:
        """How many pages from `pfn` on, of `count`, are taken without a gap."""
        with self.lock:
            self._check_pool(pool, pfn, count)
            return steps.taken(self.frames, self.counts, pool, pfn, count)

    # Counters

    @property
    def counters(self) -> Counters:
        """All counters at one moment."""
        with self.lock:
            return counters_of(self.counts)

    @property
    def pools(self) -> tuple[PoolCounters, ...]:
        """The counters of each pool, in order of registration."""
        with self.lock:
            return tuple(pool_counters_of(self.counts, pool, name) for pool, name in enumerate(self._pools))

    def sysfs(self) -> dict[str, int]:
        """The files below /sys/kernel/mm/cleancache, by path."""
        with self.lock:
            return sysfs_of(self.counters, self.pools)

    # Inside

    def _key(self, fs: int, inode: Hashable, index: int) -> int:
        """The dense id of a file, given one if it is new; -1 when its filesystem is unknown."""
        if not 0 <= index < steps.MAX_INDEX:
            raise PageError(
                f"page index {index} of inode {inode!r} is out of range: use 0 to {steps.MAX_INDEX - 1:#x}"
            )
        keys = self._filesystems.get(fs)
        if keys is None:
            return -1
        key = keys.get(inode)
        if key is None:
            if not self._unused:
                self._find_unused()
            key = keys[inode] = self._unused.pop()
        return key

    def _find_unused(self) -> None:
        """Collect the ids of files without entries; make room for more when that yields few."""
        for keys in self._filesystems.values():
            for inode in [each for each, key in keys.items() if self.inodes[key] == 0]:
                self._unused.append(keys.pop(inode))
        if len(self._unused) < len(self.inodes) // 2:
            old = len(self.inodes)
            self.inodes = np.concatenate([self.inodes, np.zeros(old, np.int32)])
            self._unused.extend(range(2 * old - 1, old - 1, -1))

    def _invalidate_key(self, key: int) -> int:
        return steps.invalidate_inode(self.frames, self.table, self.inodes, self.counts, key)

    def _batch(
        self, fs: int, inode: Hashable, indexes: Sequence[int] | Longs, data: npt.NDArray[np.uint8]
    ) -> tuple[int, Longs, Longs]:
        """The key of the file, the indexes as an array, and room for a pfn each; checked."""
        given = np.asarray(indexes)
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            raise PageError(
                f"page indexes of inode {inode!r} must be one row of integers, "
                f"got {given.dtype} of shape {given.shape}"
            )
        wanted: Longs = np.ascontiguousarray(given, np.int64)
        # Before an entry is made: one without its bytes would be served.
        page_rows(data, len(wanted))
        if not steps.in_range(wanted):
            self._key(fs, inode, next(int(index) for index in wanted if not 0 <= index < steps.MAX_INDEX))
        return self._key(fs, inode, 0), wanted, np.empty(len(wanted), np.int64)

    def rows_of(self, pool: int) -> tuple[int, int]:
        """The first row of `frames` that is a pool's, and how many are."""
        at = layout.POOL0 + layout.POOL_LONGS * pool
        return int(self.counts[at + layout.POOL_ROW]), int(self.counts[at + layout.POOL_COUNT])

    def _check_pool(self, pool: int, pfn: int, count: int) -> None:
        """Refuse pages that do not all lie in `pool`; compiled steps would write elsewhere.

        Raises PoolError (EINVAL), as the kernel answers for a page of another pool.
        """
        if not 0 <= pool < len(self._pools):
            raise PoolError(f"pool {pool} does not exist", errno.EINVAL)
        at = layout.POOL0 + layout.POOL_LONGS * pool
        start = int(self.counts[at + layout.POOL_PFN])
        stop = start + int(self.counts[at + layout.POOL_COUNT])
        if not start <= pfn <= pfn + count <= stop:
            raise PoolError(
                f"pages [{pfn:#x}, {pfn + count:#x}) lie outside pool {self._pools[pool]!r}, "
                f"which has pages [{start:#x}, {stop:#x})",
                errno.EINVAL,
            )

    def _add_frames(self, pool: int, base_pfn: int, count: int) -> None:
        """Grow the arrays by the frames of a new pool, all taken."""
        row = len(self.frames)
        grown = np.zeros((row + count, layout.COLUMNS), np.int32)
        grown[:row] = self.frames
        grown[row:, layout.OWNER] = -1
        grown[row:, layout.STATE] = pool << layout.STATE_BITS | layout.TAKEN
        self.frames = grown
        self.table = np.zeros(self.places * (row + count - layout.FIRST_FRAME), np.int32)
        for each in np.flatnonzero(grown[:, layout.STATE] & 3 == layout.CACHED).tolist():
            layout.table_add(grown, self.table, each)
        at = layout.POOL0 + layout.POOL_LONGS * pool
        self.counts[at + layout.POOL_ROW] = row
        self.counts[at + layout.POOL_PFN] = base_pfn
        self.counts[at + layout.POOL_COUNT] = count
        self.counts[layout.POOLS] = pool + 1
