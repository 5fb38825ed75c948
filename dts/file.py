"""The bytes of an input file, whatever the name turns out to be."""

from __future__ import annotations

import os
import stat
import sys

from dts.error import InputError

MAX_BYTES = 128 << 20
"""Largest file that is read; the largest blob of a real board is below 256 KiB."""
STANDARD_INPUT = "-"


def read_file(name: str) -> bytes:
    """The bytes of a regular file of bounded size, or of standard input when it is called ``-``.

    Opening a pipe or a device never blocks.

    :raise InputError: see above
    """
    try:
        if name == STANDARD_INPUT:
            data = sys.stdin.buffer.read(MAX_BYTES + 1) if sys.stdin is not None else b""
        else:
            data = _read_regular(name)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{name}: it cannot be read ({reason}); give the path of a .dts or .dtb file."
        ) from error
    if len(data) > MAX_BYTES:
        raise InputError(
            f"{name}: at most {MAX_BYTES >> 20} MiB are read, the file has more; check that it is a "
            "devicetree."
        )
    return data


def _read_regular(name: str) -> bytes:
    descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InputError(
                f"{name}: a regular file was expected, this is none; give the path of a .dts or .dtb file."
            )
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)
