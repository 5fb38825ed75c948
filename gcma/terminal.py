"""The user's terminal, joined to a guest's serial line."""

import contextlib
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable
from types import FrameType
from typing import Final, Self

LEAVE: Final = b"\x1d"
"""Ctrl-], which telnet made the key to leave by."""
_READ_BYTES: Final = 4096
_ENDING_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)


class Terminal:
    """Standard input and output: raw while in use when input is a terminal, and put back in any ending.

    What the user types is read only when the guest has taken what came before, so a long
    file on standard input waits in its pipe.

    :param farewell: typed for the user when standard input ends
    :param send: gives the guest what it takes now, and tells how much that was

    :ivar interactive: whether somebody sits at it
    :ivar left: whether the user has pressed Ctrl-]
    :ivar ended: whether standard input has come to its end
    """

    def __init__(self, send: Callable[[bytes], int], farewell: bytes) -> None:
        self._send = send
        self._farewell = farewell
        self._input = sys.stdin.fileno() if sys.stdin else None
        self._output = sys.stdout.fileno() if sys.stdout else None
        self._pending = b""
        self._failure: OSError | None = None
        self.interactive = self._input is not None and os.isatty(self._input)
        self.left = False
        self.ended = False

    def __enter__(self) -> Self:
        self._stack = contextlib.ExitStack()
        if sys.stdout:
            sys.stdout.flush()
        for number in _ENDING_SIGNALS:
            self._stack.callback(signal.signal, number, signal.signal(number, _leave_by_signal))
        if self.interactive and self._input is not None:
            self._stack.callback(
                termios.tcsetattr, self._input, termios.TCSAFLUSH, termios.tcgetattr(self._input)
            )
            tty.setraw(self._input)
        return self

    def __exit__(self, *_: object) -> None:
        # a terminal that was closed cannot be put back
        with contextlib.suppress(termios.error):
            self._stack.close()

    def show(self, data: bytes) -> None:
        """Write what the guest wrote. A terminal gets it as it is, a pipe with plain ends of lines.

        It is called while the guest is served: a failure is kept for :meth:`step` to raise.
        """
        if self._output is None or self._failure is not None:
            return
        if not os.isatty(self._output):
            data = data.replace(b"\r", b"")
        try:
            while data:
                data = data[os.write(self._output, data) :]
        except OSError as error:
            self._failure = error

    def step(self) -> bool:
        """Pass on what was typed, without waiting; whether the user wants to leave.

        :raise OSError: standard output takes no more
        """
        if self._failure is not None:
            raise self._failure
        if not self._pending and not self.ended:
            self._read()
        if self._pending:
            self._pending = self._pending[self._send(self._pending) :]
        return self.left

    def _read(self) -> None:
        data = b""
        if self._input is not None:
            if not select.select([self._input], [], [], 0)[0]:
                return
            with contextlib.suppress(OSError):  # the terminal is gone
                data = os.read(self._input, _READ_BYTES)
        if not data:
            self.ended = True
            self.left = self.interactive
            self._pending = self._farewell
        elif self.interactive and LEAVE in data:
            self._pending = data.partition(LEAVE)[0]
            self.left = True
        else:
            self._pending = data


def _leave_by_signal(number: int, _: FrameType | None) -> None:
    """End as the signal would, but through every ``finally`` on the way."""
    raise SystemExit(128 + number)
