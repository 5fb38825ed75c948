"""One line on a terminal that says how far long work has come; nothing in a pipe."""

import os
import sys
import time
from collections.abc import Callable
from typing import Final, Self, TextIO

INTERVAL_SECONDS: Final = 0.1
COMPILES: Final = "starting (the first run ever compiles for a few seconds)"


class Progress:
    """Use as a context; the line is gone afterwards.

    :param label: what is being done
    :param total: how many steps there are, None when that is not known
    :param begin: what is said before the first step
    :param part: tells how much is done, from 0 to 1, where steps do not; None when that is not known
    """

    def __init__(
        self,
        label: str,
        total: int | None = None,
        out: TextIO | None = None,
        part: Callable[[], float | None] | None = None,
        begin: str = COMPILES,
    ) -> None:
        self._label = label
        self._total = total
        self._part = part
        self._begin_text = begin
        self._out = out or sys.stderr
        self._shown = 0.0
        self._begin = time.monotonic()
        self._live = self._out.isatty()

    def __enter__(self) -> Self:
        if self._live:
            # Said now, since much may happen before anything can be counted.
            self._shown = time.monotonic()
            self._write(self._begin_text)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live and self._shown:
            self._out.write("\r\x1b[K")
            self._out.flush()

    def show(self, done: int) -> None:
        """`done` steps are done now."""
        now = time.monotonic()
        if not self._live or now - self._shown < INTERVAL_SECONDS:
            return
        self._shown = now
        seconds = max(now - self._begin, 1e-6)
        text = f"{done:,}"
        part = self._part() if self._part is not None else None
        if self._total:
            text += f" of {self._total:,}"
            part = done / self._total
        if part:
            text += f" ({int(100 * part)} %), {seconds * (1 - part) / part:.0f} s left"
        self._write(f"{text}, {done / seconds:,.0f}/s")

    def _write(self, text: str) -> None:
        """Replace the line, cut to the terminal's width: of a line that wraps, a part would stay."""
        try:
            columns = os.get_terminal_size(self._out.fileno()).columns
        except (OSError, ValueError):
            columns = 0
        self._out.write(f"\r\x1b[K{f'{self._label}: {text}'[: (columns or 80) - 1]}")
        self._out.flush()
