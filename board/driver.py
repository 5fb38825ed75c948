"""Drivers for tests on the host: they have a booted board do DMA, capture frames, show pictures.

The firmware does it, through the same engines and under the same checks as in its own
cases; buffers come out of the guaranteed pool.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from allocator import Buffer
from board import screen
from board.board import Board, State
from board.camera import frame_objection
from board.controlblock import BLOCK_BYTES, CHAIN_LIMIT, CHANNELS, ControlBlock, rectangle
from board.error import RequestError
from board.machine import WORKSHOP
from dts import Range
from guest.pattern import frame_lines, line_bytes
from guest.protocol import Directive, Format

BYTES_PER_PIXEL: Final = 4
FULL_CHANNEL: Final = 0
"""A full engine: lite ones have no 2D mode, and move less than 64 KiB."""
TABLE: Final = Range(WORKSHOP.base, BLOCK_BYTES * CHAIN_LIMIT)
"""Where control blocks go."""
SOURCE: Final = Range(TABLE.end, WORKSHOP.end - TABLE.end)
"""What is copied into a buffer from here."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A captured frame, in the guest's memory.

    :ivar pixels: in place, uint8: shape (height, width, 4) for RGBA8888, (height, bytes) for RAW12
    :ivar number: the sensor's frame number, which its test picture depends on
    """

    buffer: Buffer
    pixels: NDArray[np.uint8] = field(repr=False)
    form: Format
    width: int
    height: int
    stride: int
    number: int

    @property
    def expected(self) -> NDArray[np.uint8]:
        """What the sensor sent; the same shape as ``pixels``."""
        return frame_lines(self.form, self.width, self.height, self.number).reshape(self.pixels.shape)


class CameraDriver:
    """The board's camera. Use it as a context manager, or :meth:`close` it: it gives its buffers back."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._frames: list[Frame] = []
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def capture(
        self,
        width: int = 1920,
        height: int = 1080,
        form: Format = Format.RGBA8888,
        *,
        stride: int | None = None,
    ) -> Frame:
        """Capture the next frame into a new buffer of the pool.

        :param stride: bytes from line to line; by default the least multiple of 32
        :raise RequestError: the board has no camera, or there is no such frame
        :raise allocator.AllocatorError: the pool has no room
        :raise LostBoardError: the board was lost
        """
        line = line_bytes(form, width)
        stride = -(-line // 32) * 32 if stride is None else stride
        problem = frame_objection(form, width, height, stride)
        if problem:
            raise RequestError(f"capture: {problem}")
        self._number += 1
        buffer = self._board.allocate("camera", stride * height)
        try:
            halves = width << 32 | height
            self._board.obey(Directive.CAPTURE, buffer.bus_address, form, halves, stride, self._number)
            lines = self._board.memory(buffer.cpu_address, stride * height).reshape(height, stride)[:, :line]
        except BaseException:
            self._board.free(buffer)
            raise
        if form is Format.RGBA8888:
            lines = lines.reshape(height, width, BYTES_PER_PIXEL)
        frame = Frame(buffer, lines, form, width, height, stride, self._number)
        self._frames.append(frame)
        return frame

    def release(self, frame: Frame) -> None:
        """Give a frame's buffer back; the pool may lend its pages to the cleancache at once.

        :raise RequestError: it was released already
        """
        self._board.free(frame.buffer)
        self._frames.remove(frame)

    def close(self) -> None:
        """Release all frames; those of a board that is off went with it."""
        if self._board.state is State.OFF:
            self._frames.clear()
        while self._frames:
            self.release(self._frames[-1])


class DmaDriver:
    """The board's DMA controller. Its control blocks lie outside the pool, which may be full."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def run(self, channel: int, blocks: Sequence[ControlBlock]) -> None:
        """Have a channel work through a chain of control blocks, and wait for its end.

        The blocks are linked in their order; the ``bus`` of each but the first is not looked at.

        :raise RequestError: no block, too many or one that must not run, or the engine reports an error
        :raise LostBoardError: the board was lost
        """
        if channel not in range(CHANNELS):
            raise RequestError(f"dma: channel {channel}: expected 0 to {CHANNELS - 1}")
        if not 0 < len(blocks) <= CHAIN_LIMIT:
            raise RequestError(f"dma: a chain of {len(blocks)} control blocks: expected 1 to {CHAIN_LIMIT}")
        table = self._board.bus_address("dma", TABLE.base)
        at = [table + BLOCK_BYTES * i for i in range(len(blocks))]
        image = b"".join(
            ControlBlock(bus, b.information, b.source, b.destination, b.length, b.stride, following).pack()
            for b, bus, following in zip(blocks, at, [*at[1:], 0], strict=True)
        )
        self._board.memory(TABLE.base, len(image))[:] = np.frombuffer(image, np.uint8)
        self._board.obey(Directive.DMA, channel, table)


class DisplayDriver:
    """The board's screen; pictures get there by two-dimensional DMA."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._dma = DmaDriver(board)

    def blit(
        self,
        frame: Frame,
        *,
        left: int = 0,
        top: int = 0,
        width: int | None = None,
        height: int | None = None,
    ) -> None:
        """Show a rectangle of a frame, by default from ``left`` and ``top`` to its lower right corner.

        :raise RequestError: the rectangle is not in the frame, or the frame has no pixels that a screen shows
        :raise LostBoardError: the board was lost
        """
        width = frame.width - left if width is None else width
        height = frame.height - top if height is None else height
        if frame.form is not Format.RGBA8888:
            raise RequestError(f"blit of a {frame.form.name} frame: a screen shows RGBA8888")
        if (
            min(left, top, width - 1, height - 1) < 0
            or left + width > frame.width
            or top + height > frame.height
        ):
            raise RequestError(
                f"blit of {width} x {height} at {left}, {top}: "
                f"the frame has {frame.width} x {frame.height} pixels"
            )
        origin = frame.buffer.bus_address + top * frame.stride + left * BYTES_PER_PIXEL
        self._show(origin, frame.stride, width, height)

    def show(self, picture: NDArray[np.uint8]) -> None:
        """Show a picture of shape (height, width, 4), RGBA, through a buffer of the pool.

        :raise RequestError: it has another shape, or the board has no display
        :raise LostBoardError: the board was lost
        """
        if (
            picture.ndim != 3
            or picture.shape[2] != BYTES_PER_PIXEL
            or picture.dtype != np.uint8
            or not picture.size
        ):
            raise RequestError(
                f"show: expected uint8 of shape (height, width, 4), "
                f"got {picture.dtype} of shape {picture.shape}"
            )
        height, width, _ = picture.shape
        buffer = self._board.allocate("display", picture.size)
        try:
            self._board.memory(buffer.cpu_address, picture.size)[:] = picture.reshape(-1)
            self._show(buffer.bus_address, width * BYTES_PER_PIXEL, width, height)
        finally:
            self._board.free(buffer)

    def screenshot(self) -> NDArray[np.uint8]:
        """What the screen shows, RGB, shape (height, width, 3).

        :raise BoardError: QEMU does not answer
        """
        return screen.pixels(self._board.screenshot())

    def _show(self, origin: int, pitch: int, width: int, height: int) -> None:
        address, to_pitch, *_ = self._board.obey(Directive.SCREEN, width, height)
        target = self._board.bus_address("dma", address)
        line = width * BYTES_PER_PIXEL
        self._dma.run(FULL_CHANNEL, [rectangle(0, (target, to_pitch), (origin, pitch), line, height)])
