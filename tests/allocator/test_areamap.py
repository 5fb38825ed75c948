"""Area maps against what was done to the area."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from allocator import CarveOut, Cleancache, GuaranteedArea, PhysicalMemory
from allocator.areamap import SAMPLE_LIMIT, AreaHistory, as_text, shares

PAGES = 64
PAGE = 4096


def guaranteed(pages: int = PAGES) -> tuple[GuaranteedArea, Cleancache, int]:
    cleancache = Cleancache(PhysicalMemory(np.zeros(pages * PAGE, np.uint8)))
    area = GuaranteedArea("gcma", 0, pages, cleancache)
    return area, cleancache, cleancache.add_fs()


def test_text_shows_devices_below_and_file_pages_above() -> None:
    area, cleancache, fs = guaranteed()
    area.cma_alloc(8)
    cleancache.put_pages(fs, 1, range(16), np.zeros(16 * PAGE, np.uint8))
    assert as_text(area) == "#" * 8 + "." * 40 + "c" * 16


def test_a_device_that_takes_cached_pages_shows_as_taken() -> None:
    area, cleancache, fs = guaranteed()
    cleancache.put_pages(fs, 1, range(PAGES), np.zeros(PAGES * PAGE, np.uint8))
    area.cma_alloc(32)
    assert as_text(area) == "#" * 32 + "c" * 32
    assert as_text(area, columns=4) == "##cc"


@pytest.mark.parametrize("cells", [1, 3, 64, 1000])
def test_shares_add_up_whatever_the_number_of_cells(cells: int) -> None:
    area, cleancache, fs = guaranteed()
    area.cma_alloc(10)
    cleancache.put_pages(fs, 1, range(20), np.zeros(20 * PAGE, np.uint8))
    use = shares(area, cells)
    sizes = np.diff(np.linspace(0, PAGES, min(cells, PAGES) + 1).astype(int))
    assert_allclose((use.taken * sizes).sum(), 10, rtol=1e-5)
    assert_allclose((use.cached * sizes).sum(), 20, rtol=1e-5)


def test_a_second_pool_shows_its_own_pages() -> None:
    memory = PhysicalMemory(np.zeros(2 * PAGES * PAGE, np.uint8))
    cleancache = Cleancache(memory)
    first = GuaranteedArea("first", 0, PAGES, cleancache)
    second = GuaranteedArea("second", PAGES, PAGES, cleancache)
    second.cma_alloc(PAGES)
    assert (as_text(first), as_text(second)) == ("." * PAGES, "#" * PAGES)


def test_a_carve_out_has_no_file_pages() -> None:
    area = CarveOut("carved", 16, 100)
    area.cma_alloc(50)
    assert as_text(area, 10) == "#####....."


def test_history_thins_itself_out_evenly() -> None:
    area, _, _ = guaranteed()
    history = AreaHistory()
    for moment in range(3 * SAMPLE_LIMIT):
        history.sample(area, float(moment))
    assert len(history.samples) == len(history.times) <= SAMPLE_LIMIT
    assert max(np.diff(history.times)) <= 4
    assert history.times[-1] >= 3 * SAMPLE_LIMIT - 4
