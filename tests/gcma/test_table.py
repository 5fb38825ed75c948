"""The table of a run: rows in a pipe, a status line on a terminal, a picture."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from board import ALL_TESTS, Result, load_plan
from gcma.table import Table

Make = Callable[..., Any]
TESTS = [test for test in ALL_TESTS if test.id in ("camera.ring", "dma.2d", "board.no-pool")]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(boards: Path, out: io.StringIO, *results: Any, color: bool = False) -> Table:
    with Table(load_plan(boards / "rpi-3-b.dts"), TESTS, out, color=color) as table:
        for test, result in zip(TESTS, results, strict=False):
            table.started(test)
            table.ended(result)
    return table


def test_rows_in_a_pipe(boards: Path, results: Make, outcomes: Make) -> None:
    out = io.StringIO()
    rows = [
        outcomes("camera.ring", Result.PASSED, "30 frames", size=3 << 20),
        outcomes("dma.2d", Result.FAILED, "line 3 differs", "line 3 differs\n--- serial\nhello"),
        outcomes("board.no-pool", Result.SKIPPED),
    ]
    table = shown(boards, out, *rows)
    table.summary(results(*rows))
    assert out.getvalue().splitlines() == [
        f"gcma test {boards / 'rpi-3-b.dts'}",
        "raspi3b, pool /reserved-memory/gcma at 0x34000000..0x3bffffff, 128 MiB",
        "ok      camera.ring    camera        3.0 MiB    0.250 s  30 frames",
        "FAILED  dma.2d         dma                 -    0.250 s  line 3 differs",
        "        --- serial",
        "        hello",
        "skipped board.no-pool  board               -    0.250 s  title of board.no-pool",
        "1 passed, 1 failed, 1 skipped in 1.5 s; 3.0 MiB of DMA and cached data verified, 0 stale reads, "
        "7 allocations",
    ]


def test_nothing_verified_is_said_in_words(boards: Path, results: Make, outcomes: Make) -> None:
    out = io.StringIO()
    rows = [outcomes("board.no-pool", Result.PASSED)]
    shown(boards, out, *rows).summary(results(*rows))
    assert "; nothing of DMA and cached data verified, " in out.getvalue()


def test_no_control_characters_in_a_pipe(boards: Path, outcomes: Make) -> None:
    out = io.StringIO()
    shown(
        boards, out, outcomes("camera.ring", Result.FAILED, "red", "red\n--- serial\n[bold]no markup[/bold]")
    )
    assert "\x1b" not in out.getvalue()
    assert "[bold]no markup[/bold]" in out.getvalue()


def test_long_lines_are_whole_in_a_pipe(boards: Path, outcomes: Make) -> None:
    out = io.StringIO()
    shown(boards, out, outcomes("camera.ring", Result.PASSED, "word " * 200))
    assert "word " * 199 in out.getvalue()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_rows_fit_a_terminal(
    boards: Path, outcomes: Make, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm-256color")
    out = Terminal()
    shown(boards, out, outcomes("camera.ring", Result.PASSED, "word " * 200), color=True)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", out.getvalue())
    rows = [line for line in plain.splitlines() if line.startswith("ok ")]
    assert rows
    assert all(len(row) <= width for row in rows)


def test_a_failure_is_never_cut(boards: Path, outcomes: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm-256color")
    out = Terminal()
    shown(boards, out, outcomes("camera.ring", Result.FAILED, "word " * 50 + "end"))
    assert "end" in out.getvalue()


def test_nothing_is_printed_beside_json(
    boards: Path, outcomes: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    with Table(load_plan(boards / "rpi-3-b.dts"), TESTS, None, color=False) as table:
        table.ended(outcomes("camera.ring", Result.PASSED))
    assert capsys.readouterr() == ("", "")


def test_the_picture_is_an_svg(boards: Path, outcomes: Make, tmp_path: Path) -> None:
    table = shown(boards, io.StringIO(), outcomes("camera.ring", Result.PASSED, "<&> 30 frames"))
    table.save_picture(tmp_path / "table.svg")
    text = " ".join(ElementTree.parse(tmp_path / "table.svg").getroot().itertext())
    assert "camera.ring" in text
    assert "<&>" in text
