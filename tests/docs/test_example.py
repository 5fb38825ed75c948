"""The example project: its tests pass, but for the one that is to fail, which tells all."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

EXAMPLE = Path(__file__).parents[2] / "docs" / "example"


def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "--junit-xml=junit.xml", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def outcomes(folder: Path) -> dict[str, str]:
    """Each test's id and how it ended, out of the JUnit file."""
    return {
        case.get("name", ""): next((child.tag for child in case if child.tag != "properties"), "passed")
        for case in ElementTree.parse(folder / "junit.xml").iter("testcase")
    }


@pytest.mark.qemu
def test_all_but_one_pass(tmp_path: Path) -> None:
    folder = project(tmp_path)
    result = run(folder)
    assert result.returncode == pytest.ExitCode.TESTS_FAILED, result.stdout[-3000:]
    ended = outcomes(folder)
    assert [name for name, how in ended.items() if how not in ("passed", "skipped")] == [
        "test_stopping_and_starting[board]"
    ]
    assert ended["camera.ring"] == ended["display.blit"] == "passed"
    assert ended["test_a_full_cache_is_in_nobodys_way[board]"] == "passed"


@pytest.mark.qemu
def test_the_failure_shows_where_the_memory_went(tmp_path: Path) -> None:
    folder = project(tmp_path)
    run(folder, "test_viewfinder.py", "-k", "stopping")
    failure = next(ElementTree.parse(folder / "junit.xml").iter("failure")).text or ""
    assert "CmaAllocError: cma: __cma_alloc_frozen: pool: alloc failed, req-size: 900 pages" in failure
    assert len(re.findall(r"(?m)^0x\w+ 900 pages of /soc/csi@7e801000, bus 0x\w+$", failure)) == 8
    assert "gcma firmware: EL2" in failure
    assert "qemu-system-aarch64 " in failure
    picture = re.search(r"(?m)^\S+\.png$", failure)
    assert picture is not None
    assert (folder / picture[0]).read_bytes().startswith(b"\x89PNG")


@pytest.mark.qemu
def test_with_the_fault_mended_all_pass(tmp_path: Path) -> None:
    folder = project(tmp_path)
    source = folder / "viewfinder.py"
    mended = source.read_text().replace("range(len(self._ring) - 1)", "range(len(self._ring))")
    assert mended != source.read_text()
    source.write_text(mended)
    result = run(folder, "test_viewfinder.py")
    assert result.returncode == 0, result.stdout[-3000:]
