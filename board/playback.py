"""A trace on the board: the model hands out its buffers, DMA fills them, and each byte is verified."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from allocator import AllocatorError, Buffer, CmaAllocError
from allocator.compiled import Rows
from allocator.steps import MAX_INDEX
from allocator.trace import ALLOC, DROP, EVICT, FILL, FREE, OP, READ, TIME, WRITE, A
from board.board import Board, Verdict
from board.controlblock import copy
from board.driver import FULL_CHANNEL, SOURCE, DmaDriver
from board.error import RequestError
from board.recording import Recording
from dts.range import size_text
from guest import pattern
from guest.protocol import BATCH_PAGES, PAGE_BYTES, Change, Outcome

SECONDS: Final = 600.0
"""All of a trace must be done in; each DMA has its own, shorter deadline."""
FILLER: Final = 1 << 31
"""The first of the files that fill the pool; those of traces have smaller numbers."""
LEFT_OUT: Final = {
    READ: "reads, for want of a page cache",
    WRITE: "writes, for want of a page cache",
    ALLOC: "requests for buffers that are held already",
    FREE: "releases of buffers that are not held",
}


class TraceFailedError(Exception):
    """A trace came to an end before its last event; the sentence says why."""


class Playback:
    """One trace on one board.

    File pages fill the pool before it begins, and what a buffer leaves is filled again: each request
    finds a full cache. EVICT and FILL events put pages of their files and get them back, DROP ends them.
    """

    def __init__(self, board: Board, recording: Recording) -> None:
        self._board = board
        self._recording = recording
        self._dma = DmaDriver(board)
        self._counts = _calls(recording.events)
        self._calls = int(self._counts.sum())
        self._call = 0
        self._requests = 0
        self._largest = 0
        self._held: dict[int, tuple[int, Buffer]] = {}  # by the trace's number, with the pattern's seed
        self._stored: dict[int, set[int]] = {}  # pages that the cleancache may have, file by file
        self._filled = 0
        self._bytes = 0
        self._stale = 0
        self._left_out: Counter[int] = Counter()

    def run(self) -> Verdict:
        """Repeat the trace. Nothing of it is held afterwards.

        :raise LostBoardError: the board was lost
        """
        began = time.monotonic()
        outcome, pool = Outcome.PASSED, ""
        dropped = self._board.tally.dropped_pages
        self._board.files.mount()
        try:
            try:
                self._fill(self._board.area.count)
                self._repeat(began + SECONDS)
                message = self._summary(self._board.tally.dropped_pages - dropped)
            except (TraceFailedError, RequestError) as error:
                outcome, message, pool = Outcome.FAILED, str(error), self._board.pool_map()
        finally:
            if self._board.alive:
                for _, buffer in self._held.values():
                    self._board.free(buffer)
        self._board.files.stale(self._stale)
        return Verdict(outcome, time.monotonic() - began, self._bytes, message, pool)

    def _repeat(self, deadline: float) -> None:
        steps: dict[int, Callable[[int, int, int], bool]] = {
            FILL: self._get,
            EVICT: self._put,
            DROP: self._drop,
            ALLOC: self._alloc,
            FREE: self._free,
        }
        events, counts = self._recording.events.tolist(), self._counts.tolist()
        for (_, event, a, b, c), is_call in zip(events, counts, strict=True):
            if time.monotonic() > deadline:
                raise TraceFailedError(
                    f"{self._recording.path}: call {self._call} of {self._calls} was reached within "
                    f"{SECONDS:g} s: cut the trace, or use gcma replay"
                )
            self._call += is_call
            step = steps.get(event)
            if step is None or not step(a, b, c):
                self._left_out[event] += 1
        for number, (seed, buffer) in self._held.items():
            self._verify(buffer, seed, f"at the end, the buffer of number {number}")
        self._read_all()
        if self._stale:
            raise TraceFailedError(
                f"{self._stale} file pages came back that had ended, or with other bytes than were put"
            )

    def _summary(self, dropped: int) -> str:
        words = (
            f"{self._calls} calls; {self._requests} requests of up to {_size(self._largest)} met, "
            f"{dropped} cached pages dropped for them"
        )
        known = {LEFT_OUT[event]: count for event, count in self._left_out.items()}
        known |= {what: count for what, count in self._recording.skipped.items() if what != "comments"}
        out = [f"{count} {what}" for what, count in known.items()]
        return words + (f"; left out: {', '.join(out)}" if out else "")

    # ---- buffers

    def _alloc(self, number: int, count: int, align: int) -> bool:
        if number in self._held:
            return False
        seed = self._call
        try:
            buffer = self._board.allocate_pages(count, align)
        except CmaAllocError as error:
            raise TraceFailedError(f"{self._what(count, align)} fails: {self._room(count, align)}") from error
        except AllocatorError as error:
            raise TraceFailedError(f"{self._what(count, align)} fails: {error}") from error
        self._held[number] = seed, buffer
        self._requests += 1
        self._largest = max(self._largest, count)
        self._write(buffer, seed)
        return True

    def _what(self, count: int, align: int) -> str:
        return (
            f"call {self._call} of {self._calls}, a request for {count} pages ({_size(count)}) "
            f"aligned to {_size(1 << align)},"
        )

    def _room(self, count: int, align: int) -> str:
        """Why there is no room."""
        area = self._board.area
        longest = area.runs.longest()
        words = (
            f"{_size(area.available_count)} of {_size(area.count)} are free, "
            f"the longest free run is {_size(longest)}"
        )
        if longest >= count:
            words += f", and no multiple of {_size(1 << align)} has enough behind it"
        return words

    def _write(self, buffer: Buffer, seed: int) -> None:
        """Have the DMA controller fill a buffer with its pattern, from memory outside the pool."""
        for at in range(0, buffer.size, SOURCE.size):
            size = min(SOURCE.size, buffer.size - at)
            piece = pattern.words(seed, size, at // 8)
            self._board.memory(SOURCE.base, size)[:] = piece.view(np.uint8)
            source = self._board.bus_address("dma", SOURCE.base)
            self._dma.run(FULL_CHANNEL, [copy(0, buffer.bus_address + at, source, size)])

    def _free(self, number: int, _: int, __: int) -> bool:
        if number not in self._held:
            return False
        seed, buffer = self._held[number]
        self._verify(buffer, seed, f"call {self._call} of {self._calls}, the release of a buffer")
        del self._held[number]
        self._board.free(buffer)
        self._fill(buffer.count)
        return True

    def _verify(self, buffer: Buffer, seed: int, what: str) -> None:
        """What DMA wrote into a buffer must all be there still."""
        memory = self._board.memory(buffer.cpu_address, buffer.size).view(np.uint64)
        for at in range(0, buffer.size, SOURCE.size):
            size = min(SOURCE.size, buffer.size - at)
            differ = memory[at // 8 : (at + size) // 8] != pattern.words(seed, size, at // 8)
            if differ.any():
                where = buffer.cpu_address + at + 8 * int(np.argmax(differ))
                raise TraceFailedError(
                    f"{what} of {buffer.count} pages at {buffer.cpu_address:#x} fails: {int(differ.sum())} "
                    f"words from {where:#x} on are not what DMA wrote there"
                )
            self._bytes += size

    # ---- file pages

    def _fill(self, count: int) -> None:
        """Put so many pages of files that nobody asks for until the end."""
        while count:
            file, first = divmod(self._filled, BATCH_PAGES)
            pages = range(first, min(first + count, BATCH_PAGES))
            self._board.files.put(FILLER + file, pages, _pages(FILLER + file, pages))
            self._filled += len(pages)
            count -= len(pages)

    def _read_all(self) -> None:
        """What is left of all those pages must be what was put."""
        for inode in self._board.files.inodes():
            indexes = range(BATCH_PAGES) if inode >= FILLER else sorted(self._stored.get(inode, ()))
            for at in range(0, len(indexes), BATCH_PAGES):
                self._read(inode, indexes[at : at + BATCH_PAGES])

    def _read(self, inode: int, indexes: Sequence[int]) -> bool:
        """Get pages that may be there; whether any was."""
        out = np.empty(len(indexes) * PAGE_BYTES, np.uint8)
        found = self._board.files.get(inode, indexes, out)
        if not found.any():
            return False
        same = (out.reshape(len(indexes), -1) == _pages(inode, indexes).reshape(len(indexes), -1)).all(axis=1)
        self._stale += int((found & ~same).sum())
        self._bytes += int((found & same).sum()) * PAGE_BYTES
        return True

    def _get(self, file: int, index: int, _: int) -> bool:
        stored = self._stored.get(file, set())
        if self._read(file, range(index, index + 1)) and index not in stored:
            self._stale += 1
        return True

    def _put(self, file: int, index: int, _: int) -> bool:
        pages = range(index, index + 1)
        if self._board.files.put(file, pages, _pages(file, pages)):
            self._stored.setdefault(file, set()).add(index)
        return True

    def _drop(self, file: int, first: int, count: int) -> bool:
        end = min(first + count, MAX_INDEX) if count else MAX_INDEX
        self._board.files.change(Change.TRUNCATE, file, first, end - first)
        stored = self._stored.get(file, set())
        self._stored[file] = {index for index in stored if not first <= index < end}
        return True


def _calls(events: Rows) -> NDArray[np.bool_]:
    """Which events are calls of the recorded system.

    Readers add a release behind a request that failed when it was recorded: it was none.
    """
    times, kinds, buffers = events[:, TIME], events[:, OP], events[:, A]
    calls: NDArray[np.bool_] = (kinds == ALLOC) | (kinds == FREE)
    added = (kinds[1:] == FREE) & (kinds[:-1] == ALLOC)
    added &= (buffers[1:] == buffers[:-1]) & (times[1:] == times[:-1])
    calls[1:] &= ~added
    return calls


def _pages(inode: int, indexes: Sequence[int]) -> NDArray[np.uint8]:
    return pattern.file_pages(inode, indexes).view(np.uint8).reshape(-1)


def _size(pages: int) -> str:
    return size_text(pages * PAGE_BYTES)
