"""The guest's serial line."""

import re
import socket
from collections import deque
from collections.abc import Callable
from typing import Final

KEPT_BYTES: Final = 1 << 16
TAIL_BYTES: Final = 2000
_READ_BYTES: Final = 1 << 16


class Console:
    """Reads all that comes, and keeps the end of it.

    A guest that is not read from stops at its next character, so :meth:`drain` is called
    all the time.

    :ivar listener: gets all that is read, as it comes
    """

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self.listener: Callable[[bytes], None] | None = None
        self._kept: deque[bytes] = deque()
        self._size = 0

    def listen(self, listener: Callable[[bytes], None]) -> None:
        """Give the listener what was kept, and from now on all that is read."""
        listener(b"".join(self._kept))
        self.listener = listener

    def drain(self) -> bytes:
        """What has come since, without waiting; empty when nothing has."""
        try:
            data = self._line.recv(_READ_BYTES, socket.MSG_DONTWAIT)
        except OSError:  # nothing has come, or the line is closed
            return b""
        if data:
            self._keep(data)
        return data

    def _keep(self, data: bytes) -> None:
        self._kept.append(data)
        self._size += len(data)
        while self._size > KEPT_BYTES and len(self._kept) > 1:
            self._size -= len(self._kept.popleft())
        if self.listener is not None:
            self.listener(data)

    def offer(self, data: bytes) -> int:
        """Type as much of it as the guest takes now, without waiting; the number of bytes taken."""
        try:
            return self._line.send(data, socket.MSG_DONTWAIT)
        except (BlockingIOError, ConnectionError):
            return 0

    def text(self) -> str:
        """What was kept of the line, printable: a guest must not drive the reader's terminal."""
        return printable(b"".join(self._kept))

    def tail(self) -> str:
        """The end of it, as much as one wants to see in an error."""
        return self.text()[-TAIL_BYTES:]


def printable(data: bytes) -> str:
    """Text with all but printable characters, and broken UTF-8, shown as escapes."""
    text = data.decode(errors="backslashreplace").replace("\r\n", "\n")
    return re.sub(r"[^\n\t -~]", _escape, text)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return character if character.isprintable() else character.encode("unicode_escape").decode()
