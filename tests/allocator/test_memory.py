"""Bytes of physical memory."""

from pathlib import Path

import numpy as np
import pytest

from allocator import PAGE_SIZE, PageError, PhysicalMemory
from allocator.memory import OUTSIDE, SCATTERED, cut

BASE = 0x80


def memory(pages: int = 64) -> PhysicalMemory:
    content = np.repeat(np.arange(pages, dtype=np.uint8), PAGE_SIZE)
    return PhysicalMemory(content, BASE * PAGE_SIZE)


def numbers(pages: list[int]) -> np.ndarray:
    return np.repeat(np.array(pages, np.uint8), PAGE_SIZE)


@pytest.mark.parametrize(
    "wanted",
    [
        [3],
        [3, 4, 5],
        [63, 62, 61, 60],
        [2, 1, 0],
        list(range(40)),
        list(range(39, -1, -1)),
        [*range(20), *range(30, 50)],
        [5, 50, 7, 23, 11, 5],
        [5, -1, 7, -1],
        [*range(20), -1, *range(21, 60)],
        [-1],
        [],
    ],
    ids=str,
)
def test_pages_in_any_order(wanted: list[int]) -> None:
    pfns = np.array([each + BASE if each >= 0 else -1 for each in wanted], np.int64)
    out = np.full(len(wanted) * PAGE_SIZE, 200, np.uint8)
    memory().read_pages(pfns, out)
    assert out.tobytes() == numbers([each if each >= 0 else 200 for each in wanted]).tobytes()
    target = memory()
    target.write_pages(pfns, numbers([100 + at for at in range(len(wanted))]))
    last = {each: 100 + at for at, each in enumerate(wanted)}
    for page in range(64):
        assert (target.view(BASE + page) == last.get(page, page)).all()


@pytest.mark.parametrize("pfn", [BASE - 1, BASE + 64, 0, 1 << 60])
def test_pages_outside(pfn: int) -> None:
    with pytest.raises(PageError, match=r"lie outside memory, which has pages \[0x80, 0xc0\)"):
        memory().view(pfn)
    for act in (memory().read_pages, memory().write_pages):
        with pytest.raises(PageError, match="lie outside memory"):
            act(np.array([BASE, pfn], np.int64), np.zeros(2 * PAGE_SIZE, np.uint8))


def test_a_mapped_file(tmp_path: Path) -> None:
    path = tmp_path / "ram"
    path.write_bytes(bytes(4 * PAGE_SIZE))
    mapped = np.memmap(path, np.uint8, "r+")
    PhysicalMemory(mapped).write(2, b"\x07" * PAGE_SIZE)
    mapped.flush()
    assert path.read_bytes() == bytes(2 * PAGE_SIZE) + b"\x07" * PAGE_SIZE + bytes(PAGE_SIZE)


def test_memory_must_be_whole_writable_pages() -> None:
    with pytest.raises(PageError, match="is not made of whole pages of 4096 bytes"):
        PhysicalMemory(np.zeros(PAGE_SIZE + 1, np.uint8))
    with pytest.raises(PageError, match="is not made of whole pages"):
        PhysicalMemory(np.zeros(PAGE_SIZE, np.uint8), 5)
    with pytest.raises(PageError, match="must be one row of bytes"):
        PhysicalMemory(np.zeros((2, PAGE_SIZE), np.uint8))
    frozen = np.zeros(PAGE_SIZE, np.uint8)
    frozen.flags.writeable = False
    with pytest.raises(PageError, match="must be writable"):
        PhysicalMemory(frozen)


def test_data_must_fit() -> None:
    with pytest.raises(PageError, match="2 pages are 8192 contiguous bytes"):
        memory().write_pages(np.array([BASE, BASE + 1], np.int64), np.zeros(PAGE_SIZE, np.uint8))


def test_runs_are_told_apart() -> None:
    """Up and down meet in a page, gaps part them, negative pages are no part of one."""
    pfns = np.array([5, 6, 7, 6, 5, 4, 4, 5, -1, 6, 9, 8, -1, -1, 7, 1], np.int64)
    found = np.zeros((9, 3), np.int64)
    assert cut(pfns, 1, 9, found) == 7
    assert found[:7].tolist() == [
        [0, 4, 3], [3, 5, -3], [6, 3, 2], [9, 5, 1], [10, 8, -2], [14, 6, 1], [15, 0, 1],
    ]  # fmt: skip
    assert cut(pfns, 1, 9, found[:7]) == 7
    assert cut(pfns, 1, 9, found[:6]) == SCATTERED
    assert cut(pfns, 2, 9, found) == OUTSIDE
    assert cut(pfns, 1, 8, found) == OUTSIDE


@pytest.mark.parametrize("count", [-1, 65])
def test_no_memory_has_such_a_count(count: int) -> None:
    assert not memory().holds(BASE, count)
    assert memory().holds(BASE, 64)


@pytest.mark.parametrize(
    "data",
    [np.zeros(2 * PAGE_SIZE, np.uint16), np.zeros(4 * PAGE_SIZE, np.uint8)[::2]],
    ids=["wide", "strided"],
)
def test_data_must_be_contiguous_bytes(data: np.ndarray) -> None:
    for act in (memory().read_pages, memory().write_pages):
        with pytest.raises(PageError, match="2 pages are 8192 contiguous bytes, got shape"):
            act(np.array([BASE, BASE + 1], np.int64), data)


def test_a_turn_and_a_hole_end_a_run() -> None:
    found = np.zeros((9, 3), np.int64)
    assert cut(np.array([5, 4, 5, 6, 3, -1, 0], np.int64), 0, 9, found) == 4
    assert found[:4].tolist() == [[0, 5, -2], [2, 5, 2], [4, 3, 1], [6, 0, 1]]
