"""Many replays at once: sizes times revisions times seeds, on all cores or on a Dask cluster.

A task names its trace and its machine and returns a summary, so that it can run anywhere the trace can be
read, and again when its worker died. The engine is whatever offers the `concurrent.futures` interface:
processes on this machine, or the workers behind a Dask scheduler. Results come back in the order of the
tasks, whoever ran them.
"""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import active_children
from typing import Any, Final

from allocator.compiled import Rows
from allocator.error import AllocatorError
from allocator.replay import Kind, Machine, Summary, replay

__all__ = ["Source", "SweepError", "Task", "cluster", "local", "sweep"]

ATTEMPTS: Final = 3
CONNECT_SECONDS: Final = 10.0


class SweepError(AllocatorError):
    """A sweep could not be run to its end."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where events come from: a trace file, or a generated workload when `seconds` is not 0."""

    name: str
    form: str | None = None
    area: str | None = None
    seconds: int = 0
    seed: int = 0

    def blocks(self) -> Iterator[Rows]:
        """The events."""
        from allocator.trace_open import open_trace
        from allocator.workload import generate

        if self.seconds:
            return generate(self.name, seconds=self.seconds, seed=self.seed)
        return open_trace(self.name, self.form, self.area).blocks()


@dataclass(frozen=True, slots=True)
class Task:
    """One replay."""

    source: Source
    kind: Kind
    machine: Machine


def run(task: Task) -> Summary:
    """Run one task; what a worker is asked for."""
    (summary,) = replay(task.source.blocks(), [task.kind], task.machine)
    return summary


def sweep(
    tasks: Sequence[Task],
    engine: Callable[[], Executor],
    progress: Callable[[int], None] | None = None,
) -> list[Summary]:
    """Run `tasks` and return their summaries in order.

    `engine` makes an executor; a new one is made, up to `ATTEMPTS` times, when one broke because a worker
    process died. Finished tasks are not run again.

    Raises SweepError when workers keep dying, and what a task raised.
    """
    done: dict[int, Summary] = {}
    for _attempt in range(ATTEMPTS):
        left = [number for number in range(len(tasks)) if number not in done]
        if not left:
            break
        others = set(active_children())
        with engine() as executor:
            try:
                futures = {executor.submit(run, tasks[number]): number for number in left}
                for future in as_completed(futures):
                    done[futures[future]] = future.result()
                    if progress is not None:
                        progress(len(done))
            except BrokenProcessPool:
                continue
            except BaseException:
                executor.shutdown(wait=False, cancel_futures=True)
                # What runs in a process of ours may run for hours more, and leaving would wait for it.
                for worker in set(active_children()) - others:
                    worker.terminate()
                raise
    if lost := len(tasks) - len(done):
        raise SweepError(
            f"{lost} of {len(tasks)} replays were lost {ATTEMPTS} times because workers died: "
            "is memory short? use fewer --jobs"
        )
    return [done[number] for number in range(len(tasks))]


def local(jobs: int | None = None) -> Callable[[], Executor]:
    """Processes on this machine, one for each core unless `jobs` says otherwise."""

    def engine() -> Executor:
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        # A fresh interpreter each: forking one with threads (Numba has some) can hang.
        return ProcessPoolExecutor(
            jobs or len(os.sched_getaffinity(0)),
            mp_context=get_context("spawn"),
            # a worker that took Ctrl-C for the end of its trace would go on with the next task
            initializer=signal.signal,
            initargs=(signal.SIGINT, signal.SIG_DFL),
        )

    return engine


@contextmanager
def cluster(address: str) -> Iterator[Callable[[], Executor]]:
    """The workers of the Dask scheduler at `address`, which replaces workers that die.

    Raises SweepError when Dask is not installed or the scheduler does not answer.
    """
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError as error:
        raise SweepError("--scheduler needs Dask: pip install distributed") from error
    try:
        client = distributed.Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise SweepError(f"no Dask scheduler answers at {address}: {error}") from error
    try:
        yield lambda: client.get_executor(pure=False, retries=ATTEMPTS)
    finally:
        client.close()
