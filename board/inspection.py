"""What the host looks at for the guest: control blocks before they run, and bytes after."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from allocator import Model
from board.camera import frame_objection
from board.controlblock import CHANNELS, ControlBlockError, chain, check
from board.doorbell import Refusal, Reply, Request
from board.plan import Plan
from board.territory import Territory
from dts import Range
from guest import pattern
from guest.protocol import DmaFlag, Format, Op

CHECK_LIMIT_BYTES: Final = 256 << 20
SCREEN_LIMIT: Final = 4096


class Inspection:
    """Looks at memory and at the screen.

    :param screen: the screen as RGB, shape (height, width, 3)
    """

    def __init__(
        self,
        plan: Plan,
        model: Model,
        territory: Territory,
        ram: NDArray[np.uint8],
        screen: Callable[[], NDArray[np.uint8]],
    ) -> None:
        self._plan = plan
        self._model = model
        self._territory = territory
        self._ram = ram
        self._screen = screen

    def handlers(self) -> dict[int, Callable[[Request], Reply | None]]:
        """What answers the guest's requests."""
        return {
            Op.DMA: self._dma,
            Op.CHECK: self._check,
            Op.FRAME: self._frame,
            Op.SCREEN: self._compare_screen,
        }

    def _dma(self, request: Request) -> Reply:
        channel, bus, flags = request.arguments[:3]
        if "dma" not in self._plan.devices:
            raise Refusal("this board has no DMA controller")
        if channel not in range(CHANNELS):
            raise Refusal(f"DMA channel {channel}: expected 0 to {CHANNELS - 1}")
        if flags & ~DmaFlag.BEYOND_REACH:
            raise Refusal(f"DMA flags {flags:#x}: only {DmaFlag.BEYOND_REACH.value:#x} is known")
        if bus >> 32:
            raise Refusal(f"control block at bus {bus:#x}: expected 32 bits")
        reach = None if flags & DmaFlag.BEYOND_REACH else self._bus_objection
        for block in chain(self._memory, bus):
            check(block, channel, self._territory.objection, reach=reach)
        return Reply()

    def _memory(self, address: int, size: int) -> bytes:
        objection = self._territory.objection(address, size)
        if objection:
            raise ControlBlockError(f"control block: {objection}")
        return self._ram[address : address + size].tobytes()

    def _bus_objection(self, bus: int, size: int) -> str | None:
        """Is it inside what dma-ranges lets the engine reach? An address above 1 GiB is not."""
        path = self._plan.devices["dma"]
        windows = self._model.device(path).reach.windows
        if not windows or any(Range(w.bus, w.size).holds(Range(bus, size)) for w in windows):
            return None
        seen = ", ".join(str(Range(window.bus, window.size)) for window in windows)
        return f"bus {bus:#x} lies outside {seen}, all that dma-ranges lets {path} reach"

    def _check(self, request: Request) -> Reply:
        address, size, seed = request.arguments[:3]
        objection = self._territory.objection(address, size)
        if objection or size > CHECK_LIMIT_BYTES or (address | size) % 8:
            limit = f"{CHECK_LIMIT_BYTES >> 20} MiB"
            raise Refusal(
                objection or f"check of {size} bytes at {address:#x}: expected whole words, at most {limit}"
            )
        seen = self._ram[address : address + size].view(np.uint64)
        return Reply(values=(int(np.count_nonzero(seen != pattern.words(seed, size))),))

    def _frame(self, request: Request) -> Reply:
        address, form, width, height, stride, frame = request.arguments
        problem = frame_objection(form, width, height, stride) or self._territory.objection(
            address, stride * height
        )
        if problem:
            raise Refusal(problem)
        seen = self._ram[address : address + stride * height].reshape(height, stride)
        wanted = pattern.frame_lines(Format(form), width, height, frame & 0xFFFF_FFFF)
        return Reply(values=(int(np.count_nonzero(seen[:, : wanted.shape[1]] != wanted)),))

    def _compare_screen(self, request: Request) -> Reply:
        width, height, frame, x, y = request.arguments[:5]
        if not (0 < width <= SCREEN_LIMIT and 0 < height <= SCREEN_LIMIT) or max(x, y) > SCREEN_LIMIT:
            raise Refusal(
                f"a screen of {width} x {height} at {x}, {y}: expected 1 to {SCREEN_LIMIT} pixels a side"
            )
        seen = self._screen()
        if seen.shape != (height, width, 3):
            raise Refusal(
                f"the screen shows {seen.shape[1]} x {seen.shape[0]} pixels, not {width} x {height}"
            )
        picture = pattern.picture(x + width, y + height, frame & 0xFFFF_FFFF)[y:, x:]
        wanted = np.ascontiguousarray(picture).view(np.uint8).reshape(height, width, 4)[:, :, :3]
        return Reply(values=(int(np.count_nonzero((seen != wanted).any(axis=2))),))
