"""The example project's test that is to fail tells all. tests/test_packaging.py runs the others."""

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
def test_with_the_fault_mended_it_passes(tmp_path: Path) -> None:
    folder = project(tmp_path)
    source = folder / "viewfinder.py"
    mended = source.read_text().replace("range(len(self._ring) - 1)", "range(len(self._ring))")
    assert mended != source.read_text()
    source.write_text(mended)
    result = run(folder, "test_viewfinder.py", "-k", "stopping")
    assert result.returncode == 0, result.stdout[-3000:]
