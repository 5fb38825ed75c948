"""The page of a check, from the command line."""

import subprocess
import sys
from pathlib import Path

RULES = Path(__file__).parents[1] / "dts" / "rules"


def test_page_shows_findings_with_their_source_and_the_memory_map(tmp_path: Path, boards: Path) -> None:
    bad = RULES / "alignment-cells-fail.dts"
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "gcma",
            "check",
            "--report",
            str(tmp_path),
            str(bad),
            str(boards / "rpi-4-b.dts"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 1
    page = (tmp_path / "index.html").read_text()
    assert f"<h2>{bad}</h2>" in page
    assert "alignment-cells" in page
    assert "alignment = &lt;" in page  # the excerpt
    assert "gcma (guaranteed CMA, default, placed at boot)" in page  # the map
    assert (
        '<td class="key">/soc@7c000000/csi@7e801000</td><td>/reserved-memory/gcma</td><td>0x3fffffff</td>'
        in page
    )


def test_unreadable_file_is_told_on_the_page(tmp_path: Path) -> None:
    missing = tmp_path / "missing.dts"
    run = subprocess.run(
        [sys.executable, "-m", "gcma", "check", "--report", str(tmp_path / "out"), str(missing)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 2
    assert str(missing) in (tmp_path / "out" / "index.html").read_text()
