"""The guest's serial line."""

import re
import socket
from collections import deque
from collections.abc import Callable
from typing import Final

import pexpect
from pexpect.fdpexpect import fdspawn

KEPT_BYTES: Final = 1 << 16
TAIL_BYTES: Final = 2000
_READ_BYTES: Final = 1 << 16


class Console:
    """Reads all that comes, keeps the end of it, and lets one wait for a text.

    A guest that is not read from stops at its next character, so :meth:`drain` is called
    all the time.

    :ivar listener: gets all that is read, as it comes
    """

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self.listener: Callable[[bytes], None] | None = None
        self._spawn = fdspawn(line.fileno(), timeout=5)
        self._kept: deque[bytes] = deque()
        self._size = 0
        self._spawn.logfile_read = self

    def write(self, data: bytes) -> None:
        """Keep what was read (pexpect calls it, for its log)."""
        self._kept.append(data)
        self._size += len(data)
        while self._size > KEPT_BYTES and len(self._kept) > 1:
            self._size -= len(self._kept.popleft())
        if self.listener is not None:
            self.listener(data)

    def listen(self, listener: Callable[[bytes], None]) -> None:
        """Give the listener what was kept, and from now on all that is read."""
        listener(b"".join(self._kept))
        self.listener = listener

    def flush(self) -> None:
        """Nothing to flush (part of a log's interface)."""

    def drain(self) -> bytes:
        """What has come since, without waiting; empty when nothing has."""
        try:
            return bytes(self._spawn.read_nonblocking(_READ_BYTES, timeout=0))
        except (pexpect.TIMEOUT, pexpect.EOF, OSError):
            return b""

    def send(self, text: str) -> None:
        """Type something, with its end of line."""
        self._line.sendall(text.encode() + b"\r")

    def offer(self, data: bytes) -> int:
        """Type as much of it as the guest takes now, without waiting; the number of bytes taken."""
        try:
            return self._line.send(data, socket.MSG_DONTWAIT)
        except (BlockingIOError, ConnectionError):
            return 0

    def expect(self, text: str, seconds: float) -> str:
        """Wait for a fixed text; return what came before it.

        :raise pexpect.TIMEOUT: it did not come
        :raise pexpect.EOF: the line was closed
        """
        self._spawn.expect_exact(text, timeout=seconds)
        return bytes(self._spawn.before or b"").decode(errors="replace")

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
