"""The events that a command line names, of a trace or of a generated workload."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from allocator.compiled import Rows
    from allocator.recording import Recording


class Events:
    """The blocks of events, to be iterated once. The name of a workload that is a file too is the file.

    :raise TraceError: it is no trace that can be read, also while iterating
    :raise WorkloadError: the workload cannot be generated
    :raise OSError: the file cannot be opened

    :ivar whole: whether all have been taken
    """

    def __init__(self, options: argparse.Namespace) -> None:
        from allocator.trace_open import open_trace
        from allocator.workload import WORKLOADS, WorkloadError, generate

        self.whole = False
        self._seconds: int = options.seconds
        self._time = 0
        if generated(options.trace):
            if options.form or options.area:
                raise WorkloadError(
                    f"workload {options.trace!r} is no file: --form and --area are for traces"
                )
            self._trace = None
            self._blocks = generate(options.trace, seconds=options.seconds, seed=options.seed)
        else:
            try:
                self._trace = open_trace(options.trace, options.form, options.area)
            except FileNotFoundError as error:
                raise WorkloadError(
                    f"{options.trace}: no such file, and no workload of that name: give a trace, or one of "
                    f"{', '.join(WORKLOADS)}"
                ) from error
            self._blocks = self._trace.blocks()

    def __iter__(self) -> "Iterator[Rows]":
        from allocator.trace import TIME

        for block in self._blocks:
            if len(block):
                self._time = int(block[-1, TIME])
            yield block
        self.whole = True

    def part(self) -> float | None:
        """How much has been taken, from 0 to 1; None where nobody knows, as of a pipe."""
        if self._trace is None:
            return min(self._time / (self._seconds * 1e9), 1.0)
        total = self._trace.bytes_total
        return self._trace.bytes_read / total if total else None

    @property
    def skipped(self) -> dict[str, int]:
        """What was left out of a trace, and how often."""
        return dict(self._trace.skipped) if self._trace is not None else {}

    @property
    def recording(self) -> "Recording | None":
        """What a recording told of its own kernel; None where there is none."""
        from allocator.trace_text import TextTrace

        return self._trace.recording if isinstance(self._trace, TextTrace) else None


def generated(name: str) -> bool:
    """Whether a workload of that name is meant, and no file."""
    from allocator.workload import WORKLOADS

    return name in WORKLOADS and not Path(name).is_file()
