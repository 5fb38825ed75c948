"""The plug-in's fixtures on real boards: what a user's own suite does."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from allocator import CmaAllocError, ContiguousArea
from board import Board, CameraDriver, DisplayDriver, DmaDriver, Plan, RequestError, State, Verdict
from board.controlblock import ControlBlockError, copy, rectangle
from guest.protocol import Format

pytestmark = [pytest.mark.qemu, pytest.mark.gcma_board("rpi-4-b", "rpi-3-b")]

MIB = 1 << 20


@pytest.fixture(autouse=True)
def new_enough(request: pytest.FixtureRequest, need_qemu: Callable[[Path], Path]) -> None:
    if "gcma_plan" in request.fixturenames:
        need_qemu(Path(request.getfixturevalue("gcma_plan").name))


def test_a_frame_arrives_byte_for_byte(gcma_camera: CameraDriver) -> None:
    frame = gcma_camera.capture(640, 480)
    assert frame.pixels.shape == (480, 640, 4)
    assert np.array_equal(frame.pixels, frame.expected)


def test_frames_differ_and_stay(gcma_camera: CameraDriver) -> None:
    first, second = gcma_camera.capture(64, 64), gcma_camera.capture(64, 64)
    assert (first.number, second.number) == (1, 2)
    assert first.buffer.cpu_address != second.buffer.cpu_address
    assert not np.array_equal(first.pixels, second.pixels)
    assert np.array_equal(first.pixels, first.expected)


def test_raw_frames_with_a_stride_of_ones_own(gcma_camera: CameraDriver) -> None:
    frame = gcma_camera.capture(4056, 3040, Format.RAW12, stride=6112)
    assert frame.pixels.shape == (3040, 6084)
    assert np.array_equal(frame.pixels, frame.expected)


def test_frames_come_out_of_the_pool_and_go_back(
    gcma_board: Board, gcma_camera: CameraDriver, gcma_area: ContiguousArea
) -> None:
    frame = gcma_camera.capture(1920, 1080)
    assert gcma_area.available_count == gcma_area.count - 2025
    assert gcma_area.holds(frame.buffer.pfn, frame.buffer.count)
    assert gcma_board.pool_map().splitlines()[-1] == (
        f"{frame.buffer.cpu_address:#012x} 2025 pages of {frame.buffer.device}, "
        f"bus {frame.buffer.bus_address:#x}"
    )
    gcma_camera.release(frame)
    assert gcma_area.available_count == gcma_area.count
    with pytest.raises(RequestError, match="it was freed already, or never allocated here"):
        gcma_camera.release(frame)


def test_a_frame_on_the_screen(gcma_camera: CameraDriver, gcma_display: DisplayDriver) -> None:
    frame = gcma_camera.capture(640, 480)
    gcma_display.blit(frame, left=100, top=50, width=320, height=200)
    assert np.array_equal(gcma_display.screenshot(), frame.pixels[50:250, 100:420, :3])


def test_a_picture_on_the_screen(gcma_display: DisplayDriver, gcma_area: ContiguousArea) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (48, 64, 4), dtype=np.uint8)
    gcma_display.show(picture)
    assert np.array_equal(gcma_display.screenshot(), picture[..., :3])
    assert gcma_area.available_count == gcma_area.count


@pytest.mark.parametrize(
    ("rectangle", "message"),
    [
        ({"left": 600, "width": 41}, "blit of 41 x 480 at 600, 0: the frame has 640 x 480 pixels"),
        ({"top": -1, "height": 2}, "blit of 640 x 2 at 0, -1: the frame has 640 x 480 pixels"),
        ({"width": 0}, "blit of 0 x 480 at 0, 0: the frame has 640 x 480 pixels"),
    ],
)
def test_a_rectangle_outside_the_frame(
    gcma_camera: CameraDriver, gcma_display: DisplayDriver, rectangle: dict[str, int], message: str
) -> None:
    frame = gcma_camera.capture(640, 480)
    with pytest.raises(RequestError) as caught:
        gcma_display.blit(frame, **rectangle)
    assert str(caught.value) == message


def test_no_picture(gcma_display: DisplayDriver) -> None:
    with pytest.raises(RequestError, match=r"^show: expected uint8 of shape \(height, width, 4\), got uint8"):
        gcma_display.show(np.zeros((4, 4), np.uint8))


def test_a_chain_of_dma(gcma_board: Board, gcma_dma: DmaDriver) -> None:
    source, target = gcma_board.allocate("codec", MIB), gcma_board.allocate("codec", MIB)
    data = np.random.default_rng(2).integers(0, 256, MIB, dtype=np.uint8)
    gcma_board.memory(source.cpu_address, MIB)[:] = data
    half = MIB // 2
    gcma_dma.run(
        3,
        [
            copy(0, target.bus_address + half, source.bus_address, half),
            copy(0, target.bus_address, source.bus_address + half, half),
        ],
    )
    assert np.array_equal(gcma_board.memory(target.cpu_address, MIB), np.roll(data, half))


def test_dma_into_the_last_page_of_a_full_pool(
    gcma_board: Board, gcma_dma: DmaDriver, gcma_area: ContiguousArea
) -> None:
    """Control blocks need no room in the pool."""
    buffer = gcma_board.allocate_pages(gcma_area.count)
    end = buffer.bus_address + buffer.size - 4096
    memory = gcma_board.memory(buffer.cpu_address, buffer.size)
    memory[:4096] = 0x77
    gcma_dma.run(0, [copy(0, end, buffer.bus_address, 4096)])
    assert (memory[-4096:] == 0x77).all()
    assert not memory[4096:-4096].any()


def test_a_board_that_is_switched_off_takes_its_frames_with_it(
    gcma_board: Board, gcma_camera: CameraDriver
) -> None:
    frame = gcma_camera.capture(64, 64)
    gcma_board.close()
    with pytest.raises(
        RequestError, match=r"^free of 0x[0-9a-f]+: the board is off, and its buffers with it$"
    ):
        gcma_camera.release(frame)
    gcma_camera.close()
    gcma_board.start()
    gcma_camera.capture(64, 64)


def test_a_chain_of_no_length(gcma_dma: DmaDriver) -> None:
    with pytest.raises(RequestError, match=r"^dma: a chain of 0 control blocks: expected 1 to 65536$"):
        gcma_dma.run(0, [])


def test_dma_is_checked_before_it_starts(gcma_board: Board, gcma_dma: DmaDriver) -> None:
    buffer = gcma_board.allocate("codec", MIB)
    with pytest.raises(RequestError, match=r"a length of 7 bytes; expected a multiple of 4 above 0$"):
        gcma_dma.run(0, [copy(0, buffer.bus_address, buffer.bus_address, 7)])
    for channel in (-1, 15):
        with pytest.raises(RequestError, match=rf"^dma: channel {channel}: expected 0 to 14$"):
            gcma_dma.run(channel, [copy(0, buffer.bus_address, buffer.bus_address, 8)])
    with pytest.raises(ControlBlockError, match=r"^control block: source 0x100000000: expected 32 bits$"):
        gcma_dma.run(0, [copy(0, buffer.bus_address, 1 << 32, 8)])
    beyond = buffer.bus_address + buffer.count * 4096 + 4096
    with pytest.raises(RequestError, match=r"lies in the pool at .*, but in no allocated buffer$"):
        gcma_dma.run(0, [copy(0, beyond, buffer.bus_address, 8)])
    assert gcma_board.state is State.IDLE


@pytest.mark.parametrize(
    ("pitch", "width", "rows", "message"),
    [
        (64, 0, 1, "rectangle of 1 rows of 0 bytes: expected 4 to 65535 bytes, 1 to 16384 rows"),
        (64, 64, 16385, "rectangle of 16385 rows of 64 bytes: expected 4 to 65535 bytes, 1 to 16384 rows"),
        (40000, 64, 2, "rectangle of 64 bytes a row, 40000 from row to row: expected at most 32767 between"),
    ],
)
def test_a_rectangle_that_the_engine_cannot_count(pitch: int, width: int, rows: int, message: str) -> None:
    with pytest.raises(ControlBlockError) as caught:
        rectangle(0, (0, 64), (0, pitch), width, rows)
    assert str(caught.value) == message


def test_memory_outside_any_buffer(gcma_board: Board, gcma_plan: Plan) -> None:
    with pytest.raises(
        RequestError, match=r"^memory: .* lies in the pool at .*, but in no allocated buffer$"
    ):
        gcma_board.memory(gcma_plan.place.base, 4096)


def test_a_device_that_the_board_has_not(gcma_board: Board, gcma_plan: Plan) -> None:
    with pytest.raises(RequestError) as caught:
        gcma_board.allocate("npu", 4096)
    assert str(caught.value) == (
        f"{gcma_plan.name}: a buffer for 'npu': this board's devices are camera, display, codec, v3d, dma"
    )


def test_what_does_not_fit(gcma_board: Board, gcma_camera: CameraDriver, gcma_area: ContiguousArea) -> None:
    with pytest.raises(CmaAllocError, match=r"alloc failed, req-size: \d+ pages, ret: -16$"):
        gcma_board.allocate("camera", gcma_area.count * 4096 + 1)
    assert gcma_board.tally.allocation_failures == 1
    assert gcma_area.available_count == gcma_area.count
    with pytest.raises(
        RequestError, match=r"^capture: a frame of 20000 x 20000: expected 1 to 8192 pixels a s"
    ):
        gcma_camera.capture(20_000, 20_000)


def test_a_frame_that_the_camera_refuses_leaves_nothing(
    gcma_camera: CameraDriver, gcma_area: ContiguousArea
) -> None:
    with pytest.raises(
        RequestError, match=r"^capture: a stride of 20 bytes: expected a multiple of 8 from 16 on"
    ):
        gcma_camera.capture(4, 4, stride=20)
    assert gcma_area.available_count == gcma_area.count


def test_buffers_of_a_test_survive_the_guests_own_cases(
    gcma_camera: CameraDriver, gcma_case: Callable[[str], Verdict]
) -> None:
    frame = gcma_camera.capture(320, 240)
    verdict = gcma_case("camera.fhd-rgba")
    assert verdict.bytes_verified == 1920 * 1080 * 4
    assert np.array_equal(frame.pixels, frame.expected)


def test_an_unknown_case(gcma_case: Callable[[str], Verdict]) -> None:
    with pytest.raises(ValueError, match=r"^'camera.none' is no case; gcma test --list shows them$"):
        gcma_case("camera.none")
