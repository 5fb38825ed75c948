"""Where results go: a file, standard output for ``-``, or a folder of a report."""

import errno
import json
import sys
from pathlib import Path
from typing import Any


def claim(*targets: str | None) -> None:
    """Say what cannot be written before the work, not after it; no file is changed or left behind.

    :raise OSError: a file cannot be written
    """
    for target in targets:
        if target not in (None, "-"):
            path = Path(target)
            there = path.exists()
            path.open("ab").close()
            if not there:
                path.unlink()


def claim_folder(target: str) -> Path:
    """The folder, made where it is missing.

    :raise OSError: it cannot be made
    """
    folder = Path(target)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "a folder is expected, this is a file", target)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_text(text: str, target: str) -> None:
    """Write to a file, or to stdout for ``-``.

    :raise OSError: the file cannot be written; its name is in the error
    """
    if text and not text.endswith("\n"):
        text += "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    try:
        Path(target).write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        error.filename = error.filename or target  # a full disk has none
        raise


def write_json(data: Any, target: str, indent: int | None = 1) -> None:
    """Write data as JSON, as :func:`write_text` does."""
    write_text(json.dumps(data, indent=indent), target)
