"""The table of a test run on the terminal: a row a test, as each ends."""

import io
import re
from pathlib import Path
from textwrap import indent
from typing import TextIO

from rich.console import Console
from rich.status import Status
from rich.text import Text

from allocator import ContiguousArea
from allocator.areamap import as_text
from board import Plan, Result, Test, TestResult
from dts.range import size_text
from gcma.results import RunResults

WORDS = {
    Result.PASSED: ("ok", "green"),
    Result.FAILED: ("FAILED", "bold red"),
    Result.SKIPPED: ("skipped", "yellow"),
}
PICTURE_COLUMNS = 132


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave the answer to the command line; rich would end with the status of a failed test."""
        raise  # the error that is being handled


class Table:
    """Prints rows as they come; a terminal also gets a line that says what runs now.

    :param out: None prints nothing (JSON goes to stdout alone)
    """

    def __init__(self, plan: Plan, tests: list[Test], out: TextIO | None, *, color: bool) -> None:
        terminal = out is not None and out.isatty()
        self._console = _Console(
            file=out,
            quiet=out is None,
            no_color=not color,
            force_terminal=None if color else False,
            width=None if terminal else 10_000,
            highlight=False,
            record=False,
        )
        self._terminal = terminal
        self._plan = plan
        self._widths = (max(len(test.id) for test in tests), max(len(test.device) for test in tests))
        self._status: Status | None = None
        self._rows: list[Text] = []
        self._shown: set[str] = set()
        self._number = 0
        self._running = ""
        self._count = len(tests)

    def __enter__(self) -> "Table":
        plan = self._plan
        self._emit(Text.assemble(("gcma test ", "bold"), plan.name))
        self._emit(
            Text(
                f"{plan.machine.name}, pool {plan.pool.path} at {plan.place}, {size_text(plan.place.size)}",
                "dim",
            )
        )
        if self._terminal:
            self._status = self._console.status("starting the board")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def started(self, test: Test) -> None:
        """A test begins."""
        self._number += 1
        if self._status is not None:
            self._running = f"{self._number}/{self._count} {test.id}: {test.title}"
            self._status.update(self._running)

    def show(self, area: ContiguousArea) -> None:
        """Draw the area below the line that says what runs (`#` taken, `c` cached, `.` free)."""
        if self._status is not None:
            self._status.update(f"{self._running}\n  {as_text(area, max(16, self._console.width - 4))}")

    def ended(self, result: TestResult) -> None:
        """A test has ended."""
        word, style = WORDS[result.result]
        row = Text.assemble(
            (f"{word:<8}", style),
            f"{result.id:<{self._widths[0]}}  ",
            (f"{result.device:<{self._widths[1]}}  ", "cyan"),
            (f"{_size(result.bytes_verified):>9}  {result.seconds:7.3f} s  ", "dim"),
            result.message or result.title,
            no_wrap=True,
        )
        if self._terminal and result.result is not Result.FAILED:
            row.truncate(self._console.width, overflow="ellipsis")
        self._emit(row)
        if result.result is Result.FAILED:
            for section in result.evidence.split("\n--- ")[1:]:
                # a command line or a pool that has not changed is shown once
                if section not in self._shown:
                    self._shown.add(section)
                    self._emit(Text(indent(f"--- {section}", " " * 8), "dim"))

    def summary(self, results: RunResults) -> None:
        """The last line."""
        parts = [f"{results.count(Result.PASSED)} passed"]
        parts += [f"{results.failed} failed"] if results.failed else []
        parts += [f"{results.count(Result.SKIPPED)} skipped"] if results.count(Result.SKIPPED) else []
        count = sum(test.bytes_verified for test in results.tests)
        verified = _size(count) if count else "nothing"
        self._emit(
            Text.assemble(
                (", ".join(parts), "bold red" if results.failed else "bold green"),
                f" in {results.seconds:.1f} s; {verified} of DMA and cached data verified, "
                f"{results.tally.stale_reads} stale reads, {results.tally.allocations} allocations",
            )
        )

    def save_picture(self, path: Path) -> None:
        """The table as an SVG."""
        console = Console(
            record=True, width=PICTURE_COLUMNS, file=io.StringIO(), force_terminal=True, highlight=False
        )
        for row in self._rows:
            copy = row.copy()
            copy.truncate(PICTURE_COLUMNS, overflow="ellipsis")
            console.print(copy, no_wrap=True, crop=True)
        picture = console.export_svg(title="gcma test")
        # rich would have the reader's program fetch a font, and names itself
        path.write_text(re.sub(r"@font-face \{.*?\}|<!--.*?-->", "", picture, flags=re.DOTALL))

    def _emit(self, row: Text) -> None:
        self._rows.append(row)
        self._console.print(row, soft_wrap=True)


def _size(count: int) -> str:
    if count >= 1 << 20:
        return f"{count / (1 << 20):.1f} MiB"
    return f"{count / 1024:.1f} KiB" if count >= 1024 else (f"{count} B" if count else "-")
