"""Generated workloads: named, seeded, repeatable; the same events for the same name, seed and length.

They stand in for recordings where there are none. Buffer sizes are those of real formats (a 12-megapixel
raw frame, 1080p pictures); rates, mixes, and how much is written are ours, chosen to show one behaviour each,
and measured nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from allocator.compiled import Rows
from allocator.error import AllocatorError
from allocator.trace import ALLOC, BLOCK, COLUMNS, DROP, FREE, READ, WRITE, rows

__all__ = ["WORKLOADS", "WorkloadError", "generate"]

SECOND: Final = 1_000_000_000
RAW_12MP: Final = 4741
"""Pages of 4056 x 3040 pixels, 12 bits packed."""
JPEG_12MP: Final = 1024
"""About 4 MiB."""
OBJECTS: Final = 320
"""Pages of object files that a build writes in a second: twenty of 64 KiB."""
HD_NV12: Final = 760
HD_RGBA: Final = 2025
SECONDS_MAX: Final = 1_000_000

Event = tuple[int, int, int, int, int]


class WorkloadError(AllocatorError):
    """A workload that does not exist, or of a length that makes no sense."""


@dataclass(frozen=True, slots=True)
class Reads:
    """File reading: `rate` pages a second out of `pages`, popularity falling as rank^-skew; or once through
    when skew is 0.
    """

    rate: int
    pages: int
    skew: float


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload: what is read meanwhile, and the requests of devices second by second."""

    about: str
    reads: Reads
    requests: Callable[[np.random.Generator, int], Iterator[list[Event]]]


def _align(pages: int) -> int:
    """What `dma_alloc_contiguous` asks for."""
    return min((pages - 1).bit_length(), 8)


def _alloc(time: float, buffer: int, pages: int) -> Event:
    return (int(time * SECOND), ALLOC, buffer, pages, _align(pages))


def _free(time: float, buffer: int) -> Event:
    return (int(time * SECOND), FREE, buffer, 0, 0)


def _write(time: float, first: int, pages: int, seconds: float, sync: bool = False) -> list[Event]:
    """Append to the file that is only written, evenly over `seconds`."""
    step = seconds * SECOND / pages
    return [(int(time * SECOND + k * step), WRITE, 1, first + k, int(sync)) for k in range(pages)]


def _camera(rng: np.random.Generator, seconds: int) -> Iterator[list[Event]]:
    """Preview all the time; every few seconds a burst of stills, which are saved."""
    still, saved = 2, 0
    for second in range(seconds):
        events = [_alloc(0, k, HD_NV12) for k in range(4)] if second == 0 else []
        if second == still:
            for k in range(3):
                begin = second + 0.1 * k
                events += [_alloc(begin, 10 + k, RAW_12MP), _free(begin + rng.uniform(0.2, 0.6), 10 + k)]
                events += _write(begin + 0.05, saved, JPEG_12MP, 0.3, sync=True)
                saved += JPEG_12MP
            still += int(rng.integers(2, 8))
        yield events


def _video(rng: np.random.Generator, seconds: int) -> Iterator[list[Event]]:
    """Clip after clip: pictures of the decoder in one of several formats, freed between clips."""
    left, held = 0, 0
    for second in range(seconds):
        events = []
        if left == 0:
            events += [_free(second, k) for k in range(held)]
            held = int(rng.integers(6, 17))
            pages = int(rng.choice([HD_NV12, 338, HD_RGBA, 3038]))
            events += [_alloc(second + 0.01, k, pages) for k in range(held)]
            left = int(rng.integers(10, 60))
        left -= 1
        yield events


def _browse(rng: np.random.Generator, seconds: int) -> Iterator[list[Event]]:
    """Reading files by popularity; the display changes its buffers now and then."""
    for second in range(seconds):
        events = []
        if second % 30 == 0:
            events += [_free(second, k) for k in range(3)] if second else []
            events += [_alloc(second + 0.001, k, HD_RGBA) for k in range(3)]
        yield events


def _build(rng: np.random.Generator, seconds: int) -> Iterator[list[Event]]:
    """A kernel build: many files once, headers often, temporary files deleted, objects written."""
    for second in range(seconds):
        events = [_alloc(0, k, HD_RGBA) for k in range(2)] if second == 0 else []
        events += [(second * SECOND + k, DROP, 0, int(rng.integers(0, 400_000)), 64) for k in range(5)]
        events += _write(second, second * OBJECTS, OBJECTS, 1)
        yield events


def _suspend(rng: np.random.Generator, seconds: int) -> Iterator[list[Event]]:
    """The camera wakes up every few seconds, works for a moment and lets go of everything."""
    for second in range(seconds):
        events = []
        if second % 4 == 1:
            sizes = [RAW_12MP] * 3 + [HD_NV12] * 4
            events = [_alloc(second + 0.001 * k, k, pages) for k, pages in enumerate(sizes)]
        if second % 4 == 3:
            events = [_free(second + 0.001 * k, k) for k in range(7)]
        yield events


def _fragment(rng: np.random.Generator, seconds: int) -> Iterator[list[Event]]:
    """Buffers of many sizes that live for very different times: what breaks an area up."""
    until: dict[int, float] = {}
    for second in range(seconds):
        events = []
        for k in range(8):
            now = second + k / 8
            events += [_free(now, each) for each, end in until.items() if end <= now]
            until = {each: end for each, end in until.items() if end > now}
            buffer = next(n for n in range(len(until) + 1) if n not in until)
            pages = int(
                rng.choice([16, 64, 338, HD_NV12, HD_RGBA, RAW_12MP], p=[0.3, 0.25, 0.2, 0.13, 0.09, 0.03])
            )
            events.append(_alloc(now + 0.001, buffer, pages))
            until[buffer] = now + 0.01 + rng.pareto(1.1) * 0.4
        yield events


WORKLOADS: Final = {
    "camera": Workload("camera preview and bursts of stills", Reads(4_000, 200_000, 1.0), _camera),
    "video": Workload("video playback, clip after clip", Reads(3_000, 4_000_000, 0.0), _video),
    "browse": Workload("browser-like reading of files", Reads(20_000, 600_000, 0.9), _browse),
    "build": Workload("a kernel build", Reads(20_000, 400_000, 0.6), _build),
    "suspend": Workload("a camera that wakes up every four seconds", Reads(10_000, 300_000, 1.0), _suspend),
    "fragment": Workload("buffers of many sizes and lifetimes", Reads(2_000, 100_000, 1.0), _fragment),
}


def generate(name: str, *, seconds: int = 300, seed: int = 0) -> Iterator[Rows]:
    """The events of workload `name` over `seconds` of its time, in blocks.

    Raises WorkloadError.
    """
    if name not in WORKLOADS:
        raise WorkloadError(f"workload {name!r} is unknown: use one of {', '.join(WORKLOADS)}")
    if not 0 < seconds <= SECONDS_MAX:
        raise WorkloadError(f"workload {name!r} over {seconds} seconds: use 1 to {SECONDS_MAX}")
    if seed < 0:
        raise WorkloadError(f"workload {name!r} with seed {seed}: use 0 or more")
    return _generate(WORKLOADS[name], seconds, seed)


def _generate(workload: Workload, seconds: int, seed: int) -> Iterator[Rows]:
    rng = np.random.default_rng(seed)
    index = _indexes(workload.reads, rng)
    for second, requests in enumerate(workload.requests(np.random.default_rng(seed + 1), seconds)):
        reads = np.zeros((workload.reads.rate, COLUMNS), np.int64)
        reads[:, 0] = np.sort(rng.integers(second * SECOND, (second + 1) * SECOND, workload.reads.rate))
        reads[:, 1] = READ
        reads[:, 3] = index(workload.reads.rate)
        block = np.concatenate([reads, rows(requests)])
        block = block[np.argsort(block[:, 0], kind="stable")]
        for begin in range(0, len(block), BLOCK):
            yield block[begin : begin + BLOCK]


def _indexes(reads: Reads, rng: np.random.Generator) -> Callable[[int], npt.NDArray[np.int64]]:
    """Draws page indexes. Ranks are scattered over the file, so that popular pages are no neighbours."""
    if not reads.skew:
        position = 0

        def next_ones(count: int) -> npt.NDArray[np.int64]:
            nonlocal position
            position += count
            return np.arange(position - count, position, dtype=np.int64) % reads.pages

        return next_ones
    weights = np.arange(1, reads.pages + 1, dtype=np.float64) ** -reads.skew
    cumulative = np.cumsum(weights / weights.sum())
    places = rng.permutation(reads.pages)
    return lambda count: places[np.searchsorted(cumulative, rng.random(count)).clip(max=reads.pages - 1)]
