"""The board's screen, as QEMU shows it."""

import io
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from board.error import BoardError
from board.monitor import Monitor
from board.process import Qemu

PNG_LIMIT_BYTES = 64 << 20


class ScreenError(BoardError):
    """There is no picture of the screen, or it has another size than the guest set."""


def screenshot(qemu: Qemu, monitor: Monitor) -> bytes:
    """The screen as a PNG, drawn by QEMU.

    :raise MonitorError: QEMU does not answer
    :raise ScreenError: it drew nothing, or too much
    """
    monitor.execute("screendump", {"filename": qemu.screen_path, "format": "png"})
    size = os.fstat(qemu.screen).st_size
    if not 0 < size <= PNG_LIMIT_BYTES:
        raise ScreenError(f"screendump: a picture of {size} bytes; expected 1 to {PNG_LIMIT_BYTES}")
    return os.pread(qemu.screen, size, 0)


def pixels(png: bytes) -> NDArray[np.uint8]:
    """The picture as RGB, shape (height, width, 3).

    :raise ScreenError: that is no PNG
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise ScreenError(f"screendump: not a picture: {error}") from error


def save(png: bytes, folder: Path, name: str) -> Path:
    """Write a picture into the report folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(png)
    return path
