"""Shows the pool to somebody while the board runs."""

import time
from collections.abc import Callable, Hashable
from typing import Final

QUIET_SECONDS: Final = 0.05
SHARE: Final = 0.02
"""At most this part of the time goes into looking, but for one look in each case."""


class Watch:
    """Calls ``show`` when the pool has changed, as often as SHARE allows, and now and then when it has not.

    :param show: does the looking
    :param state: differs once the pool has changed
    """

    def __init__(self, show: Callable[[], None], state: Callable[[], Hashable]) -> None:
        self._show = show
        self._state = state
        self._seen: Hashable = None
        self._free = 0.0
        self._quiet = 0.0
        self._fresh = False

    def begin(self) -> None:
        """A case begins: however short it is, the first buffers that it gives back are seen."""
        self._fresh = True

    def releasing(self) -> None:
        """A buffer is about to be given back."""
        if self._fresh:
            self._fresh = False
            self._look(time.monotonic())
        else:
            self.step(time.monotonic())

    def step(self, now: float) -> None:
        """Look, if it is time to."""
        if now >= (self._free if self._state() != self._seen else self._quiet):
            self._look(now)

    def _look(self, now: float) -> None:
        self._seen = self._state()
        self._show()
        ended = time.monotonic()
        self._free = ended + (ended - now) / SHARE
        self._quiet = max(self._free, ended + QUIET_SECONDS)
