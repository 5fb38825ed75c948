"""One line on a terminal that says how far long work has come; nothing in a pipe."""

import sys
import time
from typing import Final, Self, TextIO

INTERVAL_SECONDS: Final = 0.1


class Progress:
    """Use as a context; the line is gone afterwards.

    :param label: what is being done
    :param total: how many steps there are, None when that is not known
    """

    def __init__(self, label: str, total: int | None = None, out: TextIO | None = None) -> None:
        self._label = label
        self._total = total
        self._out = out or sys.stderr
        self._shown = 0.0
        self._begin = time.monotonic()
        self._live = self._out.isatty()

    def __enter__(self) -> Self:
        if self._live:
            # Said now, since the very first run compiles before anything can be counted.
            self._shown = time.monotonic()
            self._out.write(f"{self._label}: starting (the first run ever compiles for a few seconds)")
            self._out.flush()
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
        text = f"{self._label}: {done:,}"
        if self._total:
            left = seconds * (self._total - done) / max(done, 1)
            text += f" of {self._total:,} ({100 * done // self._total} %), {left:.0f} s left"
        self._out.write(f"\r\x1b[K{text}, {done / seconds:,.0f}/s")
        self._out.flush()
