"""The curve of all sizes against LRU caches of single sizes, and sweeps on several engines."""

import os
import random
import signal
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import pytest

from allocator import sizing
from allocator.replay import Kind, Machine, replay
from allocator.sizing import BIN_PAGES, SizingError, study
from allocator.sizing_sweep import Source, SweepError, Task, cluster, local, sweep
from allocator.trace import ALLOC, FREE, READ, rows
from allocator.workload import generate


def reads(seed, count, pages):
    rng = random.Random(seed)
    return [(k * 1000, READ, rng.randrange(3), int(rng.random() ** 3 * pages), 0) for k in range(count)]


def lru_misses(events, size):
    cache, misses = OrderedDict(), 0
    for _time, _op, a, b, _c in events:
        if (a, b) in cache:
            cache.move_to_end((a, b))
        else:
            misses += 1
            cache[a, b] = None
            if len(cache) > size:
                cache.popitem(last=False)
    return misses


@pytest.mark.parametrize("seed", range(3))
def test_the_curve_is_that_of_lru_at_every_size(seed):
    events = reads(seed, 9000, 1500)
    found = study([rows(events[at : at + 1000]) for at in range(0, 9000, 1000)])
    for mib in range(1, len(found.miss_ratio) + 2):
        expected = lru_misses(events, mib * BIN_PAGES) / 9000
        assert found.misses_at(mib * BIN_PAGES) == pytest.approx(expected, abs=1e-12)
    assert found.misses_at(0) == 1.0
    assert found.pages == len({event[2:4] for event in events})
    assert found.error == 0.0


def test_renumbering_and_growth_change_nothing(monkeypatch):
    """A window and a table so small that both are replaced often."""
    events = rows(reads(5, 12_000, 3000))
    expected = study([events])
    monkeypatch.setattr(sizing, "WINDOW_LEAST", 64)
    assert study([events]).miss_ratio == expected.miss_ratio


def test_the_curve_agrees_with_the_replay():
    blocks = list(generate("browse", seconds=15))
    found = study(blocks)
    for memory in (512, 4096, 65536):
        (summary,) = replay(blocks, [Kind.CARVEOUT], Machine(256, memory))
        assert found.misses_at(memory) == pytest.approx(1 - summary.hit_rate, abs=1e-12)


@pytest.mark.parametrize("rate", [0.3, 0.1])
def test_sampling_is_within_three_of_its_errors(rate):
    blocks = list(generate("browse", seconds=30))
    exact, sampled = study(blocks), study(blocks, rate=rate)
    assert sampled.reads == exact.reads
    assert sampled.pages == pytest.approx(exact.pages, rel=0.05)
    assert 0 < sampled.error < 0.05
    for mib in (8, 32, 128, 512):
        assert abs(sampled.misses_at(mib * 256) - exact.misses_at(mib * 256)) <= 3 * sampled.error


def test_the_smallest_size_without_failures_is_the_smallest():
    rng = random.Random(1)
    events, held = [], set()
    for k in range(3000):
        buffer = rng.randrange(12)
        if buffer in held:
            events.append((k, FREE, buffer, 0, 0))
            held.remove(buffer)
        else:
            events.append((k, ALLOC, buffer, rng.randint(1, 900), rng.randint(0, 8)))
            held.add(buffer)
    found = study([rows(events)])
    for pages, fails in ((found.never_fails, False), (found.never_fails - 1, True)):
        (summary,) = replay([rows(events)], [Kind.CARVEOUT], Machine(pages, 16))
        assert bool(summary.failed) is fails
    for rung in found.rungs[:10]:
        (summary,) = replay([rows(events)], [Kind.CARVEOUT], Machine(rung.pages, 16))
        assert summary.failed == rung.failed
        assert rung.fragmented <= rung.failed
    assert found.held_most <= found.never_fails


def test_a_request_beyond_everything():
    found = study([rows([(0, ALLOC, 0, sizing.ENDLESS_PAGES + 1, 0)])])
    assert found.never_fails is None


@pytest.mark.parametrize("rate", [0.0, 1.5, float("nan")])
def test_rates_that_make_no_sense(rate):
    with pytest.raises(SizingError, match="makes no sense: use a number above 0 and up to 1"):
        study([], rate=rate)


def tasks():
    return [
        Task(Source("camera", seconds=4, seed=seed), Kind.GCMA, Machine(pages, 4096))
        for pages in (8192, 16384, 32768)
        for seed in (0, 1)
    ]


@pytest.fixture(scope="module")
def expected():
    return sweep(tasks(), lambda: ThreadPoolExecutor(1))


def test_processes_give_the_same_results(expected):
    assert sweep(tasks(), local(2)) == expected


class DyingOnce:
    """Processes of which one is killed as soon as the first result is in."""

    def __init__(self):
        self.made = 0
        self.executor = None

    def __call__(self):
        self.made += 1
        self.executor = local(1)()
        return self.executor

    def progress(self, _done):
        if self.made == 1:
            for process in list(self.executor._processes.values()):
                os.kill(process.pid, signal.SIGKILL)


def test_a_killed_worker_process_loses_nothing(expected):
    engine = DyingOnce()
    assert sweep(tasks(), engine, engine.progress) == expected
    assert engine.made == 2


def test_workers_that_always_die_end_the_sweep():
    engine = DyingOnce()

    def dying():
        engine.made = 0
        executor = engine()
        executor.submit(os.kill, os.getpid(), 0).result()
        for process in list(executor._processes.values()):
            os.kill(process.pid, signal.SIGKILL)
        return executor

    with pytest.raises(SweepError, match="6 of 6 replays were lost 3 times because workers died"):
        sweep(tasks(), dying)


@pytest.fixture
def dask():
    """A real scheduler and two worker processes on loopback."""
    distributed = pytest.importorskip("distributed", reason="no Dask here: pip install distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as found:
        yield found


@pytest.mark.filterwarnings("ignore")
def test_dask_gives_the_same_results_and_survives_a_killed_worker(dask, expected):
    with cluster(dask.scheduler_address) as engine:
        assert sweep(tasks(), engine) == expected
        killed = []

        def progress(_done):
            if not killed:
                worker = next(iter(dask.workers.values()))
                killed.append(worker.pid)
                os.kill(worker.pid, signal.SIGKILL)

        assert sweep(tasks(), engine, progress) == expected
        assert killed


@pytest.mark.filterwarnings("ignore")
def test_a_scheduler_that_does_not_answer(monkeypatch):
    pytest.importorskip("distributed", reason="no Dask here: pip install distributed")
    monkeypatch.setattr("allocator.sizing_sweep.CONNECT_SECONDS", 0.2)
    with (
        pytest.raises(SweepError, match="no Dask scheduler answers at tcp:"),
        cluster("tcp://127.0.0.1:9"),
    ):
        pass
