"""A trace on a board without QEMU: requests, patterns, file pages, and all that may go wrong."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from allocator import Buffer
from allocator.trace import ALLOC, DROP, EVICT, FILL, FREE, READ, WRITE
from board import Board, Playback, Recording, Verdict
from board.controlblock import BLOCK_BYTES, chain, check, cpu_address
from board.error import DiedError
from guest.protocol import Directive, Outcome

POOL = 0x1000_0000
PAGES = 1024
MIB = 256
"""Pages of one."""


@dataclass
class StandIn:
    """A board whose DMA controller is a few lines of Python; ``after`` comes behind each DMA."""

    host: Any
    after: Callable[[], None] = lambda: None
    alive: bool = True
    copied: int = 0
    freed: list[Buffer] = field(default_factory=list)

    def __post_init__(self) -> None:
        services = self.host.services
        self.area, self.tally, self.files = self.host.area, self.host.tally, services.files
        self.allocate_pages = services.buffers.hold_pages

    def free(self, buffer: Buffer) -> None:
        self.host.services.buffers.let_go(buffer)
        self.freed.append(buffer)

    def memory(self, address: int, size: int) -> NDArray[np.uint8]:
        assert self.host.services.territory.objection(address, size) is None
        return cast(NDArray[np.uint8], self.host.ram[address : address + size])

    def bus_address(self, device: str, address: int) -> int:
        return int(self.host.model.check_reach(self.host.plan.devices[device], address, 1))

    def pool_map(self) -> str:
        return "drawn"

    def obey(self, directive: Directive, channel: int, bus: int) -> None:
        assert directive is Directive.DMA
        read = lambda at, size: self.memory(at, size).tobytes()  # noqa: E731
        for block in chain(read, bus):
            check(block, channel, self.host.services.territory.objection, reach=None)
            to, origin = cpu_address(block.destination), cpu_address(block.source)
            self.host.ram[to : to + block.length] = self.host.ram[origin : origin + block.length]
            self.copied += block.length
        self.after()


@pytest.fixture
def board(hosts: Callable[..., Any], small: str) -> StandIn:
    """A pool of 4 MiB."""
    return StandIn(hosts(small))


def play(
    board: StandIn, *events: tuple[int, int, int, int], skipped: dict[str, int] | None = None
) -> Verdict:
    """Play events, one a microsecond."""
    rows = np.array([(1000 * at, *event) for at, event in enumerate(events)], np.int64).reshape(-1, 5)
    return Playback(cast(Board, board), Recording("t.txt", rows, skipped or {})).run()


def test_requests_are_met_where_first_fit_puts_them(board: StandIn) -> None:
    verdict = play(
        board, (ALLOC, 0, MIB, 8), (ALLOC, 1, 3, 2), (ALLOC, 2, MIB, 8), (FREE, 0, 0, 0), (ALLOC, 0, 4, 2),
    )  # fmt: skip
    assert verdict.outcome is Outcome.PASSED, verdict.message
    assert verdict.message == "5 calls; 4 requests of up to 1 MiB met, 519 cached pages dropped for them"
    assert [(each.cpu_address - POOL) >> 12 for each in board.freed] == [0, MIB, 2 * MIB, 0]
    assert board.copied == (2 * MIB + 3 + 4) * 4096
    assert (board.area.available_count, board.tally.allocations, board.tally.stale_reads) == (PAGES, 4, 0)
    # every buffer, and each file page that was left at the end
    assert verdict.bytes_verified == board.copied + (PAGES - MIB - 3 - 4) * 4096


def test_the_pool_is_full_of_file_pages_at_each_request(board: StandIn) -> None:
    cached: list[int] = []
    board.after = lambda: cached.append(board.host.model.cleancache.pools[0].cached)
    play(board, (ALLOC, 0, MIB, 8), (FREE, 0, 0, 0), (ALLOC, 0, 2 * MIB, 8))
    assert cached == [PAGES - MIB, PAGES - 2 * MIB]


def test_a_buffer_larger_than_the_source(board: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    from board.driver import SOURCE
    from dts import Range

    monkeypatch.setattr("board.playback.SOURCE", Range(SOURCE.base, 64 << 10))
    blocks: list[int] = []
    board.after = lambda: blocks.append(board.copied)
    verdict = play(board, (ALLOC, 0, 40, 0), (FREE, 0, 0, 0))
    assert verdict.outcome is Outcome.PASSED, verdict.message
    assert blocks == [64 << 10, 128 << 10, 160 << 10]


def test_a_request_that_finds_no_room(board: StandIn) -> None:
    """Three buffers, the middle one released: half of the pool is free, but in two pieces.

    ::

        |AAAA....BBBB....|
    """
    three = [(ALLOC, number, MIB, 8) for number in range(3)]
    verdict = play(board, *three, (FREE, 1, 0, 0), (ALLOC, 1, 2 * MIB, 8))
    assert verdict.outcome is Outcome.FAILED
    assert verdict.message == (
        "call 5 of 5, a request for 512 pages (2 MiB) aligned to 1 MiB, fails: "
        "2 MiB of 4 MiB are free, the longest free run is 1 MiB"
    )
    assert verdict.pool == "drawn"
    assert board.area.available_count == PAGES, "the board goes on with an empty pool"


def test_a_request_that_its_alignment_fails(board: StandIn) -> None:
    verdict = play(board, (ALLOC, 0, 1, 0), (ALLOC, 1, PAGES - 1, 8))
    assert verdict.message == (
        "call 2 of 2, a request for 1023 pages (4092 KiB) aligned to 1 MiB, fails: "
        "4092 KiB of 4 MiB are free, the longest free run is 4092 KiB, "
        "and no multiple of 1 MiB has enough behind it"
    )


@pytest.mark.parametrize("count", [PAGES + 1, 1 << 30])
def test_a_huge_request(board: StandIn, count: int) -> None:
    verdict = play(board, (ALLOC, 0, count, 20))
    assert verdict.outcome is Outcome.FAILED
    assert verdict.message.startswith(f"call 1 of 1, a request for {count} pages (")
    assert board.copied == 0


def test_a_release_that_the_reader_added_is_no_call(board: StandIn) -> None:
    """A request that failed when it was recorded comes with a release, at the same moment."""
    rows = np.array(
        [(0, ALLOC, 0, 4, 2), (5, ALLOC, 1, 4, 2), (5, FREE, 1, 0, 0), (6, FREE, 0, 0, 0)], np.int64
    )
    verdict = Playback(cast(Board, board), Recording("t.txt", rows, {})).run()
    assert verdict.message.startswith("3 calls; 2 requests of up to 16 KiB met")
    assert len(board.freed) == 2


def test_a_word_that_changes_while_a_buffer_is_held(board: StandIn) -> None:
    def spoil() -> None:
        if board.copied == 2 * 4 * 4096:
            board.host.ram[POOL + 0x2010] ^= 1

    board.after = spoil
    verdict = play(board, (ALLOC, 0, 4, 0), (ALLOC, 1, 4, 0), (FREE, 1, 0, 0), (FREE, 0, 0, 0))
    assert verdict.outcome is Outcome.FAILED
    assert verdict.message == (
        f"call 4 of 4, the release of a buffer of 4 pages at {POOL:#x} fails: "
        f"1 words from {POOL + 0x2010:#x} on are not what DMA wrote there"
    )
    assert board.area.available_count == PAGES


def test_what_is_held_at_the_end_is_verified(board: StandIn) -> None:
    board.after = lambda: board.host.ram.__setitem__(POOL + 8, 0x55)
    verdict = play(board, (ALLOC, 7, 4, 0))
    assert verdict.message.startswith(
        f"at the end, the buffer of number 7 of 4 pages at {POOL:#x} fails: 1 words"
    )


def test_dma_that_writes_nothing(board: StandIn) -> None:
    board.obey = lambda *_: None  # type: ignore[method-assign]
    verdict = play(board, (ALLOC, 0, 4, 0), (FREE, 0, 0, 0))
    assert "fails: 2048 words from" in verdict.message


def test_file_events(board: StandIn) -> None:
    verdict = play(
        board,
        *((EVICT, 3, index, 0) for index in range(8)),
        *((FILL, 3, index, 0) for index in range(4)),  # back from the cleancache
        (FILL, 4, 0, 0),  # never put: from disk
        (DROP, 3, 4, 2),
        (FILL, 3, 4, 0),  # ended
        (DROP, 3, 0, 0),
        (FILL, 3, 7, 0),
        (ALLOC, 0, 4, 2),
    )
    assert verdict.outcome is Outcome.PASSED, verdict.message
    assert board.tally.hit - 4 == PAGES - 4 - 8, "and the filler at the end"
    assert board.tally.stale_reads == 0


def test_a_file_page_with_other_bytes(board: StandIn) -> None:
    """The frame of a cached page is written by somebody: no request took it."""
    end = POOL + PAGES * 4096
    board.after = lambda: board.host.ram.__setitem__(slice(end - 4096, end), 0)
    verdict = play(board, (ALLOC, 0, 4, 2))
    assert verdict.outcome is Outcome.FAILED
    assert verdict.message == "1 file pages came back that had ended, or with other bytes than were put"
    assert board.tally.stale_reads == 1


def test_a_revision_that_keeps_what_has_ended(hosts: Callable[..., Any], small: str) -> None:
    from allocator import V2, PhysicalMemory, from_tree
    from board.services import Services

    host = hosts(small)
    host.model = from_tree(host.plan.tree, host.plan.verdict, PhysicalMemory(host.ram), V2)
    host.area = host.model.areas[host.plan.pool.path]
    host.services = Services(host.plan, host.model, host.ram, host.tally, lambda: host.picture)
    verdict = play(
        StandIn(host), (EVICT, 3, 0, 0), (DROP, 3, 0, 1), (FILL, 3, 0, 0), (ALLOC, 0, 4, 2)
    )  # fmt: skip
    assert verdict.message == "1 file pages came back that had ended, or with other bytes than were put"


def test_what_is_left_out_is_said(board: StandIn) -> None:
    verdict = play(
        board, (READ, 0, 0, 0), (ALLOC, 0, 4, 2), (ALLOC, 0, 4, 2), (FREE, 9, 0, 0), (READ, 0, 1, 0),
        (WRITE, 0, 1, 0), skipped={"comments": 3, "events sched_switch": 2},
    )  # fmt: skip
    assert verdict.outcome is Outcome.PASSED
    assert verdict.message.partition("; left out: ")[2] == (
        "2 reads, for want of a page cache, 1 requests for buffers that are held already, "
        "1 releases of buffers that are not held, 1 writes, for want of a page cache, 2 events sched_switch"
    )


def test_a_trace_that_takes_too_long(board: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("board.playback.SECONDS", 0.0)
    verdict = play(board, (ALLOC, 0, 4, 2), (FREE, 0, 0, 0))
    assert verdict.message == ("t.txt: call 0 of 2 was reached within 0 s: cut the trace, or use gcma replay")
    assert board.area.available_count == PAGES


def test_a_board_that_is_lost(board: StandIn) -> None:
    def lose() -> None:
        board.alive = False
        raise DiedError("dma: QEMU ended")

    board.after = lose
    with pytest.raises(DiedError):
        play(board, (ALLOC, 0, 4, 2))


def test_the_table_and_the_source_lie_in_the_workshop() -> None:
    """It belongs to the firmware, whose linker script leaves it to the host."""
    from board.driver import SOURCE, TABLE
    from board.machine import MACHINES, WORKSHOP

    assert WORKSHOP.holds(TABLE)
    assert WORKSHOP.holds(SOURCE)
    assert not TABLE.overlaps(SOURCE)
    assert TABLE.base % BLOCK_BYTES == SOURCE.base % 4096 == 0
    script = (resources.files("guest") / "firmware" / "link.ld").read_text()
    assert f"__scratch_end = {WORKSHOP.base:#x};" in script
    for machine in MACHINES:
        assert any(item.range.holds(WORKSHOP) and item.what == "the firmware" for item in machine.occupied)
