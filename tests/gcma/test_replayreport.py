"""The page of a replay, from the command line."""

import re
import subprocess
import sys
from pathlib import Path


def test_page_has_both_figures_and_every_number(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "gcma", "replay", "camera", "--seconds", "10", "--report", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    page = (tmp_path / "index.html").read_text()
    assert page.count("<svg") == 2
    assert "modelled time of a request, µs" in page
    assert "#010203" not in page  # the stand-in for the page's own colour
    assert "currentColor" in page
    for line in run.stdout.splitlines()[2:]:
        label, *values = re.split(r"\s{2,}", line.strip())
        row = re.search(rf'<td class="key">{re.escape(label)}</td>(.*?)</tr>', page)
        assert row is not None, label
        assert re.findall(r'<td class="number">([^<]*)</td>', row[1]) == values
