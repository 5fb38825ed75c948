"""The steps of the exact search, see `allocator.prove_search`.

A configuration is a row of positions, one slot for each buffer, grouped by kind, ascending within a kind,
`ABSENT` for those not held. Everything else lies in a few arrays, whose columns and slots are named below.
"""

from __future__ import annotations

from typing import Final

from allocator.compiled import Ints, Longs, Table, compiled

__all__ = ["advance", "fill_up", "first_fit", "place", "remove", "sort_blocks", "visit"]

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


@compiled
def align_up(at: int, align: int, offset: int) -> int:
    """The lowest page from `at` on whose absolute number is a multiple of `align`, a power of two."""
    return ((at + offset + align - 1) & ~(align - 1)) - offset


@compiled
def sort_blocks(held: Ints, order: Ints) -> int:
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
def first_fit(
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
def place(new: Ints, begin: int, stop: int, at: int) -> None:
    """Add `at` to the kind in slots [begin, stop): held positions ascend, absent ones follow."""
    slot = stop - 1
    while slot > begin and (new[slot - 1] == ABSENT or new[slot - 1] > at):
        new[slot] = new[slot - 1]
        slot -= 1
    new[slot] = at


@compiled
def remove(new: Ints, begin: int, stop: int, at: int) -> None:
    """Remove `at` from the kind in slots [begin, stop)."""
    slot = begin
    while new[slot] != at:
        slot += 1
    while slot + 1 < stop:
        new[slot] = new[slot + 1]
        slot += 1
    new[stop - 1] = ABSENT


@compiled
def fill_up(new: Ints, kind_of: Ints, kinds: Table, order: Ints, offset: int) -> None:
    """Allocate every absent block, kind after kind."""
    for kind in range(len(kinds)):
        while new[kinds[kind, STOP] - 1] == ABSENT:
            count = sort_blocks(new, order)
            at = first_fit(new, kind_of, kinds, order, count, kind, offset, 0, -1, -1)
            place(new, kinds[kind, BEGIN], kinds[kind, STOP], at)
            kinds[kind, HIGHEST] = max(kinds[kind, HIGHEST], at + kinds[kind, SIZE])


@compiled
def visit(
    states: Table, table: Ints, origins: Table, entries: Table, counters: Longs, new: Ints, origin: Ints
) -> bool:
    """Note configuration `new` with its `origin`; False when the arrays are full."""
    code = 0
    for k in range(len(new)):
        # No product may reach 2^63: Numba's integers do not wrap.
        code = ((code ^ (int(new[k]) + 2)) & 0xFFFF_FFFF) * 0x61C8_8647
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
    count = sort_blocks(held, order)
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
                    at = first_fit(held, kind_of, kinds, order, count, kind, offset, first, last, extra)
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
                        remove(new, kinds[kind_of[block], BEGIN], kinds[kind_of[block], STOP], held[block])
                    if extra >= 0:
                        remove(new, begin, stop, held[extra])
                    place(new, begin, stop, at)
                    if fill:
                        fill_up(new, kind_of, kinds, spare, offset)
                        cost = 0
                    origin[PARENT], origin[KIND], origin[EXTRA] = state, kind, extra
                    origin[FIRST], origin[LAST], origin[COST] = first, last, cost
                    if not visit(states, table, origins, entries, counters, new, origin):
                        return False
    return True


@compiled(at_once=True)
def advance(
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
