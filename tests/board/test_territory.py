"""Whose memory is it?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from board.territory import Territory
from dts import Range

BUFFERS = [Range(0x5000, 0x2000), Range(0x8000, 0x1000)]
LAND = Territory(
    ram=(Range(0, 0x10000), Range(0x20000, 0x1000)),
    closed=((Range(0x1000, 0x1000), "the doorbell"),),
    pool=Range(0x4000, 0x8000),
    buffer=lambda address: next((each for each in BUFFERS if each.holds(Range(address, 1))), None),
)


@pytest.mark.parametrize(
    ("address", "size"),
    [(0, 0x1000), (0x2000, 0x2000), (0x5000, 0x2000), (0x6FFF, 1), (0x8000, 0x1000), (0xC000, 0x4000),
     (0x20000, 0x1000)],
)  # fmt: skip
def test_open(address: int, size: int) -> None:
    assert LAND.objection(address, size) is None


@pytest.mark.parametrize(
    ("address", "size", "message"),
    [
        (0x2000, 0, "0x2000: 0 bytes are no range"),
        (0x2000, -1, "0x2000: -1 bytes are no range"),
        (0xF000, 0x2000, "0xf000..0x10fff is not in RAM"),
        (0x18000, 1, "0x18000..0x18000 is not in RAM"),
        (0x0, 0x1001, "0x0..0x1000 covers the doorbell at 0x1000..0x1fff"),
        (0x1FFF, 1, "0x1fff..0x1fff covers the doorbell at 0x1000..0x1fff"),
        (0x3FFF, 2, "0x3fff..0x4000 lies in the pool at 0x4000..0xbfff, but in no allocated buffer"),
        (0x5000, 0x2001, "0x5000..0x7000 lies in the pool at 0x4000..0xbfff, but in no allocated buffer"),
        (0x4000, 0x8000, "0x4000..0xbfff lies in the pool at 0x4000..0xbfff, but in no allocated buffer"),
    ],
)
def test_objection(address: int, size: int, message: str) -> None:
    assert LAND.objection(address, size) == message


def allowed(byte: int) -> bool:
    """The same, byte by byte."""
    where = Range(byte, 1)
    if not any(bank.holds(where) for bank in LAND.ram) or 0x1000 <= byte < 0x2000:
        return False
    return not LAND.pool.holds(where) or any(buffer.holds(where) for buffer in BUFFERS)


@given(st.integers(-0x100, 0x22000), st.integers(1, 0x3000))
def test_no_objection_means_every_byte_is_open(address: int, size: int) -> None:
    if LAND.objection(address, size) is None:
        assert all(allowed(byte) for byte in (*range(address, address + size, 256), address + size - 1))
