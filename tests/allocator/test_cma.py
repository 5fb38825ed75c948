"""CMA: movable pages, pins, retries."""

import pytest

from allocator import AreaError, CmaAllocError, CmaArea, CmaEvents, Tenant
from allocator.invariant import check_area

BASE = 0x100
COUNT = 256


def filled(*kinds: Tenant) -> CmaArea:
    """All pages in use, by each kind in turn."""
    area = CmaArea("cma", BASE, COUNT)
    for at in range(COUNT):
        area.settle(BASE + at, kinds[at % len(kinds)])
    return area


def test_pages_in_the_way_are_dropped_written_and_moved() -> None:
    area = filled(*Tenant)
    assert area.cma_alloc(99) == BASE
    assert area.events == CmaEvents(requests=1, isolated=99, dropped=33, migrated=66, written_back=33)
    assert area.tenant(BASE + 98) is None
    assert area.tenant(BASE + 99) is Tenant.CLEAN_FILE
    check_area(area)


def test_a_pinned_page_sends_the_search_to_the_next_aligned_place() -> None:
    """16 pages aligned to 16, one pinned in the first place: |....p...........|xxxxxxxxxxxxxxxx|."""
    area = filled(Tenant.ANONYMOUS)
    area.pin(BASE + 4)
    assert area.cma_alloc(16, align=4) == BASE + 16
    # All but the pinned page have moved, in vain.
    assert area.events == CmaEvents(requests=1, isolated=16, migrated=15 + 16, busy=16, retries=1)
    assert area.tenant(BASE + 4) is Tenant.ANONYMOUS
    assert area.tenant(BASE + 5) is None
    assert area.sysfs()["alloc_pages_fail"] == 0


@pytest.mark.parametrize(
    ("tenant", "emptied", "tries"),
    [(Tenant.ANONYMOUS, 127, 0), (Tenant.CLEAN_FILE, 63, 5), (Tenant.DIRTY_FILE, 63, 5)],
)
def test_how_far_a_claim_gets_beside_a_pinned_page(tenant: Tenant, emptied: int, tries: int) -> None:
    """128 pages, one pinned in the second batch of 32: an anonymous one is passed over at isolation, a file
    page holds up its batch and leaves the next ones alone.
    """
    area = CmaArea("cma", BASE, COUNT)
    area.settle(BASE, tenant, 128)
    area.pin(BASE + 40)
    assert area.cma_alloc(128, align=7) == BASE + 128
    events = area.events
    assert (events.dropped + events.migrated, events.tries, events.busy) == (emptied, tries, 128)
    assert [pfn - BASE for pfn in range(BASE, BASE + 128) if area.tenant(pfn)] == [
        40, *range(1 + emptied, 128),
    ]  # fmt: skip


def test_a_batch_is_32_pages_in_use() -> None:
    """Free pages do not count: |.f.f.f ... every other of 128 pages|, the third one in use pinned."""
    area = CmaArea("cma", BASE, COUNT)
    for at in range(1, 128, 2):
        area.settle(BASE + at, Tenant.CLEAN_FILE)
    area.pin(BASE + 5)
    assert area.cma_alloc(128, align=7) == BASE + 128
    assert area.events.dropped == 31
    assert area.tenant(BASE + 63) is None
    assert area.tenant(BASE + 65) is Tenant.CLEAN_FILE


def test_a_pinned_large_folio_is_pinned_whole() -> None:
    """A folio of 32 pages, one of them pinned, keeps both of its halves."""
    area = CmaArea("cma", BASE, COUNT)
    area.settle(BASE, Tenant.ANONYMOUS, 32)
    area.pin(BASE, 32)
    assert area.cma_alloc(16, align=4) == BASE + 32
    assert area.events.retries == 2
    area.unpin(BASE, 32)
    assert area.cma_alloc(16, align=4) == BASE
    with pytest.raises(AreaError, match=rf"page {BASE + 16 + 16:#x} is not in use"):
        area.pin(BASE + 16, 17)


def test_few_pins_defeat_a_large_request() -> None:
    """What was measured on Linux 7.3 (32 pinned pages of a 256 MiB area fail most 64 MiB requests)."""
    area = filled(Tenant.ANONYMOUS)
    for at in range(0, COUNT, 64):
        area.pin(BASE + at + 13)
    with pytest.raises(CmaAllocError) as caught:
        area.cma_alloc(64, align=4)
    assert caught.value.errno == 16
    assert area.events.retries == (COUNT - 64) // 16 + 1
    for at in range(0, COUNT, 64):
        area.unpin(BASE + at + 13)
    assert area.cma_alloc(64, align=4) == BASE
    check_area(area)


def test_no_memory_to_move_to() -> None:
    left = [3]

    def clear(pfn: int, tenant: Tenant) -> bool:
        left[0] -= 1
        return left[0] >= 0

    area = CmaArea("cma", BASE, COUNT, clear=clear)
    for at in range(8):
        area.settle(BASE + at, Tenant.ANONYMOUS)
    with pytest.raises(CmaAllocError) as caught:
        area.cma_alloc(8)
    assert caught.value.errno == 12
    assert area.available_count == COUNT


def test_a_devices_page_cannot_be_used_nor_an_unused_one_pinned() -> None:
    area = CmaArea("cma", BASE, COUNT)
    pfn = area.cma_alloc(1)
    with pytest.raises(
        AreaError, match=rf"a page of \[{pfn:#x}, {pfn + 1:#x}\) is a device's or of another area"
    ):
        area.settle(pfn, Tenant.ANONYMOUS)
    with pytest.raises(AreaError, match="is a device's or of another area"):
        area.settle(BASE + COUNT, Tenant.ANONYMOUS)
    with pytest.raises(AreaError, match=f"page {pfn + 1:#x} is not in use"):
        area.pin(pfn + 1)


def test_a_pin_outlives_a_change_of_use_and_not_its_end() -> None:
    area = CmaArea("cma", BASE, COUNT)
    area.settle(BASE, Tenant.CLEAN_FILE)
    area.pin(BASE)
    area.settle(BASE, Tenant.DIRTY_FILE)
    assert area.cma_alloc(1) == BASE + 1
    area.leave(BASE)
    assert area.tenant(BASE) is None
    area.settle(BASE, Tenant.ANONYMOUS)
    assert area.cma_alloc(1) == BASE


def test_pages_outside_the_area_are_nobodys() -> None:
    area = filled(Tenant.ANONYMOUS)
    area.pin(BASE, COUNT)
    for outside in (BASE - 1, BASE + COUNT):
        assert area.tenant(outside) is None
        area.unpin(outside)
        area.leave(outside)
        with pytest.raises(AreaError, match="is a device's or of another area"):
            area.settle(outside, Tenant.ANONYMOUS)
    # Nor does a range that leaves the area unpin its part within, at either edge.
    area.unpin(BASE + COUNT - 1, 2)
    area.unpin(BASE - 4, COUNT + 2)
    with pytest.raises(CmaAllocError):
        area.cma_alloc(1)
