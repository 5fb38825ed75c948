"""A picture of an area over time: address upwards, time to the right."""

import io
import itertools
from typing import Final

import numpy as np
from PIL import Image

from allocator.areamap import AreaHistory

COLUMNS: Final = 600
SCALE: Final = 2
"""Pixels a column and a cell: large enough to look at by itself."""
FREE: Final = (138, 148, 158, 70)
"""Half transparent, so that it is light on light pages and dark on dark ones."""
CACHED: Final = (64, 150, 210, 255)
TAKEN: Final = (221, 104, 16, 255)
"""Blue and orange: told apart with every common kind of colour blindness."""


def picture(history: AreaHistory) -> bytes:
    """A PNG of the samples: COLUMNS moments from left to right, a row a cell, the highest address on top.

    A column shows its fullest sample: a buffer that was held for less than a column's time is seen, too.
    """
    at = _fullest(history)
    cached = np.stack([history.samples[i].cached for i in at], axis=1)[::-1]
    taken = np.stack([history.samples[i].taken for i in at], axis=1)[::-1]
    colours = np.array([FREE, CACHED, TAKEN], dtype=np.float32)
    parts = np.stack([1 - cached - taken, cached, taken], axis=-1)
    pixels = np.clip(parts @ colours, 0, 255).astype(np.uint8)
    out = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels.repeat(SCALE, 0).repeat(SCALE, 1)))
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def _fullest(history: AreaHistory) -> list[int]:
    """For each column the sample in which devices have most; where none was taken, the last one before."""
    times = np.array(history.times)
    taken = [float(sample.taken.sum()) for sample in history.samples]
    edges = np.searchsorted(times, np.linspace(times[0], times[-1], COLUMNS + 1))
    edges[-1] = len(times)
    return [
        max(range(start, stop), key=taken.__getitem__) if stop > start else max(0, int(stop) - 1)
        for start, stop in itertools.pairwise(edges.tolist())
    ]
