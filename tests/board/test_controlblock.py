"""The rules for control blocks, each with the block that breaks it and the whole message."""

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from board.controlblock import (
    CHAIN_LIMIT,
    ControlBlock,
    ControlBlockError,
    chain,
    check,
    cpu_address,
)

INT, TD, D_INC, D_IGNORE, S_INC, S_IGNORE = 1, 1 << 1, 1 << 4, 1 << 7, 1 << 8, 1 << 11
COPY = D_INC | S_INC
ALIAS = 0xC000_0000
SOURCE, TARGET = ALIAS + 0x0100_0000, ALIAS + 0x0200_0000


def block(
    information: int = COPY,
    source: int = SOURCE,
    destination: int = TARGET,
    length: int = 64,
    stride: int = 0,
) -> ControlBlock:
    return ControlBlock(ALIAS + 0x1000, information, source, destination, length, stride, 0)


def free(address: int, size: int) -> None:
    """Nothing is closed."""


def refusal(
    of: ControlBlock,
    channel: int = 0,
    objection: Callable[[int, int], str | None] = free,
    reach: Callable[[int, int], str | None] | None = None,
) -> str:
    with pytest.raises(ControlBlockError) as caught:
        check(of, channel, objection, reach=reach)
    return str(caught.value)


WHERE = "control block at bus 0xc0001000"


@pytest.mark.parametrize(
    ("bad", "channel", "message"),
    [
        (block(), 15, "DMA channel 15: expected 0 to 14"),
        (block(), -1, "DMA channel -1: expected 0 to 14"),
        (block(COPY | 1 << 2), 0, f"{WHERE}: reserved bits set in transfer information 0x114"),
        (block(COPY | 1 << 27), 0, f"{WHERE}: reserved bits set in transfer information 0x8000110"),
        (block(length=0), 0, f"{WHERE}: a length of 0 bytes; expected a multiple of 4 above 0"),
        (block(length=6), 0, f"{WHERE}: a length of 6 bytes; expected a multiple of 4 above 0"),
        (
            block(COPY | TD, length=5 << 16 | 6),
            0,
            f"{WHERE}: a length of 6 bytes; expected a multiple of 4 above 0",
        ),
        (
            block(length=0x8000_0004),
            0,
            f"{WHERE}: a length of 2147483652 bytes; expected less than 1073741824",
        ),
        (block(COPY | TD), 7, f"{WHERE}: 2D mode on channel 7, which is a lite engine without it"),
        (block(length=65536), 14, f"{WHERE}: 65536 bytes on channel 14, a lite engine: at most 65535"),
        (
            block(source=0x7E20_1000),
            0,
            f"{WHERE}: source 0x7e201000..0x7e20103f is a peripheral; these tests move memory only",
        ),
        (
            block(destination=0x7BFF_FFF0),
            0,
            f"{WHERE}: destination 0x7bfffff0..0x7c00002f is a peripheral; these tests move memory only",
        ),
        (
            block(destination=0x3FFF_FFF0),
            0,
            f"{WHERE}: destination: 0x3ffffff0..0x4000002f crosses a GiB, where 30-bit addresses begin again",
        ),
        (
            block(source=0xFFFF_FFF0),
            0,
            f"{WHERE}: source: 0xfffffff0..0x10000002f crosses a GiB, where 30-bit addresses begin again",
        ),
        (
            # one row down from the first address: below 0
            block(COPY | TD, destination=ALIAS, length=1 << 16 | 64, stride=(0x10000 - 128) << 16),
            0,
            f"{WHERE}: destination: 0xbfffffc0..0xc000003f crosses a GiB, where 30-bit addresses begin again",
        ),
    ],
)
def test_rule(bad: ControlBlock, channel: int, message: str) -> None:
    assert refusal(bad, channel) == message


@pytest.mark.parametrize("channel", range(15))
def test_an_honest_copy_runs_on_every_channel(channel: int) -> None:
    check(block(length=65532), channel, free, reach=free)


def test_an_honest_rectangle_runs() -> None:
    check(block(COPY | TD, length=719 << 16 | 5120, stride=64 << 16 | 2560), 0, free, reach=free)


def test_both_sides_are_shown_to_the_owner_of_memory() -> None:
    seen: list[tuple[int, int]] = []
    check(block(), 0, lambda at, size: seen.append((at, size)), reach=None)
    assert seen == [(cpu_address(SOURCE), 64), (cpu_address(TARGET), 64)]


def test_an_ignored_side_may_be_anywhere() -> None:
    check(block(D_INC | S_IGNORE, source=0x7E00_0000), 0, free, reach=None)
    check(block(S_INC | D_IGNORE, destination=0x7E00_0000), 0, free, reach=None)


def test_objection_names_the_side() -> None:
    said = refusal(block(), objection=lambda at, _: "not yours" if at == cpu_address(TARGET) else None)
    assert said == f"{WHERE}: destination: not yours"


def test_reach_sees_bus_addresses() -> None:
    said = refusal(block(), reach=lambda bus, size: f"too far: {bus:#x}, {size}" if bus == SOURCE else None)
    assert said == f"{WHERE}: source: too far: 0xc1000000, 64"


def touched(of: ControlBlock, address: int, stride: int, moves: bool) -> set[int]:
    """The bytes of one side, transfer by transfer, as QEMU's engine goes."""
    width, rows = of.runs()
    seen: set[int] = set()
    for _ in range(rows):
        for _ in range(0, width, 4):
            seen |= set(range(address, address + 4))
            address += 4 if moves else 0
        address += stride
    return seen


@given(
    width=st.integers(1, 24).map(lambda words: 4 * words),
    rows=st.integers(0, 12),
    stride=st.integers(-200, 200),
    moves=st.booleans(),
    two_dimensional=st.booleans(),
)
def test_extent_is_what_the_engine_touches(
    width: int, rows: int, stride: int, moves: bool, two_dimensional: bool
) -> None:
    information = TD if two_dimensional else 0
    of = block(information, length=rows << 16 | width if two_dimensional else width)
    start, size = of.extent(10_000, stride, moves)
    walked = touched(of, 10_000, stride, moves)
    assert (start, start + size) == (min(walked), max(walked) + 1)


def memory(*blocks: tuple[int, int]) -> Callable[[int, int], bytes]:
    """Control blocks at bus addresses, each with its next."""
    places = {
        cpu_address(at): struct.pack("<8I", COPY, SOURCE, TARGET, 64, 0, after, 0, 0) for at, after in blocks
    }
    return lambda address, size: places[address][:size]


def test_a_chain_is_read_to_its_end() -> None:
    read = memory((0x1000, 0xC000_2000), (0xC000_2000, 0x3000), (0x3000, 0))
    assert [one.bus for one in chain(read, 0x1000)] == [0x1000, 0xC000_2000, 0x3000]


def test_no_chain() -> None:
    assert list(chain(memory(), 0)) == []


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([(0x1004, 0)], "control block at bus 0x1004: expected a multiple of 32"),
        (
            [(0x1000, 0x1000)],
            "control block at bus 0x1000: the chain comes back to it and would never end",
        ),
        (
            # by another alias of the same memory
            [(0x1000, 0x2000), (0x2000, 0xC000_1000)],
            "control block at bus 0xc0001000: the chain comes back to it and would never end",
        ),
        ([(0x7E00_7000, 0)], "control block at bus 0x7e007000: a peripheral, expected memory"),
    ],
)
def test_bad_chain(blocks: list[tuple[int, int]], message: str) -> None:
    with pytest.raises(ControlBlockError) as caught:
        list(chain(memory(*blocks), blocks[0][0]))
    assert str(caught.value) == message


def test_a_chain_has_an_end() -> None:
    def read(address: int, size: int) -> bytes:
        return struct.pack("<8I", COPY, SOURCE, TARGET, 64, 0, address + 32, 0, 0)

    with pytest.raises(ControlBlockError) as caught:
        list(chain(read, 0x1000))
    last = 0x1000 + 32 * CHAIN_LIMIT
    assert (
        str(caught.value) == f"control block at bus {last:#x}: the chain has more than {CHAIN_LIMIT} blocks"
    )


@given(st.integers(0, 2**32 - 1))
def test_aliases_mean_the_same_memory(bus: int) -> None:
    assert cpu_address(bus) == cpu_address(bus ^ 0x4000_0000) == cpu_address(bus ^ 0x8000_0000) < 1 << 30


@given(st.binary(min_size=32, max_size=32), st.integers(-2, 20))
def test_any_block_is_judged(data: bytes, channel: int) -> None:
    one = ControlBlock(ALIAS, *struct.unpack_from("<6I", data))
    seen: list[tuple[int, int]] = []
    try:
        check(one, channel, lambda at, size: seen.append((at, size)), reach=free)
    except ControlBlockError:
        return
    # what passes lies in the first GiB, where the owner of memory has looked at it
    assert all(at >= 0 and size > 0 and at + size <= 1 << 30 for at, size in seen)
    assert len(seen) == 2 - bool(one.information & D_IGNORE) - bool(one.information & S_IGNORE)
