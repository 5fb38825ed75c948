"""Ranges and sets of them, against plain sets of integers; the early allocator, against a plain search."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dts.memblock import ANYWHERE, Memblock
from dts.range import Range, RangeSet, size_text, without

ranges = st.builds(Range, st.integers(0, 60), st.integers(0, 20))
steps = st.lists(st.tuples(st.booleans(), ranges), max_size=12)


def plain(item: Range) -> set[int]:
    return set(range(item.base, item.end))


@given(steps, ranges)
def test_a_set_of_ranges_is_a_set(changes: list[tuple[bool, Range]], probe: Range) -> None:
    mine, model = RangeSet(), set[int]()
    for add, item in changes:
        if add:
            mine.add(item)
            model |= plain(item)
        else:
            mine.discard(item)
            model -= plain(item)
    parts = list(mine)
    assert {at for part in parts for at in plain(part)} == model
    assert all(first.end < second.base for first, second in pairwise(parts))
    assert len(mine) == len(parts)
    assert mine.overlaps(probe) == bool(plain(probe) & model)
    assert mine.holds(probe) == (plain(probe) <= model)


@given(ranges, ranges)
def test_overlap_and_holding(first: Range, second: Range) -> None:
    assert first.overlaps(second) == bool(plain(first) & plain(second))
    if second.size:
        assert first.holds(second) == (plain(second) <= plain(first))


@given(st.lists(ranges, max_size=5), st.lists(ranges, max_size=5))
def test_without(items: list[Range], holes: list[Range]) -> None:
    rest = {at for part in without(items, holes) for at in plain(part)}
    assert rest == {at for item in items for at in plain(item)} - {at for hole in holes for at in plain(hole)}


def test_sizes_read_in_the_largest_unit_that_divides_them() -> None:
    cases = {
        0: "0 bytes",
        17: "17 bytes",
        4096: "4 KiB",
        3 << 20: "3 MiB",
        1 << 30: "1 GiB",
        0x12345: "0x12345 bytes",
    }
    assert {size: size_text(size) for size in cases} == cases


PAGE = 4096
pages = st.builds(lambda base, size: Range(base * PAGE, size * PAGE), st.integers(0, 40), st.integers(1, 20))


@given(
    st.lists(pages, min_size=1, max_size=4),
    st.lists(pages, max_size=4),
    st.integers(1, 12),
    st.sampled_from([1, 2, 4, 8]),
    pages | st.none(),
    st.booleans(),
)
def test_memblock_finds_the_last_or_first_aligned_run(
    banks: list[Range], taken: list[Range], count: int, align: int, window: Range | None, bottom_up: bool
) -> None:
    block = Memblock(banks, PAGE)
    for item in taken:
        block.reserve(item)
    free = {at for bank in banks for at in range(bank.base, bank.end, PAGE)}
    free -= {at for item in taken for at in range(item.base, item.end, PAGE)}
    free.discard(0)
    if window is not None:
        free &= set(range(window.base, window.end, PAGE))
    fits = [
        at
        for at in sorted(free)
        if at % (align * PAGE) == 0 and all(at + step * PAGE in free for step in range(count))
    ]
    start, end = (window.base, window.end) if window is not None else (0, ANYWHERE)
    found = block.find(count * PAGE, align * PAGE, start, end, bottom_up=bottom_up)
    assert found == ((fits[0] if bottom_up else fits[-1]) if fits else 0)


def test_banks_lose_the_parts_of_pages_at_their_edges() -> None:
    block = Memblock([Range(0x1800, 0x3000), Range(0x9001, 0x10)], PAGE)
    assert list(block.memory) == [Range(0x2000, 0x2000)]


def test_what_is_not_mapped_is_not_given_out() -> None:
    block = Memblock([Range(0x1000, 0x3000)], PAGE)
    block.mark_nomap(Range(0x3000, 0x1000))
    assert block.find(PAGE, PAGE, 0, ANYWHERE) == 0x2000
    block.clear_nomap(Range(0x3000, 0x1000))
    assert block.find(PAGE, PAGE, 0, ANYWHERE) == 0x3000
