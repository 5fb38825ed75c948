"""Looking at the pool: often while it changes, seldom otherwise, and never for long."""

import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from board.watch import QUIET_SECONDS, SHARE, Watch


@dataclass
class Bench:
    """A watch over a state of ours, on a clock of ours."""

    cost: float = 0.0
    now: float = 100.0
    state: int = 0
    looks: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watch = Watch(self._look, lambda: self.state)

    def step(self) -> None:
        self.watch.step(self.now)

    def _look(self) -> None:
        self.looks.append(self.now)
        self.now += self.cost


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench()
    monkeypatch.setattr(time, "monotonic", lambda: bench.now)
    return bench


def test_each_change_is_seen_when_looking_is_free(bench: Bench) -> None:
    for _ in range(10):
        bench.now += 1e-4
        bench.state += 1
        bench.step()
    assert len(bench.looks) == 10


def test_without_a_change_it_looks_now_and_then(bench: Bench) -> None:
    bench.step()
    for _ in range(1000):
        bench.now += QUIET_SECONDS / 100
        bench.step()
    assert 9 <= len(bench.looks) - 1 <= 10


def test_looking_takes_a_small_part_of_the_time(bench: Bench) -> None:
    bench.cost = 1e-3
    began = bench.now
    while bench.now < began + 10:
        bench.now += 1e-5
        bench.state += 1
        bench.watch.releasing()
    assert SHARE / 2 < len(bench.looks) * bench.cost / 10 <= SHARE


def test_each_case_is_seen_however_short(bench: Bench) -> None:
    """What it held at most, just before it gives the first of it back."""
    bench.cost = 1e-3
    bench.step()
    for case in range(1, 20):
        bench.watch.begin()
        for _ in range(3):
            bench.now += 1e-5
            bench.state += 1
            bench.step()
        assert len(bench.looks) == case
        bench.watch.releasing()
        bench.watch.releasing()
        assert len(bench.looks) == case + 1


def test_a_buffer_is_seen_before_it_goes(hosts: Any, small: str) -> None:
    """A guest that asks and gives back at once leaves no time to look between."""
    host = hosts(small)
    seen: list[int] = []
    host.services.buffers.releasing = lambda: seen.append(host.area.count - host.area.available_count)
    buffer = host.services.buffers.hold("codec", 3 * 4096)
    assert not seen
    host.services.buffers.let_go(buffer)
    assert seen == [3]
    assert host.services.buffers.changes == 2
