"""Counts times prices."""

from dataclasses import fields

from allocator.costs import COSTS_2015, EVENTS, CmaEvents, CostTable


def test_each_event_has_its_price() -> None:
    table = CostTable(
        request_ns=1, page_ns=10, drop_ns=100, migrate_ns=1_000, write_ns=10_000, busy_ns=100_000
    )
    events = CmaEvents(
        requests=2, isolated=3, dropped=4, migrated=5, written_back=6, tries=7, busy=8, retries=9
    )
    assert table.time_ns(events) == 865_432
    assert table.time_ns(CmaEvents()) == 0


def test_what_happened_since() -> None:
    later, earlier = CmaEvents(9, 8, 7, 6, 5, 4, 3, 2), CmaEvents(1, 1, 1, 1, 1, 1, 1, 1)
    assert later - earlier == CmaEvents(8, 7, 6, 5, 4, 3, 2, 1)
    assert len(fields(CmaEvents)) == EVENTS


def test_no_count_is_too_large_for_a_time() -> None:
    """A year of requests for 512 GiB, each page written."""
    events = CmaEvents(requests=1_000_000, written_back=1 << 33)
    assert COSTS_2015.cma.time_ns(events) == 1_000_000 * 381_000 + (1 << 33) * 1_000_000_000
