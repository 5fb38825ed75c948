"""Exact search over everything that a set of buffers can do to an area under first fit.

A *configuration* says which buffers are held and where. Three facts make the search small:

1. Releases can wait. Releasing a buffer just before the allocation that takes its place, or its turn,
leaves every
   placement in between as it was: first fit puts a buffer at p because everything lower is blocked and p is
   free, and one more held buffer elsewhere changes neither. So a *move* is: release exactly the buffers
   that lie where the new one goes (and one of its kind, when all of that kind are held), then allocate.
2. What can follow a configuration can follow every configuration that holds more, since releases are free.
So the
   search for the worst case (`FILLED`) fills up each configuration before it looks further and visits only
   full ones.
3. Buffers of one kind are alike: positions are kept sorted within a kind.

The search for a shortest failing sequence (`SHORTEST`) may use facts 1 and 3 only; it counts operations and
visits configurations in the order of that count.

Everything is in units of pages chosen by `allocator.prove`; the area has no end here, failures are `end >
limit`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import numpy as np

from allocator.compiled import Ints, Longs, Table, compiled

__all__ = ["Allocate", "Goal", "Operation", "Release", "Search", "search"]

ABSENT: Final = -1

# Columns of the kinds: first slot, slot after the last, units, alignment, highest end allowed, highest end
# seen.
BEGIN: Final = 0
STOP: Final = 1
SIZE: Final = 2
ALIGN: Final = 3
LIMIT: Final = 4
HIGHEST: Final = 5

# Columns of a state's origin: the state before, the move made there, operations up to here.
PARENT: Final = 0
KIND: Final = 1
EXTRA: Final = 2
FIRST: Final = 3
LAST: Final = 4
COST: Final = 5

# Slots of the counters. From QUEUE on: per cost, the latest entry of its queue.
STATES: Final = 0
ENTRIES: Final = 1
FAILED_STATE: Final = 2
FAILED_KIND: Final = 3
FAILED_EXTRA: Final = 4
FAILED_COST: Final = 5
OFFSET: Final = 6
AT_COST: Final = 7
QUEUE: Final = 8
COSTS: Final = 1024

# Rows of the scratch space.
NEW: Final = 0
ORDER: Final = 1
SPARE: Final = 2
ORIGIN: Final = 3

# What a slice of the search ends with.
DONE: Final = 0
MORE: Final = 1
FULL: Final = 2


class Goal(Enum):
    """What a search looks for."""

    FILLED = 0
    """Every full configuration: the worst case."""
    SHORTEST = 1
    """A shortest sequence of operations whose last allocation fails."""


@dataclass(frozen=True, slots=True)
class Allocate:
    """Allocate a buffer of kind number `kind`; `start` is where it goes, None when there is no room."""

    kind: int
    start: int | None


@dataclass(frozen=True, slots=True)
class Release:
    """Release the buffer of kind number `kind` at `start`."""

    kind: int
    start: int


Operation = Allocate | Release


@dataclass(slots=True)
class Search:
    """What a search found.

    complete    every configuration was visited (FILLED), or no shorter failing sequence can exist (SHORTEST)
    highest     for each kind the highest end of a placement seen
    failure     operations that end in a failing allocation, or None
    configurations  the full configurations visited, one row each, positions by kind (FILLED only)
    visited     number of configurations
    """

    complete: bool
    highest: list[int]
    failure: list[Operation] | None
    visited: int
    configurations: list[list[int]] = field(default_factory=list)


@compiled
def align_up(at: int, align: int, offset: int) -> int:
    """The lowest page from `at` on whose absolute number is a multiple of `align`, a power of two."""
    return ((at + offset + align - 1) & ~(align - 1)) - offset


@compiled
def _sort_blocks(held: Ints, order: Ints) -> int:
    """Put the slots of the held blocks into `order`, by address; return how many there are."""
    count = 0
    for block in range(len(held)):
        if held[block] >= 0:
            at = count
            while at > 0 and held[order[at - 1]] > held[block]:
                order[at] = order[at - 1]
                at -= 1
            order[at] = block
            count += 1
    return count


@compiled
def _first_fit(
    held: Ints,
    kind_of: Ints,
    kinds: Table,
    order: Ints,
    count: int,
    kind: int,
    offset: int,
    first: int,
    last: int,
    extra: int,
) -> int:
    """Where first fit puts a block of `kind` when blocks order[first..last] and block `extra` are gone."""
    size, align = kinds[kind, SIZE], kinds[kind, ALIGN]
    at = align_up(0, align, offset)
    for k in range(count):
        block = order[k]
        if first <= k <= last or block == extra:
            continue
        if at + size <= held[block]:
            return at
        end = held[block] + kinds[kind_of[block], SIZE]
        if end > at:
            at = align_up(end, align, offset)
    return at


@compiled
def _place(new: Ints, begin: int, stop: int, at: int) -> None:
    """Add `at` to the kind in slots [begin, stop): held positions ascend, absent ones follow."""
    slot = stop - 1
    while slot > begin and (new[slot - 1] == ABSENT or new[slot - 1] > at):
        new[slot] = new[slot - 1]
        slot -= 1
    new[slot] = at


@compiled
def _remove(new: Ints, begin: int, stop: int, at: int) -> None:
    """Remove `at` from the kind in slots [begin, stop)."""
    slot = begin
    while new[slot] != at:
        slot += 1
    while slot + 1 < stop:
        new[slot] = new[slot + 1]
        slot += 1
    new[stop - 1] = ABSENT


@compiled
def _fill_up(new: Ints, kind_of: Ints, kinds: Table, order: Ints, offset: int) -> None:
    """Allocate every absent block, kind after kind."""
    for kind in range(len(kinds)):
        while new[kinds[kind, STOP] - 1] == ABSENT:
            count = _sort_blocks(new, order)
            at = _first_fit(new, kind_of, kinds, order, count, kind, offset, 0, -1, -1)
            _place(new, kinds[kind, BEGIN], kinds[kind, STOP], at)
            kinds[kind, HIGHEST] = max(kinds[kind, HIGHEST], at + kinds[kind, SIZE])


@compiled
def _visit(
    states: Table, table: Ints, origins: Table, entries: Table, counters: Longs, new: Ints, origin: Ints
) -> bool:
    """Note configuration `new` with its `origin`; False when the arrays are full."""
    code = 1469598103934665603
    for k in range(len(new)):
        code = ((code ^ (int(new[k]) + 2)) * 1099511628211) & 0x3FFF_FFFF_FFFF_FFFF
        code ^= code >> 29
    if origin[COST] >= COSTS:
        return False
    at = code & (len(table) - 1)
    state = -1
    # The table holds state numbers plus one, so that fresh zeroed memory is an empty table.
    while table[at] > 0 and state < 0:
        state = int(table[at]) - 1
        for k in range(len(new)):
            if states[state, k] != new[k]:
                state = -1
                at = (at + 1) & (len(table) - 1)
                break
    if state >= 0 and origins[state, COST] <= origin[COST]:
        return True
    if counters[ENTRIES] == len(entries) or (state < 0 and counters[STATES] == len(states)):
        return False
    if state < 0:
        state = int(counters[STATES])
        counters[STATES] += 1
        table[at] = state + 1
        for k in range(len(new)):
            states[state, k] = new[k]
    for k in range(len(origin)):
        origins[state, k] = origin[k]
    entry = counters[ENTRIES]
    counters[ENTRIES] += 1
    entries[entry, 0] = state
    entries[entry, 1] = counters[QUEUE + origin[COST]]
    counters[QUEUE + origin[COST]] = entry + 1
    return True


@compiled
def _expand(
    state: int, fill: bool, kinds: Table, kind_of: Ints, states: Table, table: Ints, origins: Table,
    entries: Table, counters: Longs, scratch: Table,
) -> bool:  # fmt: skip
    """Visit all that one move from configuration `state` leads to; False when the arrays are full."""
    held, order = states[state], scratch[ORDER]
    new, spare, origin = scratch[NEW, : len(held)], scratch[SPARE], scratch[ORIGIN, :6]
    offset = int(counters[OFFSET])
    count = _sort_blocks(held, order)
    for kind in range(len(kinds)):
        begin, stop, size = int(kinds[kind, BEGIN]), int(kinds[kind, STOP]), int(kinds[kind, SIZE])
        all_held = held[stop - 1] != ABSENT
        # One turn for each block of the kind that may have to be released first, and one without.
        for turn in range(begin if all_held else stop, stop + 1):
            extra = turn if turn < stop else -1
            for first in range(count + 1):
                # The empty range, (0, -1), is looked at once.
                for last in range(first if first else -1, count):
                    frees_kind = False
                    frees_extra = False
                    for k in range(first, last + 1):
                        frees_extra |= order[k] == extra
                        frees_kind |= kind_of[order[k]] == kind
                    if frees_extra or (all_held and extra < 0 and not frees_kind):
                        continue
                    at = _first_fit(held, kind_of, kinds, order, count, kind, offset, first, last, extra)
                    if first <= last:
                        low, high = order[first], order[last]
                        if held[low] + kinds[kind_of[low], SIZE] <= at or held[high] >= at + size:
                            continue
                    cost = 2 + last - first + int(extra >= 0)
                    if not fill:
                        cost += origins[state, COST]
                    kinds[kind, HIGHEST] = max(kinds[kind, HIGHEST], at + size)
                    if at + size > kinds[kind, LIMIT]:
                        if counters[FAILED_STATE] < 0 or cost < counters[FAILED_COST]:
                            counters[FAILED_STATE] = state
                            counters[FAILED_KIND] = kind
                            counters[FAILED_EXTRA] = extra
                            counters[FAILED_COST] = cost
                        if not fill:
                            continue
                    for k in range(len(new)):
                        new[k] = held[k]
                    for k in range(first, last + 1):
                        block = order[k]
                        _remove(new, kinds[kind_of[block], BEGIN], kinds[kind_of[block], STOP], held[block])
                    if extra >= 0:
                        _remove(new, begin, stop, held[extra])
                    _place(new, begin, stop, at)
                    if fill:
                        _fill_up(new, kind_of, kinds, spare, offset)
                        cost = 0
                    origin[PARENT], origin[KIND], origin[EXTRA] = state, kind, extra
                    origin[FIRST], origin[LAST], origin[COST] = first, last, cost
                    if not _visit(states, table, origins, entries, counters, new, origin):
                        return False
    return True


@compiled(at_once=True)
def _advance(
    quota: int, fill: bool, kinds: Table, kind_of: Ints, states: Table, table: Ints, origins: Table,
    entries: Table, counters: Longs, scratch: Table,
) -> int:  # fmt: skip
    """Expand up to `quota` configurations, cheapest first; DONE, MORE or FULL."""
    for _ in range(quota):
        cost = int(counters[AT_COST])
        while cost < COSTS and counters[QUEUE + cost] == 0:
            cost += 1
        counters[AT_COST] = cost
        if cost == COSTS or (counters[FAILED_STATE] >= 0 and cost + 1 >= counters[FAILED_COST]):
            return DONE
        entry = counters[QUEUE + cost] - 1
        counters[QUEUE + cost] = entries[entry, 1]
        state = int(entries[entry, 0])
        if origins[state, COST] == cost and not _expand(
            state, fill, kinds, kind_of, states, table, origins, entries, counters, scratch
        ):
            return FULL
    return MORE


def search(
    kinds: list[tuple[int, int, int, int]],
    goal: Goal,
    *,
    offset: int = 0,
    seconds: float = 10.0,
    states_max: int = 1_000_000,
    progress: Callable[[int], None] | None = None,
) -> Search:
    """Search the configurations of `kinds`: count, units, alignment in units, highest end allowed.

    `offset` is the absolute number of the area's first unit, as far as alignment needs it. The search stops
    when it is complete, after `seconds`, or at `states_max` configurations (about 80 bytes each and 4 for
    each block). `progress` is told the number of configurations now and then.
    """
    state = _State(kinds, goal, offset, states_max)
    deadline = time.monotonic() + seconds
    outcome = MORE
    quota = 1
    while outcome == MORE and time.monotonic() < deadline:
        begin = time.monotonic()
        outcome = _advance(quota, *state.arguments)
        # Short slices keep the deadline, however large a configuration is.
        quota = 2 * quota if time.monotonic() - begin < 0.02 else max(1, quota // 2)
        if progress is not None:
            progress(int(state.counters[STATES]))
    return state.result(complete=outcome == DONE)


class _State:
    """The arrays of one search."""

    def __init__(
        self, kinds: list[tuple[int, int, int, int]], goal: Goal, offset: int, states_max: int
    ) -> None:
        blocks = sum(kind[0] for kind in kinds)
        self.goal = goal
        self.kinds: Table = np.zeros((len(kinds), 6), np.int32)
        self.kind_of: Ints = np.repeat(np.arange(len(kinds), dtype=np.int32), [kind[0] for kind in kinds])
        self.kinds[:, STOP] = np.cumsum([kind[0] for kind in kinds])
        self.kinds[1:, BEGIN] = self.kinds[:-1, STOP]
        self.kinds[:, SIZE : LIMIT + 1] = [kind[1:] for kind in kinds]
        # Zeroed memory costs nothing until it is used.
        self.states: Table = np.zeros((states_max, blocks), np.int32)
        self.table: Ints = np.zeros(1 << (2 * states_max - 1).bit_length(), np.int32)
        self.origins: Table = np.zeros((states_max, 6), np.int32)
        self.entries: Table = np.zeros((2 * states_max, 2), np.int32)
        self.counters: Longs = np.zeros(QUEUE + COSTS, np.int64)
        self.counters[FAILED_STATE] = -1
        self.counters[OFFSET] = offset
        self.scratch: Table = np.zeros((4, max(6, blocks)), np.int32)
        root: Ints = np.full(blocks, ABSENT, np.int32)
        if goal is Goal.FILLED:
            _fill_up(root, self.kind_of, self.kinds, self.scratch[SPARE], offset)
        origin: Ints = np.array([-1, -1, -1, 0, -1, 0], np.int32)
        _visit(self.states, self.table, self.origins, self.entries, self.counters, root, origin)

    @property
    def arguments(self) -> tuple[bool, Table, Ints, Table, Ints, Table, Table, Longs, Table]:
        """What `_advance` works on."""
        return (
            self.goal is Goal.FILLED, self.kinds, self.kind_of, self.states, self.table, self.origins,
            self.entries, self.counters, self.scratch,
        )  # fmt: skip

    def result(self, *, complete: bool) -> Search:
        """What was found."""
        visited = int(self.counters[STATES])
        found = Search(complete, [int(h) for h in self.kinds[:, HIGHEST]], self._failure(), visited)
        if self.goal is Goal.FILLED:
            found.configurations = self.states[:visited].tolist()
        return found

    def _failure(self) -> list[Operation] | None:
        if self.goal is Goal.SHORTEST:
            state = int(self.counters[FAILED_STATE])
            if state < 0:
                return None
            operations = self._history(state)
            kind, extra = int(self.counters[FAILED_KIND]), int(self.counters[FAILED_EXTRA])
            if extra >= 0:
                operations.append(Release(kind, int(self.states[state, extra])))
            return [*operations, Allocate(kind, None)]
        seen = self.states[: self.counters[STATES]]
        over = seen + self.kinds[self.kind_of, SIZE] > self.kinds[self.kind_of, LIMIT]
        rows = np.flatnonzero(over.any(axis=1))
        if not len(rows):
            return None
        operations = self._history(int(rows[0]))
        for number, operation in enumerate(operations):
            size, limit = self.kinds[operation.kind, SIZE], self.kinds[operation.kind, LIMIT]
            placed = isinstance(operation, Allocate) and operation.start is not None
            if placed and operation.start + size > limit:
                return [*operations[:number], Allocate(operation.kind, None)]
        raise AssertionError("a configuration over the limit has an operation that went over it")

    def _history(self, state: int) -> list[Operation]:
        """The operations that lead from nothing to configuration `state`."""
        path = [state]
        while self.origins[path[-1], PARENT] >= 0:
            path.append(int(self.origins[path[-1], PARENT]))
        operations: list[Operation] = []
        held: Ints = np.full(self.states.shape[1], ABSENT, np.int32)
        order: Ints = self.scratch[ORDER]
        if self.goal is Goal.FILLED:
            operations += self._filling(held)
        for step in reversed(path[:-1]):
            _parent, kind, extra, first, last, _cost = (int(n) for n in self.origins[step])
            held = self.states[self.origins[step, PARENT]].copy()
            count = _sort_blocks(held, order)
            at = _first_fit(
                held,
                self.kind_of,
                self.kinds,
                order,
                count,
                kind,
                int(self.counters[OFFSET]),
                first,
                last,
                extra,
            )
            leaving = [int(block) for block in order[first : last + 1]] + ([extra] if extra >= 0 else [])
            operations += [Release(int(self.kind_of[block]), int(held[block])) for block in leaving]
            operations.append(Allocate(kind, at))
            if self.goal is Goal.FILLED:
                for gone in [(int(self.kind_of[block]), int(held[block])) for block in leaving]:
                    _remove(held, int(self.kinds[gone[0], BEGIN]), int(self.kinds[gone[0], STOP]), gone[1])
                _place(held, int(self.kinds[kind, BEGIN]), int(self.kinds[kind, STOP]), at)
                operations += self._filling(held)
        return operations

    def _filling(self, held: Ints) -> list[Operation]:
        """The allocations by which `_fill_up` fills `held`; changes it."""
        before = held.copy()
        operations: list[Operation] = []
        order: Ints = self.scratch[SPARE]
        for kind, (begin, stop) in enumerate(self.kinds[:, [BEGIN, STOP]].tolist()):
            for _ in range(int((before[begin:stop] == ABSENT).sum())):
                count = _sort_blocks(held, order)
                at = _first_fit(
                    held, self.kind_of, self.kinds, order, count, kind, int(self.counters[OFFSET]), 0, -1, -1
                )
                _place(held, begin, stop, at)
                operations.append(Allocate(kind, at))
        return operations
