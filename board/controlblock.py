"""Checks DMA control blocks before the engine sees them.

QEMU's engine has no error to show: a length that is no multiple of four or a chain that
loops freezes QEMU as a whole, and an address above 1 GiB silently means another. The rules
are those of BCM2835 ARM Peripherals, chapter 4.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from board.error import BoardError
from dts import Range

BLOCK_BYTES: Final = 32
CHANNELS: Final = 15
LITE_CHANNELS: Final = range(7, 15)
LITE_LIMIT_BYTES: Final = 65536
CHAIN_LIMIT: Final = 65536
BUS_BITS: Final = 30
"""The top two bits of a bus address choose a cache alias; the rest is the address."""

_WORD: Final = 4
_LENGTH_LIMIT: Final = 1 << 30
_TDMODE: Final = 1 << 1
_WAIT_RESP: Final = 1 << 3
_DEST_INC: Final = 1 << 4
_DEST_IGNORE: Final = 1 << 7
_SRC_INC: Final = 1 << 8
_SRC_IGNORE: Final = 1 << 11
_KNOWN: Final = 0x07FF_FFFB
_PERIPHERALS: Final = Range(0x7C00_0000, 0x0400_0000)


class ControlBlockError(BoardError):
    """A control block that must not run; the message names it and the rule it breaks."""


@dataclass(frozen=True, slots=True)
class ControlBlock:
    """One control block, as the engine loads it from memory."""

    bus: int
    information: int
    source: int
    destination: int
    length: int
    stride: int
    next: int

    @property
    def two_dimensional(self) -> bool:
        """Rows with a pitch instead of one run of bytes."""
        return bool(self.information & _TDMODE)

    def runs(self) -> tuple[int, int]:
        """Bytes of a row, and rows."""
        if not self.two_dimensional:
            return self.length, 1
        return self.length & 0xFFFF, (self.length >> 16 & 0x3FFF) + 1

    def pack(self) -> bytes:
        """As it lies in memory.

        :raise ControlBlockError: a field that has no 32 bits
        """
        words = (self.information, self.source, self.destination, self.length, self.stride, self.next, 0, 0)
        for name, word in zip(
            ("information", "source", "destination", "length", "stride"), words, strict=False
        ):
            if word not in range(1 << 32):
                raise ControlBlockError(f"control block: {name} {word:#x}: expected 32 bits")
        return struct.pack("<8I", *words)

    def extent(self, address: int, stride: int, moves: bool) -> tuple[int, int]:
        """First address touched and size from there, on one side of the transfer."""
        width, rows = self.runs()
        row = width if moves else 0
        # a side that does not move within a row still steps from row to row
        last = (row + stride) * (rows - 1) if self.two_dimensional else 0
        return address + min(0, last), abs(last) + max(row, _WORD)


def copy(bus: int, destination: int, source: int, size_bytes: int) -> ControlBlock:
    """A block, to lie at ``bus``, that copies one run of bytes; all are bus addresses."""
    information = _WAIT_RESP | _DEST_INC | _SRC_INC
    return ControlBlock(bus, information, source, destination, size_bytes, 0, 0)


def rectangle(
    bus: int, destination: tuple[int, int], source: tuple[int, int], width_bytes: int, rows: int
) -> ControlBlock:
    """A block, to lie at ``bus``, that copies rows; both sides are (bus address, bytes from row to row).

    :raise ControlBlockError: more than the engine can count
    """
    (to, to_pitch), (origin, from_pitch) = destination, source
    if width_bytes not in range(4, 1 << 16) or rows not in range(1, (1 << 14) + 1):
        raise ControlBlockError(
            f"rectangle of {rows} rows of {width_bytes} bytes: expected 4 to 65535 bytes, 1 to 16384 rows"
        )
    for pitch in (to_pitch, from_pitch):
        if not -(1 << 15) <= pitch - width_bytes < 1 << 15:
            raise ControlBlockError(
                f"rectangle of {width_bytes} bytes a row, {pitch} from row to row: "
                "expected at most 32767 between"
            )
    stride = (to_pitch - width_bytes & 0xFFFF) << 16 | (from_pitch - width_bytes & 0xFFFF)
    information = _WAIT_RESP | _TDMODE | _DEST_INC | _SRC_INC
    return ControlBlock(bus, information, origin, to, (rows - 1) << 16 | width_bytes, stride, 0)


def cpu_address(bus: int) -> int:
    """Where a bus address goes: its cache-alias bits dropped, 30 bits left."""
    return bus & ((1 << BUS_BITS) - 1)


def _signed(value: int) -> int:
    return value - 0x10000 if value & 0x8000 else value


def chain(read: Callable[[int, int], bytes], bus: int) -> Iterator[ControlBlock]:
    """The blocks of a chain, read one by one.

    :param read: bytes at a CPU address, or an error
    :raise ControlBlockError: off its grid, in a loop, or longer than CHAIN_LIMIT
    """
    seen: set[int] = set()
    while bus:
        if bus % BLOCK_BYTES:
            raise ControlBlockError(f"control block at bus {bus:#x}: expected a multiple of {BLOCK_BYTES}")
        if _PERIPHERALS.overlaps(Range(bus, BLOCK_BYTES)):
            raise ControlBlockError(f"control block at bus {bus:#x}: a peripheral, expected memory")
        if cpu_address(bus) in seen:
            raise ControlBlockError(
                f"control block at bus {bus:#x}: the chain comes back to it and would never end"
            )
        if len(seen) >= CHAIN_LIMIT:
            raise ControlBlockError(
                f"control block at bus {bus:#x}: the chain has more than {CHAIN_LIMIT} blocks"
            )
        seen.add(cpu_address(bus))
        block = ControlBlock(bus, *struct.unpack_from("<6I", read(cpu_address(bus), BLOCK_BYTES)))
        yield block
        bus = block.next


def check(
    block: ControlBlock,
    channel: int,
    objection: Callable[[int, int], str | None],
    *,
    reach: Callable[[int, int], str | None] | None,
) -> None:
    """Refuse a block that the engine must not run.

    :param objection: why a range of CPU addresses may not be touched
    :param reach: why the engine cannot address a range of *bus* addresses; None leaves the rule out
    :raise ControlBlockError: the rule it breaks
    """
    where = f"control block at bus {block.bus:#x}"
    width, _ = block.runs()
    if channel not in range(CHANNELS):
        raise ControlBlockError(f"DMA channel {channel}: expected 0 to {CHANNELS - 1}")
    if block.information & ~_KNOWN:
        raise ControlBlockError(f"{where}: reserved bits set in transfer information {block.information:#x}")
    if width == 0 or width % 4:
        # QEMU counts down by four and never arrives
        raise ControlBlockError(f"{where}: a length of {width} bytes; expected a multiple of 4 above 0")
    if width >= _LENGTH_LIMIT:
        # the register has 30 bits, QEMU's engine counts 32
        raise ControlBlockError(f"{where}: a length of {width} bytes; expected less than {_LENGTH_LIMIT}")
    if channel in LITE_CHANNELS and block.two_dimensional:
        raise ControlBlockError(f"{where}: 2D mode on channel {channel}, which is a lite engine without it")
    if channel in LITE_CHANNELS and width >= LITE_LIMIT_BYTES:
        raise ControlBlockError(
            f"{where}: {width} bytes on channel {channel}, a lite engine: at most {LITE_LIMIT_BYTES - 1}"
        )
    for side, bus, stride, moves, ignored in (
        ("source", block.source, block.stride, block.information & _SRC_INC, block.information & _SRC_IGNORE),
        (
            "destination",
            block.destination,
            block.stride >> 16,
            block.information & _DEST_INC,
            block.information & _DEST_IGNORE,
        ),
    ):
        if ignored:
            continue
        start, size = block.extent(bus, _signed(stride & 0xFFFF), bool(moves))
        touched = Range(start & 0xFFFF_FFFF, size)
        if touched.overlaps(_PERIPHERALS):
            raise ControlBlockError(
                f"{where}: {side} {touched} is a peripheral; these tests move memory only"
            )
        problem = reach(start, size) if reach else None
        if not problem and cpu_address(start) + size > 1 << BUS_BITS:
            problem = f"{touched} crosses a GiB, where {BUS_BITS}-bit addresses begin again"
        problem = problem or objection(cpu_address(start), size)
        if problem:
            raise ControlBlockError(f"{where}: {side}: {problem}")
