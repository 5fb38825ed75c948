"""The viewfinder works, and can be stopped and started all day."""

import numpy as np
import pytest
from viewfinder import HEIGHT, WIDTH, Viewfinder

from gcma import CameraDriver, DisplayDriver, GuaranteedArea


@pytest.fixture
def viewfinder(gcma_camera: CameraDriver, gcma_display: DisplayDriver) -> Viewfinder:
    """A viewfinder on the board."""
    return Viewfinder(gcma_camera, gcma_display)


def test_what_the_camera_sees_is_on_the_screen(viewfinder: Viewfinder, gcma_display: DisplayDriver) -> None:
    for _ in range(5):
        frame = viewfinder.step()
        assert np.array_equal(frame.pixels, frame.expected)
        assert np.array_equal(gcma_display.screenshot(), frame.expected[..., :3])


def test_the_ring_takes_no_more_than_its_share(viewfinder: Viewfinder, gcma_area: GuaranteedArea) -> None:
    for _ in range(5):
        viewfinder.step()
    pages = 3 * -(-WIDTH * HEIGHT * 4 // 4096)
    assert gcma_area.count - gcma_area.available_count == pages


def test_a_full_cache_is_in_nobodys_way(viewfinder: Viewfinder, gcma_area: GuaranteedArea) -> None:
    cleancache = gcma_area.cleancache
    files = cleancache.add_fs()
    content = np.zeros(gcma_area.count * 4096, np.uint8)
    kept = cleancache.put_pages(files, "video.mp4", range(gcma_area.count), content)
    assert kept == gcma_area.count
    viewfinder.step()
    assert cleancache.counters.recalled >= -(-WIDTH * HEIGHT * 4 // 4096)


def test_stopping_and_starting(viewfinder: Viewfinder) -> None:
    for _ in range(20):
        viewfinder.step()
        viewfinder.step()
        viewfinder.stop()
