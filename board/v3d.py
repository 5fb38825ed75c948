"""The 3D block, which QEMU lacks: fills a texture, through its MMU where the board has one.

Registers lie in the doorbell page (:data:`guest.protocol.V3D`). With the MMU, addresses go
through a flat page table in the guest's memory; without, they are bus addresses and the
texture must be contiguous.
"""

import errno
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from board.controlblock import cpu_address
from guest import pattern, protocol
from guest.protocol import PAGE_BYTES, V3D_VALID

TEXTURE_LIMIT_BYTES: Final = 64 << 20


class V3d:
    """The device. :meth:`step` does a job that the guest has started.

    :param objection: why a range of CPU addresses may not be touched
    :param mmu: whether this board's block has an MMU
    """

    def __init__(
        self,
        page: NDArray[np.uint8],
        ram: NDArray[np.uint8],
        objection: Callable[[int, int], str | None],
        *,
        mmu: bool,
    ) -> None:
        self._page = page.data
        self._registers = self._page[protocol.V3D_AT : protocol.V3D_AT + 16].cast("I")
        self._ram = ram
        self._objection = objection
        self._mmu = mmu
        self.refusal = ""

    def step(self) -> bool:
        """Do the job that was started, if any."""
        if self._registers[0] == self._registers[1]:
            return False
        kick, _, _, mmu, table, address, size, seed = protocol.V3D.unpack_from(self._page, protocol.V3D_AT)
        problem = self._fill(bool(mmu), table, address, size, seed)
        self.refusal = problem or ""
        self._registers[2] = errno.EINVAL if problem else 0
        self._registers[1] = kick
        return True

    def _fill(self, mmu: bool, table: int, address: int, size: int, seed: int) -> str | None:
        if not 0 < size <= TEXTURE_LIMIT_BYTES or size % PAGE_BYTES:
            return f"a texture of {size} bytes: expected whole pages, at most {TEXTURE_LIMIT_BYTES >> 20} MiB"
        if mmu != self._mmu:
            return "this board's 3D block has " + ("an MMU, the job uses none" if self._mmu else "no MMU")
        data = pattern.words(seed, size).view(np.uint8)
        if not mmu:
            start = cpu_address(address)
            problem = self._objection(start, size)
            if not problem:
                self._ram[start : start + size] = data
            return problem
        count = size // PAGE_BYTES
        problem = self._objection(table, 4 * count)
        if problem or table % 4:
            return f"page table: {problem or f'{table:#x} is not aligned'}"
        entries = self._ram[table : table + 4 * count].view("<u4").copy()
        for number, entry in enumerate(entries.tolist()):
            page = (entry & ~V3D_VALID) * PAGE_BYTES
            problem = None if entry & V3D_VALID else "not valid"
            problem = problem or self._objection(page, PAGE_BYTES)
            if problem:
                return f"page table entry {number} ({entry:#x}): {problem}"
            self._ram[page : page + PAGE_BYTES] = data[number * PAGE_BYTES : (number + 1) * PAGE_BYTES]
        return None
