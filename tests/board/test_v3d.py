"""The 3D block on the host: with an MMU, and without."""

import errno

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from board.v3d import V3d
from guest import pattern, protocol
from guest.protocol import PAGE_BYTES, V3D_VALID

FLOOR = 0x10_0000
TABLE = 0x11_0000


class Bench:
    """A 3D block over a page and some RAM; nothing below 1 MiB may be touched."""

    def __init__(self, *, mmu: bool) -> None:
        self.page = np.zeros(protocol.DOORBELL_BYTES, np.uint8)
        self.ram = np.zeros(0x40_0000, np.uint8)
        self.block = V3d(self.page, self.ram, self.objection, mmu=mmu)

    def objection(self, address: int, size: int) -> str | None:
        inside = address >= FLOOR and address + size <= self.ram.size
        return None if inside else f"{address:#x} is not yours"

    def job(
        self, *, mmu: bool, table: int = TABLE, address: int = FLOOR, size: int = PAGE_BYTES, seed: int = 5
    ) -> int:
        """Start a job; the error register afterwards."""
        kick, *_ = protocol.V3D.unpack_from(self.page, protocol.V3D_AT)
        kick = (kick + 1) & 0xFFFF_FFFF
        fields = (kick, (kick - 1) & 0xFFFF_FFFF, 0, mmu, table, address, size, seed)
        protocol.V3D.pack_into(self.page, protocol.V3D_AT, *fields)
        assert self.block.step()
        assert not self.block.step(), "one job was done twice"
        kick, done, error, *_ = protocol.V3D.unpack_from(self.page, protocol.V3D_AT)
        assert done == kick
        return int(error)

    def entries(self, *entries: int) -> None:
        self.ram[TABLE : TABLE + 4 * len(entries)] = np.array(entries, "<u4").view(np.uint8)


def test_idle() -> None:
    assert not Bench(mmu=True).block.step()


def test_contiguous_without_mmu() -> None:
    bench = Bench(mmu=False)
    assert bench.job(mmu=False, address=0xC000_0000 + FLOOR, size=3 * PAGE_BYTES) == 0
    assert np.array_equal(
        bench.ram[FLOOR:][: 3 * PAGE_BYTES].view(np.uint64), pattern.words(5, 3 * PAGE_BYTES)
    )
    assert not bench.ram[FLOOR + 3 * PAGE_BYTES :].any()


def test_scattered_behind_the_mmu() -> None:
    bench = Bench(mmu=True)
    pages = [0x300, 0x150, 0x222]
    bench.entries(*(page | V3D_VALID for page in pages))
    assert bench.job(mmu=True, size=3 * PAGE_BYTES) == 0
    wanted = pattern.words(5, 3 * PAGE_BYTES).view(np.uint8).reshape(3, PAGE_BYTES)
    for page, data in zip(pages, wanted, strict=True):
        assert np.array_equal(bench.ram[page * PAGE_BYTES :][:PAGE_BYTES], data)


@pytest.mark.parametrize(
    ("job", "entries", "message"),
    [
        ({"size": 0}, [], "a texture of 0 bytes: expected whole pages, at most 64 MiB"),
        ({"size": 4097}, [], "a texture of 4097 bytes: expected whole pages, at most 64 MiB"),
        ({"size": 1 << 40}, [], f"a texture of {1 << 40} bytes: expected whole pages, at most 64 MiB"),
        ({"mmu": False}, [], "this board's 3D block has an MMU, the job uses none"),
        ({"table": 0x1000}, [], "page table: 0x1000 is not yours"),
        ({"table": 2**64 - 4}, [], "page table: 0xfffffffffffffffc is not yours"),
        ({"table": TABLE + 2}, [], "page table: 0x110002 is not aligned"),
        ({}, [0x300], "page table entry 0 (0x300): not valid"),
        ({"size": 2 * PAGE_BYTES}, [0x300 | V3D_VALID, 0x10 | V3D_VALID],
         "page table entry 1 (0x10000010): 0x10000 is not yours"),
        ({}, [0xFFFF_FFFF], "page table entry 0 (0xffffffff): 0xefffffff000 is not yours"),
    ],
)  # fmt: skip
def test_refused(job: dict[str, int], entries: list[int], message: str) -> None:
    bench = Bench(mmu=True)
    bench.entries(*entries)
    assert bench.job(**({"mmu": True} | job)) == errno.EINVAL  # type: ignore[arg-type]
    assert bench.block.refusal == message


def test_refused_without_mmu() -> None:
    bench = Bench(mmu=False)
    assert bench.job(mmu=True) == errno.EINVAL
    assert bench.block.refusal == "this board's 3D block has no MMU"
    assert bench.job(mmu=False, address=0x1000) == errno.EINVAL
    assert bench.block.refusal == "0x1000 is not yours"


def test_an_error_does_not_last() -> None:
    bench = Bench(mmu=False)
    assert bench.job(mmu=False, address=0) == errno.EINVAL
    assert bench.job(mmu=False) == 0
    assert bench.block.refusal == ""


NUMBERS = st.one_of(
    st.sampled_from([0, PAGE_BYTES, 2 * PAGE_BYTES, FLOOR, TABLE, 0xC000_0000 + FLOOR, 2**64 - 4096]),
    st.integers(0, 2**64 - 1),
)


@given(st.booleans(), st.booleans(), NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.binary(min_size=64, max_size=64))
def test_any_job(
    has: bool, mmu: bool, table: int, address: int, size: int, seed: int, entries: bytes
) -> None:
    bench = Bench(mmu=has)
    bench.ram[TABLE : TABLE + 64] = np.frombuffer(entries, np.uint8)
    bench.job(mmu=mmu, table=table, address=address, size=size, seed=seed)
    assert not bench.ram[:FLOOR].any()
