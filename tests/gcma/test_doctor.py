"""What the doctor finds, on this machine and on others."""

import json
import shutil
from pathlib import Path

import pytest

from gcma.cli import main
from gcma.doctor import as_text
from gcma.tools import Finding, ToolState, look

NEEDED = ("qemu-system-aarch64", "dtc", "aarch64-linux-gnu-gcc", "aarch64-linux-gnu-objcopy")


def script(folder: Path, name: str, text: str, status: int = 0) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{text}'\nexit {status}\n")
    path.chmod(0o755)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has what is needed, and nothing else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script(folder, "qemu-system-aarch64", "QEMU emulator version 10.1.2 (Debian 1:10.1.2)")
    script(folder, "dtc", "Version: DTC 1.7.2")
    script(folder, "aarch64-linux-gnu-gcc", "aarch64-linux-gnu-gcc (Debian 14.2.0-19) 14.2.0")
    script(folder, "aarch64-linux-gnu-objcopy", "GNU objcopy (GNU Binutils for Debian) 2.44")
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def found() -> dict[str, Finding]:
    return {finding.name: finding for finding in look()}


def test_all_that_is_needed(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "all that is needed is here"
    table = {line.split()[1]: line.split()[0] for line in lines if line[:2] in ("ok", "--", "!!")}
    assert {name: table[name] for name in NEEDED} == dict.fromkeys(NEEDED, "ok")
    assert table["numpy"] == table["boards"] == "ok"
    assert table["cpp"] == table["setpriv"] == table["firmware"] == table["kernel"] == "--"


def test_versions(tools: Path) -> None:
    seen = found()
    assert [seen[name].version for name in NEEDED] == ["10.1.2", "1.7.2", "14.2.0", "2.44"]
    assert seen["boards"].version == "raspi4b, raspi3b"


@pytest.mark.parametrize("name", NEEDED)
def test_something_needed_is_missing(tools: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tools / name).unlink()
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert name in out.splitlines()[-1].partition("needed, and not here: ")[2].split(", ")
    finding = found()[name]
    assert finding.state is ToolState.MISSING
    assert finding.remedy.startswith("install Debian's ")
    assert finding.remedy in out


def test_an_old_qemu_boots_one_board(tools: Path) -> None:
    script(tools, "qemu-system-aarch64", "QEMU emulator version 7.2.19 (Debian 1:7.2)")
    boards = found()["boards"]
    assert (boards.version, boards.state, boards.blocks) == ("raspi3b", ToolState.OLD, False)
    assert boards.remedy == "raspi4b: QEMU 9.0 or newer; in Debian 12 from bookworm-backports"


def test_an_ancient_qemu_boots_none(tools: Path) -> None:
    script(tools, "qemu-system-aarch64", "QEMU emulator version 4.0.0")
    assert found()["boards"].blocks


@pytest.mark.parametrize(("text", "status"), [("10.0.2", 1), ("no number", 0)])
def test_a_tool_that_does_not_work(tools: Path, text: str, status: int) -> None:
    script(tools, "dtc", text, status)
    finding = found()["dtc"]
    assert finding.state is ToolState.BROKEN
    assert finding.blocks
    assert finding.remedy.startswith(f"{tools}/dtc --version does not answer: install Debian's ")


def test_a_tool_that_hangs(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gcma.tools.VERSION_SECONDS", 0.2)
    (tools / "dtc").write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    assert found()["dtc"].state is ToolState.BROKEN


def test_what_is_cached(tools: Path, tmp_path: Path) -> None:
    for package in ("binary-7.3.4+deb13-arm64", "modules-7.3.4+deb13-arm64", "headers-7.3.5+deb13-common"):
        (tmp_path / f"cache/gcma/linux/linux-{package}").mkdir(parents=True)
    (tmp_path / "cache/gcma/linux/linux-image-6.12.95+deb12-arm64-unsigned").mkdir()
    (tmp_path / "cache/gcma/firmware-0123.Image").touch()
    seen = found()
    assert (seen["kernel"].version, seen["firmware"].version) == ("6.12.95, 7.3.4", "built")


def test_json(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tools / "dtc").unlink()
    assert main(["doctor", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["ok"]) == ("gcma.doctor/1", False)
    dtc = next(tool for tool in document["tools"] if tool["name"] == "dtc")
    assert dtc == {
        "name": "dtc",
        "version": "",
        "state": "missing",
        "needed": True,
        "purpose": "reads .dts files, for all commands",
        "remedy": "install Debian's device-tree-compiler, or run scripts/setup in a checkout",
    }


def test_text() -> None:
    findings = [
        Finding("dtc", "1.7.2", ToolState.OK, True, "reads .dts files"),
        Finding("qemu", "", ToolState.MISSING, True, "boots", "install it"),
        Finding("cpp", "", ToolState.MISSING, False, "#include"),
    ]
    assert as_text(findings) == (
        "ok  dtc   1.7.2    reads .dts files\n"
        "!!  qemu  missing  boots\n"
        "          install it\n"
        "--  cpp   missing  #include\n"
        "\n"
        "needed, and not here: qemu\n"
    )


@pytest.mark.skipif(shutil.which("qemu-system-aarch64") is None, reason="no QEMU here")
def test_this_machine() -> None:
    assert not [finding.name for finding in look() if finding.blocks]
