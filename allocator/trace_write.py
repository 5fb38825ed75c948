"""Writing a counter-example as a trace: in ftrace's words, so that people and tools can read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from allocator.prove import Call, Problem

__all__ = ["write_calls"]


def write_calls(path: Path, problem: Problem, calls: Sequence[Call]) -> None:
    """Write `calls` in an area like that of `problem` as ftrace text for `gcma replay`."""
    name = problem.area.rpartition("/")[2] or "area"
    lines = ["# tracer: nop", f"# area {problem.area}: {problem.pages} pages from pfn {problem.base_pfn:#x}"]
    for number, call in enumerate(calls):
        demand = problem.demands[call.demand]
        head = f"           gcma-1     [000] .....   {number // 1_000_000}.{number % 1_000_000:06}: "
        if call.release:
            lines.append(f"{head}cma_release: name={name} pfn={call.pfn:#x} page=0 count={demand.pages}")
        else:
            pfn, error = (call.pfn, 0) if call.pfn is not None else (0, -16)
            lines.append(
                f"{head}cma_alloc_finish: name={name} pfn={pfn:#x} page=0 count={demand.pages} "
                f"align={demand.align} errorno={error}"
            )
    path.write_text("\n".join(lines) + "\n")
