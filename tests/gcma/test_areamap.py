"""The picture of the pool over time."""

import io

import numpy as np
from PIL import Image

from allocator.areamap import AreaHistory, Shares
from gcma.areamap import COLUMNS, SCALE, TAKEN, picture

CELLS = 4


def sample(*taken: float) -> Shares:
    return Shares(np.zeros(CELLS, np.float32), np.array(taken, np.float32))


def test_a_peak_between_two_columns_is_seen() -> None:
    """Of a hundred seconds a buffer is held for a millisecond, in the middle of a column."""
    empty, full = sample(0, 0, 0, 0), sample(1, 0, 0, 0)
    history = AreaHistory([0.0, 50.05, 50.051, 100.0], [empty, full, empty, empty])
    with Image.open(io.BytesIO(picture(history))) as image:
        assert image.size == (COLUMNS * SCALE, CELLS * SCALE)
        pixels = np.asarray(image)
    orange = (pixels == TAKEN).all(axis=2)
    rows, columns = np.nonzero(orange)
    assert set(rows) == {(CELLS - 1) * SCALE, CELLS * SCALE - 1}, "the lowest address is at the bottom"
    assert set(columns) == {COLUMNS, COLUMNS + 1}, "one column, in the middle"


def test_between_samples_the_last_one_holds() -> None:
    history = AreaHistory([0.0, 50.0, 100.0], [sample(0, 0, 0, 0), sample(1, 1, 1, 1), sample(0, 0, 0, 0)])
    with Image.open(io.BytesIO(picture(history))) as image:
        orange = (np.asarray(image) == TAKEN).all(axis=2).all(axis=0)
    assert list(np.flatnonzero(np.diff(orange))) == [COLUMNS - 1, SCALE * (COLUMNS - 1) - 1]
