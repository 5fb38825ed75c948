"""Contiguous areas: placement, errors, releases, counters."""

import re

import numpy as np
import pytest

from allocator import (
    PAGE_SIZE,
    SAFE,
    V1,
    V2,
    AreaError,
    CarveOut,
    Cleancache,
    CmaAllocError,
    CmaReleaseError,
    ContiguousArea,
    GuaranteedArea,
    PhysicalMemory,
    Revision,
)

BASE = 0x105
COUNT = 64


def guaranteed(revision: Revision = SAFE, fill: bool = False) -> GuaranteedArea:
    cache = Cleancache(PhysicalMemory(np.zeros(COUNT * PAGE_SIZE, np.uint8), BASE * PAGE_SIZE), revision)
    area = GuaranteedArea("gcma", BASE, COUNT, cache)
    if fill:
        fs = cache.add_fs()
        for index in range(COUNT):
            assert cache.put(fs, 7, index, bytes(PAGE_SIZE))
    return area


@pytest.fixture(params=["carve-out", "guaranteed", "guaranteed, cache full"])
def area(request: pytest.FixtureRequest) -> ContiguousArea:
    if request.param == "carve-out":
        return CarveOut("gcma", BASE, COUNT)
    return guaranteed(fill="full" in request.param)


def test_first_fit_aligns_the_absolute_pfn(area: ContiguousArea) -> None:
    """Aligned to 8 pages is 0x108, not base + 8.

    ::

        0x105   0x108           0x110
        |xx.    xxxxxxxx        x...
    """
    assert area.cma_alloc(2) == BASE
    assert area.cma_alloc(8, align=3) == 0x108
    assert area.cma_alloc(1) == 0x107
    assert area.cma_alloc(1, align=4) == 0x110
    assert area.cma_alloc(4, align=2) == 0x114


def test_fills_to_the_last_page_then_fails_as_the_kernel_does(area: ContiguousArea) -> None:
    pfns = [area.cma_alloc(4) for _ in range(COUNT // 4)]
    assert pfns == list(range(BASE, BASE + COUNT, 4))
    assert area.available_count == 0
    with pytest.raises(CmaAllocError) as caught:
        area.cma_alloc(4)
    assert str(caught.value) == "cma: __cma_alloc_frozen: gcma: alloc failed, req-size: 4 pages, ret: -16"
    assert caught.value.errno == 16
    for pfn in pfns:
        assert area.cma_release(pfn, 4)
    assert area.cma_alloc(COUNT) == BASE
    assert area.sysfs() == {
        "alloc_pages_success": 2 * COUNT,
        "alloc_pages_fail": 4,
        "release_pages_success": COUNT,
        "total_pages": COUNT,
        "available_pages": 0,
        "gcma": int(isinstance(area, GuaranteedArea)),
    }


def test_fragmentation_by_devices_defeats_any_area(area: ContiguousArea) -> None:
    """Half is free, yet no two pages in a row: |x.x.x.x. ... |."""
    pfns = [area.cma_alloc(1) for _ in range(COUNT)]
    for pfn in pfns[1::2]:
        area.cma_release(pfn, 1)
    assert area.available_count == COUNT // 2
    with pytest.raises(CmaAllocError, match="req-size: 2 pages, ret: -16"):
        area.cma_alloc(2)


@pytest.mark.parametrize(
    ("count", "align", "message"),
    [
        (0, 0, "area gcma: a request for 0 pages makes no sense: ask for at least 1"),
        (-3, 0, "area gcma: a request for -3 pages makes no sense: ask for at least 1"),
        (1, -1, "area gcma: alignment order -1 is out of range: use 0 to 40"),
        (1, 41, "area gcma: alignment order 41 is out of range: use 0 to 40"),
    ],
)
def test_senseless_requests(area: ContiguousArea, count: int, align: int, message: str) -> None:
    with pytest.raises(AreaError, match=f"^{re.escape(message)}$"):
        area.cma_alloc(count, align)


def test_a_request_beyond_all_bounds_fails_like_any_other(area: ContiguousArea) -> None:
    with pytest.raises(CmaAllocError):
        area.cma_alloc(1 << 70)
    with pytest.raises(CmaAllocError):
        area.cma_alloc(1, align=40)


@pytest.mark.parametrize(
    ("pfn", "count", "reason"),
    [
        (BASE, 3, "the allocation there has 4 pages: release all of it at once"),
        (BASE + 1, 3, "no allocation begins there: it was released already or never made"),
        (BASE + 4, 4, "no allocation begins there: it was released already or never made"),
        (0, 1, "the area has pages [0x105, 0x145): release them where they came from"),
        (BASE + COUNT - 1, 2, "the area has pages [0x105, 0x145): release them where they came from"),
    ],
)
def test_checked_release_refuses_what_is_no_allocation(
    area: ContiguousArea, pfn: int, count: int, reason: str
) -> None:
    area.cma_alloc(4)
    before = area.sysfs()
    with pytest.raises(CmaReleaseError) as caught:
        area.cma_release(pfn, count)
    assert str(caught.value) == f"area gcma: cannot release pages [{pfn:#x}, {pfn + count:#x}): {reason}"
    assert area.sysfs() == before
    assert area.cma_release(BASE, 4)


def test_double_release_in_v2_lets_the_books_drift() -> None:
    """CMA clears the bitmap whatever guaranteed CMA answers (R1 in docs/semantics.md)."""
    area = guaranteed(V2)
    pfn = area.cma_alloc(4)
    assert area.cma_release(pfn, 4)
    assert area.cma_release(pfn, 4)
    assert area.available_count == COUNT + 4
    assert not area.cma_release(0, 1)


def test_release_of_referenced_pages_in_v2_spoils_the_place() -> None:
    """The bitmap says free, the cleancache does not own the pages: the next request there gets EINVAL, not
    a retry.
    """
    area = guaranteed(V2)
    pfn = area.cma_alloc(4)
    area.get_page(pfn + 2)
    assert area.cma_release(pfn, 4)
    assert [area.references(each) for each in range(pfn, pfn + 4)] == [1, 1, 2, 1]
    with pytest.raises(CmaAllocError) as caught:
        area.cma_alloc(4)
    assert caught.value.errno == 22


def test_release_of_referenced_pages_in_v1_also_loses_references() -> None:
    area = guaranteed(V1)
    pfn = area.cma_alloc(4)
    area.get_page(pfn + 2)
    assert area.cma_release(pfn, 4)
    assert [area.references(each) for each in range(pfn, pfn + 4)] == [0, 0, 1, 1]


def test_checked_release_of_referenced_pages_changes_nothing() -> None:
    area = guaranteed()
    pfn = area.cma_alloc(4)
    area.get_page(pfn + 2)
    with pytest.raises(CmaReleaseError, match="are still referenced: drop the references first"):
        area.cma_release(pfn, 4)
    area.put_page(pfn + 2)
    assert area.cma_release(pfn, 4)
    with pytest.raises(AreaError, match="page 0x105 is not handed out"):
        area.get_page(pfn)


def test_overlapping_areas_are_refused() -> None:
    area = guaranteed()
    with pytest.raises(
        AreaError, match=r"'b' cannot be set up: pool 'b' at pfn 0x106 overlaps pool 'gcma' \(-EINVAL\)"
    ):
        GuaranteedArea("b", BASE + 1, 1, area.cleancache)
    with pytest.raises(AreaError, match="'c' of 1 pages at pfn 0x0 lies outside memory"):
        GuaranteedArea("c", 0, 1, area.cleancache)


@pytest.mark.parametrize(
    ("base_pfn", "count", "message"),
    [
        (5, 0, "area 'gcma' of 0 pages at pfn 0x5 is empty or misplaced"),
        (-1, 4, "area 'gcma' of 4 pages at pfn -0x1 is empty or misplaced"),
        (0, 1 << 60, "area 'gcma' of 1152921504606846976 pages is too large: the most is 67108864 (256 GiB)"),
    ],
)
def test_areas_that_cannot_be(base_pfn: int, count: int, message: str) -> None:
    with pytest.raises(AreaError, match=f"^{re.escape(message)}$"):
        CarveOut("gcma", base_pfn, count)


class Reluctant(CarveOut):
    """An area whose places below a pfn are busy; keeps the places that were tried."""

    def __init__(self, busy_below: int) -> None:
        super().__init__("gcma", BASE, COUNT)
        self.busy_below = busy_below
        self.tried: list[int] = []

    def _claim(self, pfn: int, count: int) -> int:
        self.tried.append(pfn)
        return 16 if pfn < self.busy_below else 0


def test_a_busy_place_sends_the_search_a_whole_alignment_on() -> None:
    area = Reluctant(0x120)
    assert area.cma_alloc(3, align=3) == 0x120
    assert area.tried == [0x108, 0x110, 0x118, 0x120]
    assert area.available_count == COUNT - 3
    assert area.sysfs()["alloc_pages_fail"] == 0


def test_more_than_is_available_is_not_searched_for() -> None:
    """`cma_alloc` compares with available_count first: v2's books may say less than the bitmap has."""
    area = CarveOut("gcma", BASE, COUNT)
    area.available_count = 3
    with pytest.raises(CmaAllocError):
        area.cma_alloc(4)
    assert area.cma_alloc(3) == BASE


@pytest.mark.parametrize(("pfn", "count"), [(BASE - 1, 1), (BASE + COUNT - 1, 2), (BASE, 0), (BASE + 4, -4)])
def test_unchecked_releases_outside_the_area_change_nothing(pfn: int, count: int) -> None:
    area = CarveOut("gcma", BASE, COUNT, checked=False)
    area.cma_alloc(8)
    before = area.sysfs()
    assert not area.cma_release(pfn, count)
    assert area.sysfs() == before
    assert area.runs.taken() == 8


def test_references_need_a_page_that_is_handed_out() -> None:
    area = guaranteed()
    pfn = area.cma_alloc(1)
    for outside in (BASE - 1, BASE + COUNT, pfn + 1):
        with pytest.raises(AreaError, match=f"page {outside:#x} is not handed out"):
            area.get_page(outside)
    with pytest.raises(AreaError, match=f"page {pfn:#x} has no extra reference to drop"):
        area.put_page(pfn)
    area.get_page(pfn)
    area.put_page(pfn)
    with pytest.raises(AreaError, match="has no extra reference"):
        area.put_page(pfn)
