"""The camera receiver and its sensor, which QEMU lacks: writes frames into the guest's RAM.

Registers lie in the doorbell page (:data:`guest.protocol.CAMERA`). The guest queues bus
addresses; for each the device writes one frame through the 30-bit translation of the
real receiver and counts it done.
"""

import errno
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from board.controlblock import cpu_address
from guest import protocol
from guest.pattern import frame_lines, line_bytes
from guest.protocol import CAMERA_SLOTS, Format

SIDE_LIMIT: Final = 8192
"""The most pixels a side: larger than any sensor."""
FRAME_LIMIT_BYTES: Final = 64 << 20
"""The largest frame: the host needs a few times as much to make and compare it."""


class Camera:
    """The device. :meth:`step` is called over and over; it writes at most one frame a call.

    :param objection: why a range of CPU addresses may not be written
    """

    def __init__(
        self, page: NDArray[np.uint8], ram: NDArray[np.uint8], objection: Callable[[int, int], str | None]
    ) -> None:
        self._page = page.data
        self._registers = self._page[protocol.CAMERA_AT : protocol.CAMERA_AT + 40].cast("I")
        self._ram = ram
        self._objection = objection
        self.frames = 0
        self.refusal = ""

    def step(self) -> bool:
        """Write the next frame, if the guest has queued a buffer and waits for it."""
        control, queued, done, error = (self._registers[i] for i in (0, 6, 7, 8))
        if not control & 1 or error or queued == done:
            return False
        if (queued - done) & 0xFFFF_FFFF > CAMERA_SLOTS:
            self._fail(f"{(queued - done) & 0xFFFF_FFFF} buffers queued, the ring has {CAMERA_SLOTS}")
            return False
        fields = protocol.CAMERA.unpack_from(self._page, protocol.CAMERA_AT)
        slot = done % CAMERA_SLOTS
        _, form, width, height, stride, first = fields[:6]
        frame = (first + done) & 0xFFFF_FFFF
        problem = self._write(form, width, height, stride, frame, fields[10 + slot])
        if problem:
            self._fail(problem)
            return False
        frame_at = protocol.CAMERA_FRAMES_AT + 4 * slot
        self._page[frame_at : frame_at + 4] = frame.to_bytes(4, "little")
        self._registers[7] = (done + 1) & 0xFFFF_FFFF
        self.frames += 1
        return True

    def _fail(self, problem: str) -> None:
        self.refusal = problem
        self._registers[8] = errno.EINVAL

    def _write(self, form: int, width: int, height: int, stride: int, frame: int, bus: int) -> str | None:
        problem = frame_objection(form, width, height, stride)
        if problem:
            return problem
        address, size = cpu_address(bus), stride * height
        problem = self._objection(address, size)
        if problem:
            return f"camera buffer at bus {bus:#x}: {problem}"
        line = line_bytes(Format(form), width)
        target = self._ram[address : address + size].reshape(height, stride)
        target[:, :line] = frame_lines(Format(form), width, height, frame)
        return None


def frame_objection(form: int, width: int, height: int, stride: int) -> str | None:
    """Why there can be no such frame; None: there can."""
    if form not in tuple(Format):
        return f"pixel format {form}: expected one of {', '.join(f'{f.value} ({f.name})' for f in Format)}"
    if not (0 < width <= SIDE_LIMIT and 0 < height <= SIDE_LIMIT):
        return f"a frame of {width} x {height}: expected 1 to {SIDE_LIMIT} pixels a side"
    line = line_bytes(Format(form), width)
    if not line <= stride <= 8 * SIDE_LIMIT or stride % 8:
        return f"a stride of {stride} bytes: expected a multiple of 8 from {line} on"
    if stride * height > FRAME_LIMIT_BYTES:
        return f"a frame of {stride * height} bytes: expected at most {FRAME_LIMIT_BYTES >> 20} MiB"
    return None
