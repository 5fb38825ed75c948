"""The serial line: all is read, the end is kept, nothing of it can drive the reader's terminal."""

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from board.console import KEPT_BYTES, TAIL_BYTES, Console, printable


@pytest.fixture
def line() -> Iterator[tuple[Console, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Console(ours), theirs


Line = tuple[Console, socket.socket]


def test_drain_does_not_wait(line: Line) -> None:
    console, guest = line
    assert console.drain() == b""
    guest.sendall(b"hello")
    assert console.drain() == b"hello"
    assert console.drain() == b""


def test_the_end_is_kept(line: Line) -> None:
    console, guest = line
    for number in range(300):
        guest.sendall(b"%06d" % number * 200)
        console.drain()
    text = console.text()
    assert KEPT_BYTES <= len(text) + 2000 <= KEPT_BYTES + 4000
    assert text.endswith("000299" * 200)
    assert console.tail() == text[-TAIL_BYTES:]


def test_a_line_that_was_closed(line: Line) -> None:
    console, guest = line
    guest.sendall(b"last words")
    guest.close()
    assert console.drain() == b"last words"
    assert console.drain() == b""
    assert console.text() == "last words"


def test_offering_does_not_wait(line: Line) -> None:
    console, guest = line
    assert console.offer(b"run camera\r") == 11
    assert guest.recv(100) == b"run camera\r"
    taken = 0
    while sent := console.offer(b"x" * 65536):
        taken += sent
    assert taken > 0
    guest.close()
    assert console.offer(b"x") == 0


def test_listener_hears_what_is_read(line: Line) -> None:
    console, guest = line
    heard: list[bytes] = []
    console.listener = heard.append
    guest.sendall(b"hello")
    console.drain()
    assert heard == [b"hello"]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain text\t\n", "plain text\t\n"),
        (b"two\r\nlines\r\n", "two\nlines\n"),
        (b"\r", "\\r"),
        (b"\x1b[31mred\x1b[0m\x07", "\\x1b[31mred\\x1b[0m\\x07"),
        (b"\x00\x7f", "\\x00\\x7f"),
        ("Grüße, 好, 🙂".encode(), "Grüße, 好, 🙂"),
        (b"\xff\xc3", "\\xff\\xc3"),
        ("\u202eevil\u2066\ufeff".encode(), "\\u202eevil\\u2066\\ufeff"),
        ("\x9b31m\xa0".encode(), "\\x9b31m\\xa0"),
        ("\ufffe\uffff".encode(), "\\ufffe\\uffff"),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
    ],
)
def test_printable(data: bytes, text: str) -> None:
    assert printable(data) == text


@given(st.binary())
def test_whatever_comes_is_printable(data: bytes) -> None:
    text = printable(data)
    assert all(character.isprintable() or character in "\n\t" for character in text)
    assert printable(text.encode()) == text
