"""Trees as users write them: devices left out, pools of other kinds and spellings, and what cannot work."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Start = Callable[..., Any]

BOARD = """/dts-v1/;
/ {{
    compatible = "user,board", "brcm,bcm2837"; #address-cells = <1>; #size-cells = <1>;
    memory@0 {{ device_type = "memory"; reg = <0x0 0x3c000000>; }};
    reserved-memory {{
        #address-cells = <1>; #size-cells = <1>; ranges;
        pool: pool {{ compatible = "shared-dma-pool"; reusable; {pool} }};
    }};
    soc {{
        compatible = "simple-bus"; #address-cells = <1>; #size-cells = <1>;
        ranges = <0x7e000000 0x3f000000 0x01000000>;
        dma-ranges = <0xc0000000 0x0 0x3f000000>;
        serial@7e201000 {{ compatible = "arm,pl011"; reg = <0x7e201000 0x200>; }};
        mailbox@7e00b880 {{ compatible = "brcm,bcm2835-mbox"; reg = <0x7e00b880 0x40>; }};
        {devices}
    }};
}};
"""
DYNAMIC = "guaranteed; size = <0x2000000>;"
DMA = 'dma@7e007000 { compatible = "brcm,bcm2835-dma"; reg = <0x7e007000 0xf00>; };'
OWN = "memory-region = <&pool>; };"
CAMERA = f'csi@7e801000 {{ compatible = "brcm,bcm2835-unicam"; reg = <0x7e801000 0x800>; {OWN}'
CODEC = f'codec@7e807000 {{ compatible = "brcm,bcm2835-codec"; reg = <0x7e807000 0x1000>; {OWN}'
DISPLAY = f'hvs@7e400000 {{ compatible = "brcm,bcm2835-hvs"; reg = <0x7e400000 0x6000>; {OWN}'
# What takes seconds and has nothing to do with the tree.
QUICK = "not ring and not reuse and not fill and not rounds"


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """Writes a board's source."""

    def write(pool: str = DYNAMIC, devices: str = DMA + CAMERA + CODEC + DISPLAY, text: str = BOARD) -> Path:
        path = tmp_path / "board.dts"
        path.write_text(text.format(pool=pool, devices=devices))
        return path

    return write


qemu = pytest.mark.qemu


@qemu
@pytest.mark.parametrize(
    ("devices", "lacking"),
    [
        (DMA + CODEC + DISPLAY, "camera"),
        (DMA + CAMERA + DISPLAY, "codec"),
        (CAMERA + CODEC + DISPLAY, "dma"),
        (DMA + CAMERA + CODEC, "display"),
        ("", "camera"),
    ],
    ids=["no camera", "no codec", "no dma", "no display", "none at all"],
)
def test_cases_of_a_missing_device_are_skipped(gcma: Start, tree: Any, devices: str, lacking: str) -> None:
    run = gcma("test", tree(devices=devices), "-k", QUICK, "--json", "out.json").wait()
    assert run.status == 0, run.out
    results = json.loads((run.folder / "out.json").read_text())
    skipped = {test["id"]: test["message"] for test in results["tests"] if test["outcome"] == "skipped"}
    assert any(f"no {lacking}" in message for message in skipped.values())
    assert all("the tree has no " in message or "above 1 GiB" in message for message in skipped.values())
    passed = {test["id"] for test in results["tests"] if test["outcome"] == "passed"}
    assert {"boot.devicetree", "cache.roundtrip", "fault.reported", "board.no-pool"} <= passed
    run.check_nothing_left()


@qemu
@pytest.mark.parametrize(
    "pool",
    [
        "guaranteed; linux,cma-default; size = <0x2000000>;",
        "guarantee; size = <0x2000000>;",
        "guaranteed; reg = <0x10000000 0x4000000>;",
        "guaranteed; size = <0x5000000>; alignment = <0x1000000>; alloc-ranges = <0x10000000 0x10000000>;",
    ],
    ids=["default", "the series' spelling", "static", "aligned, in a range"],
)
def test_kinds_of_pool(gcma: Start, tree: Any, pool: str) -> None:
    run = gcma("test", tree(pool), "--json", "out.json", "-k", QUICK).wait()
    assert run.status == 0, run.out
    area = json.loads((run.folder / "out.json").read_text())["area"]
    if "reg" in pool:
        assert (area["base"], area["size"]) == (0x1000_0000, 0x400_0000)
    if "alloc-ranges" in pool:
        assert area["base"] % 0x100_0000 == 0
        assert 0x1000_0000 <= area["base"] <= 0x2000_0000 - area["size"]
    assert run.rows().count("ok boot.devicetree") == 1


@qemu
def test_a_default_pool_without_clients_serves_the_controller(gcma: Start, tree: Any) -> None:
    board = tree("guaranteed; linux,cma-default; size = <0x2000000>;", DMA)
    run = gcma("test", board, "-k", "dma.").wait()
    assert run.status == 0, run.out


@qemu
def test_devices_without_a_region_use_the_default_pool(gcma: Start, tree: Any) -> None:
    devices = (DMA + CAMERA + CODEC + DISPLAY).replace(OWN, "};")
    run = gcma("test", tree("guaranteed; linux,cma-default; size = <0x2800000>;", devices)).wait()
    assert run.status == 0, run.out
    assert "ok guarantee.fill" in run.rows()


@qemu
def test_devices_without_any_area_fail_clearly(gcma: Start, tree: Any) -> None:
    devices = (DMA + CODEC).replace(OWN, "};")
    run = gcma("test", tree(devices=devices), "-k", "dma.channels or codec").wait()
    assert run.status == 1
    said = "the device has no memory-region and there is no linux,cma-default area"
    assert run.out.count(said) == 2


@qemu
def test_a_pool_too_small_for_a_case_fails_in_the_kernels_words(gcma: Start, tree: Any) -> None:
    run = gcma("test", tree("guaranteed; size = <0x400000>;"), "-k", "camera.fhd").wait()
    assert run.status == 1
    assert "camera: no buffer of 8100 KiB: cma: __cma_alloc_frozen: pool: alloc failed, " in run.out


@pytest.mark.parametrize(
    ("pool", "devices", "message"),
    [
        (
            "size = <0x2000000>;",
            "",
            "{board}: no guaranteed pool: expected a node below /reserved-memory with "
            'compatible = "shared-dma-pool", reusable and guaranteed, and a size; found none '
            "(dts/boards/ has boards to copy from)",
        ),
        (
            "guaranteed; reg = <0x3a000000 0x4000000>;",
            "",
            "{board}: /reserved-memory/pool: the pool at 0x3a000000..0x3dffffff lies outside the board's RAM "
            "(0x0..0x3bffffff): move it inside",
        ),
        (
            "guaranteed; reg = <0x6000000 0x4000000>;",
            "",
            "{board}: /reserved-memory/pool: the pool at 0x6000000..0x9ffffff covers the devicetree, where "
            "QEMU puts it at 0x8000000..0x83fffff: move it, or give size and alloc-ranges instead of reg",
        ),
        (
            "guaranteed; size = <0x2000000>; alloc-ranges = <0x200000 0x1000000>;",
            "",
            "{board}: /reserved-memory/pool: a pool of 32 MiB finds no place in 0x200000..0x11fffff; "
            "the largest free range of raspi3b is 828 MiB: make it smaller",
        ),
    ],
    ids=["no pool", "outside RAM", "over the devicetree", "no place in its ranges"],
)  # fmt: skip
def test_refused_before_qemu_starts(gcma: Start, tree: Any, pool: str, devices: str, message: str) -> None:
    board = tree(pool, devices)
    run = gcma("test", board).wait()
    assert run.status == 2
    assert run.err == f"gcma test: {message.format(board=board)}\n"
    assert run.out == ""
    run.check_nothing_left()


def test_another_machine(gcma: Start, tree: Any) -> None:
    board = tree(text=BOARD.replace("brcm,bcm2837", "acme,board"))
    run = gcma("test", board).wait()
    assert run.status == 2
    assert run.err == (
        f"gcma test: {board}: no emulated machine: the root's compatible must list one of brcm,bcm2711, "
        "brcm,bcm2837; it lists user,board, acme,board\n"
    )


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\xd0\x0d\xfe\xed", b"/dts-v1/; / { broken"])
def test_what_is_no_tree(gcma: Start, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.dts"
    path.write_bytes(content)
    run = gcma("test", path).wait()
    assert run.status == 2
    assert run.err.startswith(f"gcma test: {path}")
    assert run.err.count("\n") == 1


def test_no_file(gcma: Start) -> None:
    run = gcma("test", "nowhere.dts").wait()
    assert run.status == 2
    assert run.err.startswith("gcma test: nowhere.dts: ")


def test_a_name_that_is_no_text(gcma: Start, tmp_path: Path, pi3: Path) -> None:
    path = tmp_path / "caf\udce9, board.dts"
    path.write_bytes(pi3.read_bytes())
    run = gcma("test", path, "-k", "board.no-pool", "--junit", "out.xml", "--json", "out.json").wait()
    assert run.status == 0, run.err
    assert "caf\\udce9, board.dts" in run.out
    assert json.loads((run.folder / "out.json").read_text())["passed"] == 1


@qemu
def test_odd_folder_names(gcma: Start, pi3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a cache, with=all"))
    run = gcma("test", pi3, "-k", "boot", "--report", "a, report").wait()
    assert run.status == 0, run.out + run.err
    assert (run.folder / "a, report" / "results.json").is_file()


@qemu
def test_dry_run_can_be_pasted(gcma: Start, board: Path) -> None:
    run = gcma("test", board, "--dry-run").wait()
    assert run.status == 0
    assert run.out.count("\n") == 1
    run.check_nothing_left()
    assert [path.name for path in run.folder.iterdir()] == ["tmp"], "a dry run leaves nothing in the folder"
    pasted = subprocess.Popen(
        ["sh", "-c", f"exec {run.out}"], cwd=run.folder, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        assert _qmp(run.folder / "gcma.qmp", "query-status")["running"] is True, pasted.stderr.read()
        assert _qmp(run.folder / "gcma.qmp", "quit") == {}
        assert pasted.wait(10) == 0
    finally:
        pasted.kill()
        pasted.communicate()


def _qmp(path: Path, command: str) -> Any:
    """One command to a QEMU that starts just now."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(10)
        for attempt in range(200):
            try:
                line.connect(str(path))
                break
            except OSError:
                assert attempt < 199, "QEMU does not listen"
                time.sleep(0.05)
        with line.makefile("rw") as both:
            assert "QMP" in json.loads(both.readline())
            for execute in ("qmp_capabilities", command):
                both.write(json.dumps({"execute": execute}) + "\n")
                both.flush()
                answer = json.loads(both.readline())
                while "return" not in answer:
                    answer = json.loads(both.readline())
            return answer["return"]


@pytest.mark.parametrize("option", ["--json", "--junit"])
def test_a_result_that_cannot_be_written_is_said_before_the_run(gcma: Start, pi3: Path, option: str) -> None:
    run = gcma("test", pi3, option, "no/such/folder/out").wait(20)
    assert run.status == 2
    assert run.out == ""
    assert run.err == "gcma test: no/such/folder/out: No such file or directory\n"


def test_a_report_folder_that_is_a_file(gcma: Start, pi3: Path) -> None:
    run = gcma("test", pi3, "--report", pi3).wait(20)
    assert run.status == 2
    assert run.out == ""
    assert run.err == f"gcma test: {pi3}: a folder is expected, this is a file\n"


def test_a_cache_that_cannot_be_written(gcma: Start, pi3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc")
    run = gcma("test", pi3).wait(30)
    assert run.status == 2
    assert run.err == (
        "gcma test: /proc/gcma: cannot keep the built firmware there: No such file or directory; "
        "set XDG_CACHE_HOME to a folder that can be written\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-k", "nothing"], "-k 'nothing' matches no test; --list shows them"),
        (["-k", "and"], "-k 'and': expected a word, 'not' or '(' as part 1, saw and"),
        (["-k", "selftest"], "-k 'selftest' matches no test; --list shows them"),
    ],
)
def test_selection_that_cannot_be(gcma: Start, pi3: Path, arguments: list[str], message: str) -> None:
    run = gcma("test", pi3, *arguments).wait()
    assert (run.status, run.out, run.err) == (2, "", f"gcma test: {message}\n")


def test_no_qemu(gcma: Start, pi3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    for tool in ("dtc", "cpp"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or tool)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    run = gcma("test", pi3).wait()
    assert run.status == 2
    assert run.err == (
        "gcma test: qemu-system-aarch64 is not on PATH: install Debian's qemu-system-arm (9.0 or newer for "
        "raspi4b) or run scripts/setup\n"
    )


def test_old_qemu(gcma: Start, boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "qemu-system-aarch64"
    fake.write_text("#!/bin/sh\necho QEMU emulator version 7.2.17\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    run = gcma("test", boards / "rpi-4-b.dts").wait()
    assert run.status == 2
    assert run.err == (
        "gcma test: raspi4b came with QEMU 9.0, this is 7.2: on Debian 12 take qemu-system-arm from "
        "bookworm-backports (scripts/setup does); boards on raspi3b work (dts/boards/rpi-3-b.dts)\n"
    )
