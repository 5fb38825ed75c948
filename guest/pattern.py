"""The bytes that both sides expect: buffers, file pages and camera frames.

``firmware/pattern.c`` holds the same functions for the guest; the two check each
other in every device test. Words are 64-bit, little-endian.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from guest.protocol import PAGE_BYTES, Format

STEP = 0x9E3779B97F4A7C15  # 2**64 / golden ratio: no two words of a buffer alike
_MASK = (1 << 64) - 1


def mix(seed: int) -> int:
    """Spread a small number over 64 bits (the finaliser of SplitMix64)."""
    value = (seed + STEP) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


@lru_cache(maxsize=1)
def _ramp(words: int) -> NDArray[np.uint64]:
    return np.arange(words, dtype=np.uint64) * np.uint64(STEP)


def words(seed: int, size_bytes: int, first: int = 0) -> NDArray[np.uint64]:
    """The buffer content that belongs to a seed: word i is mix(seed) + i * STEP.

    ``size_bytes`` must be a multiple of 8; it begins with word ``first``.
    """
    return _ramp(size_bytes // 8) + np.uint64((mix(seed) + first * STEP) & _MASK)


def page_seed(inode: int, index: int) -> int:
    """The seed of a file page's content."""
    return mix((inode << 32) ^ index)


def file_pages(inode: int, indexes: Sequence[int]) -> NDArray[np.uint64]:
    """What these pages of a file hold, shape (pages, words of a page)."""
    starts = np.array([mix(page_seed(inode, index)) for index in indexes], dtype=np.uint64)
    return starts[:, None] + _ramp(PAGE_BYTES // 8)[None, :]


def line_bytes(form: Format, width: int) -> int:
    """Bytes of one line of pixels, without padding."""
    return width * 4 if form is Format.RGBA8888 else width * 3 // 2


def _triangle(values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """A wave between 0 and 255 with a period of 512."""
    phase = values & 511
    return np.where(phase < 256, phase, 511 - phase)


def picture(width: int, height: int, frame: int) -> NDArray[np.uint32]:
    """An RGBA test picture, shape (height, width), red in the lowest byte.

    Red runs across, green down, blue is a checkerboard; all drift with the frame number.
    A pixel is column XOR row, so the guest checks a line with one XOR a word. Numbers wrap at
    32 bits, as they do there.
    """
    x = np.arange(width, dtype=np.uint32) + np.uint32(8 * frame & 0xFFFFFFFF)
    y = np.arange(height, dtype=np.uint32) + np.uint32(4 * frame & 0xFFFFFFFF)
    columns = _triangle(x) | (np.where(x & 64, 0xA0, 0x20).astype(np.uint32) << 16) | np.uint32(0xFF000000)
    rows = (_triangle(y) << 8) | (np.where(y & 64, 0x80, 0).astype(np.uint32) << 16)
    result: NDArray[np.uint32] = columns.astype(np.uint32)[None, :] ^ rows.astype(np.uint32)[:, None]
    return result


def frame_lines(form: Format, width: int, height: int, frame: int) -> NDArray[np.uint8]:
    """A camera frame, shape (height, line_bytes), without padding."""
    if form is Format.RGBA8888:
        return picture(width, height, frame).view(np.uint8)
    line = line_bytes(form, width)
    columns = words(frame, (line + 7) // 8 * 8)
    rows = np.fromiter((mix((frame << 32) + y) for y in range(height)), dtype=np.uint64, count=height)
    return (columns[None, :] ^ rows[:, None]).view(np.uint8)[:, :line]
