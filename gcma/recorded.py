"""What a recording tells of its own kernel, in words."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from allocator.recording import Recording


def recorded_lines(recording: "Recording | None") -> Iterator[str]:
    """One line for each kind of fact; nothing for what was not recorded."""
    if recording is None:
        return
    for spans, one, many in (
        (recording.cma_alloc, "call of cma_alloc took", "calls of cma_alloc took"),
        (recording.direct_reclaim, "direct reclaim stalled for", "direct reclaims stalled for"),
    ):
        if spans.count:
            yield (
                f"recorded: {spans.count:,} {one if spans.count == 1 else many} "
                f"{time_text(spans.total_ns)} in all, {time_text(spans.longest_ns)} at most"
            )
    if recording.scanned or recording.kswapd_wakes:
        yield (
            f"recorded: {recording.scanned:,} pages scanned, {recording.file:,} of files and "
            f"{recording.anonymous:,} anonymous ones reclaimed; kswapd woke up {recording.kswapd_wakes:,} "
            + ("time" if recording.kswapd_wakes == 1 else "times")
        )


def time_text(ns: int) -> str:
    """A time with three digits."""
    for unit, size in (("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns} ns"
