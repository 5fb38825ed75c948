"""The line that says how far long work has come, and work that is interrupted."""

import fcntl
import io
import json
import os
import pty
import struct
import termios

import pytest

import allocator.workload
from gcma.cli import main
from gcma.progress import Progress


class Screen(io.StringIO):
    """A terminal that keeps what is written."""

    def isatty(self) -> bool:
        return True


def lines(screen: io.StringIO) -> list[str]:
    return screen.getvalue().split("\r\x1b[K")[1:]


@pytest.fixture
def clock(monkeypatch):
    """Time that goes on by a second at each look."""
    seconds = iter(range(1000))
    monkeypatch.setattr("gcma.progress.time.monotonic", lambda: float(next(seconds)))


def test_steps_of_a_total(clock):
    screen = Screen()
    with Progress("replays", 8, screen) as progress:
        progress.show(2)
        progress.show(4)
    assert lines(screen) == [
        "replays: starting (the first run ever compiles for a few seconds)",
        "replays: 2 of 8 (25 %), 6 s left, 1/s",
        "replays: 4 of 8 (50 %), 3 s left, 1/s",
        "",
    ]


def test_a_part_where_the_total_is_not_known(clock):
    screen, parts = Screen(), iter((None, 0.0, 0.5))
    with Progress("events", out=screen, part=lambda: next(parts)) as progress:
        for done in (1000, 2000, 3000):
            progress.show(done)
    assert lines(screen)[1:4] == [
        "events: 1,000, 500/s",
        "events: 2,000, 667/s",
        "events: 3,000 (50 %), 4 s left, 750/s",
    ]


def test_a_pipe_gets_nothing():
    out = io.StringIO()
    with Progress("events", 8, out) as progress:
        progress.show(2)
    assert out.getvalue() == ""


def test_a_line_never_wraps(clock):
    """Of a line that wraps, the upper part would stay on the screen."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 30, 0, 0))
    with os.fdopen(follower, "w") as out:
        with Progress("x" * 40, 8, out) as progress:
            progress.show(2)
        written = ""
        while written.count("\r\x1b[K") < 3:  # a terminal hands on what it has so far
            written += os.read(leader, 4096).decode()
    os.close(leader)
    assert [len(line) for line in written.split("\r\x1b[K")] == [0, 29, 29, 0]


@pytest.mark.parametrize("words", [[], ["--json", "-"]])
def test_an_interrupted_replay_says_so(monkeypatch, capsys, words):
    whole = allocator.workload.generate

    def generate(name, **how):
        blocks = whole(name, **how)
        yield next(blocks)
        raise KeyboardInterrupt

    monkeypatch.setattr(allocator.workload, "generate", generate)
    assert main(["replay", "camera", "--seconds", "100", *words]) == 130
    said = capsys.readouterr()
    assert said.err == "gcma replay: interrupted; the figures are of the events until then\n"
    if words:
        answer = json.loads(said.out)
        assert answer["interrupted"] is True
        assert answer["allocators"][0]["reads"] == 4000


def test_a_whole_replay_is_not_called_interrupted(capsys):
    assert main(["replay", "camera", "--seconds", "1", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["interrupted"] is False
