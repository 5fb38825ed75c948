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

import numpy as np

from allocator.compiled import Ints, Longs, Table
from allocator.prove_steps import (
    ABSENT,
    BEGIN,
    COSTS,
    DONE,
    FAILED_EXTRA,
    FAILED_KIND,
    FAILED_STATE,
    HIGHEST,
    LIMIT,
    MORE,
    OFFSET,
    ORDER,
    PARENT,
    QUEUE,
    SIZE,
    SPARE,
    STATES,
    STOP,
    advance,
    fill_up,
    first_fit,
    place,
    remove,
    sort_blocks,
    visit,
)

__all__ = ["Allocate", "Goal", "Operation", "Release", "Search", "search"]


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
    step = advance.native  # compiled before the clock starts: it may take longer than the search
    deadline = time.monotonic() + seconds
    outcome = MORE
    quota = 1
    while outcome == MORE and time.monotonic() < deadline:
        begin = time.monotonic()
        outcome = step(quota, *state.arguments)
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
            fill_up(root, self.kind_of, self.kinds, self.scratch[SPARE], offset)
        origin: Ints = np.array([-1, -1, -1, 0, -1, 0], np.int32)
        visit(self.states, self.table, self.origins, self.entries, self.counters, root, origin)

    @property
    def arguments(self) -> tuple[bool, Table, Ints, Table, Ints, Table, Table, Longs, Table]:
        """What `advance` works on."""
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
            count = sort_blocks(held, order)
            at = first_fit(
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
                    remove(held, int(self.kinds[gone[0], BEGIN]), int(self.kinds[gone[0], STOP]), gone[1])
                place(held, int(self.kinds[kind, BEGIN]), int(self.kinds[kind, STOP]), at)
                operations += self._filling(held)
        return operations

    def _filling(self, held: Ints) -> list[Operation]:
        """The allocations by which `fill_up` fills `held`; changes it."""
        before = held.copy()
        operations: list[Operation] = []
        order: Ints = self.scratch[SPARE]
        for kind, (begin, stop) in enumerate(self.kinds[:, [BEGIN, STOP]].tolist()):
            for _ in range(int((before[begin:stop] == ABSENT).sum())):
                count = sort_blocks(held, order)
                at = first_fit(
                    held, self.kind_of, self.kinds, order, count, kind, int(self.counters[OFFSET]), 0, -1, -1
                )
                place(held, begin, stop, at)
                operations.append(Allocate(kind, at))
        return operations
