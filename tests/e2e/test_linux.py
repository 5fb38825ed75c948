"""A real kernel on the emulated boards. Skipped where Debian's package is not at hand."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from board.error import BoardError
from board.kernel import BUSYBOX, choose_kernel
from board.package import fetch

ROOT = Path(__file__).parents[2]
BOARDS = sorted((ROOT / "dts" / "boards").glob("*.dts"))
TREES = sorted((ROOT / "tests" / "data" / "oracle").glob("*.dts"))
BOOT_SECONDS = 240

pytestmark = pytest.mark.qemu


@pytest.fixture(scope="session")
def kernel() -> str:
    try:
        return str(choose_kernel("7.3").path)
    except BoardError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def older_kernel() -> str:
    try:
        return str(choose_kernel("6.12").path)
    except BoardError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def shell() -> None:
    try:
        fetch(BUSYBOX)
    except BoardError as error:
        pytest.skip(str(error))


def gcma(*words: str, seconds: int = BOOT_SECONDS, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gcma", *words],
        input=text, capture_output=True, text=True, check=False, timeout=seconds,
    )  # fmt: skip


@pytest.mark.parametrize("board", BOARDS, ids=lambda path: path.stem)
def test_our_boards_boot_and_agree(board: Path, kernel: str) -> None:
    run = gcma("check", "--against-linux", "--kernel", kernel, "--format", "json", str(board))
    assert run.returncode == 0, run.stderr + run.stdout
    (file,) = json.loads(run.stdout)["files"]
    assert file["kernel"].startswith("7.3.")
    assert len(file["rows"]) == 7
    assert all(row["agree"] for row in file["rows"])


@pytest.mark.usefixtures("shell")
def test_a_shell_in_a_pipe(kernel: str) -> None:
    commands = "echo $((6 * 7)) pages\nsleep 1\nls /sys/kernel/mm/cma\ncat /proc/self/comm"
    run = gcma("boot", str(BOARDS[0]), "--linux", "--kernel", kernel, text=commands)
    assert run.returncode == 0, run.stderr
    after = run.stdout.partition("a shell on Linux")[2]
    assert "42 pages\n" in after
    assert "\ngcma\n" in after
    assert "\ncat\n" in after


def test_early_is_quick_and_tells_what_differs(kernel: str) -> None:
    trees = [
        str(ROOT / "tests/data/oracle" / name)
        for name in ("static-overlap.dts", "restricted-pool-reusable.dts")
    ]
    run = gcma("check", "--against-linux", "--early", "--kernel", kernel, *trees)
    assert run.returncode == 0, run.stderr + run.stdout
    assert "static-overlap.dts on Linux 7.3." in run.stdout
    assert "known: this kernel is built without CONFIG_DMA_RESTRICTED_POOL" in run.stdout
    assert run.stdout.endswith("1 differ for a known reason, 0 disagree\n")


def test_a_wrong_assumption_is_a_disagreement(kernel: str, tmp_path: Path) -> None:
    # Linux gets cma= on its command line behind the back of the verdict
    tree = tmp_path / "cma.dts"
    tree.write_text((ROOT / "tests/data/oracle/dynamic-default.dts").read_text().replace("board.dtsi", str(
        ROOT / "tests/data/oracle/board.dtsi")))  # fmt: skip
    words = ["check", "--against-linux", "--early", "--cmdline", "cma=32M", "--kernel", kernel, str(tree)]
    program = (
        "import dataclasses, sys, board.linux as linux, gcma.cli as cli\n"
        "plain = linux.LinuxPlan.assumptions\n"
        "linux.LinuxPlan.assumptions = lambda plan: dataclasses.replace(plain(plan), cma_on_cmdline=False)\n"
        f"sys.exit(cli.main({words!r}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=BOOT_SECONDS
    )
    assert run.returncode == 1, run.stderr
    assert (
        "DIFFER  /reserved-memory/pool: dynamic at 0x2c000000..0x3bffffff, CMA; Linux: not mentioned"
        in run.stdout
    )


def test_no_qemu_is_left_when_it_is_killed(kernel: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "gcma", "check", "--against-linux", "--kernel", kernel, str(BOARDS[0])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
    qemu = 0
    while child.poll() is None and not qemu:
        for word in children.read_text().split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a short-lived one
                if b"\0-kernel\0" in Path(f"/proc/{word}/cmdline").read_bytes():
                    qemu = int(word)
    assert qemu
    os.kill(qemu, signal.SIGKILL)
    out, error = child.communicate(timeout=60)
    assert child.returncode == 2
    assert b"QEMU ended (killed by SIGKILL)" in error
    assert b"Traceback" not in error + out


def test_without_the_kernel_one_sentence(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("dtc", "cpp"):
        path = shutil.which(name)
        assert path is not None
        (tools / name).symlink_to(path)
    environment = {**os.environ, "PATH": str(tools), "XDG_CACHE_HOME": str(tmp_path)}
    for words in (["boot", str(BOARDS[0]), "--linux"], ["check", "--against-linux", str(BOARDS[0])]):
        run = subprocess.run(
            [sys.executable, "-m", "gcma", *words],
            capture_output=True, text=True, check=False, timeout=60, env=environment,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert run.returncode == 2
        assert run.stdout == ""
        assert run.stderr.startswith(f"gcma {words[0]}: no Linux kernel at hand: linux-binary-7.3")
        assert run.stderr.count("\n") == 1


@pytest.mark.usefixtures("shell")
def test_the_command_of_a_dry_run_boots_when_it_is_pasted(
    kernel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = gcma("boot", str(BOARDS[1]), "--linux", "--kernel", os.path.relpath(kernel), "--dry-run")
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == [], "a dry run leaves nothing in the folder"
    (tmp_path / "elsewhere").mkdir()
    child = pexpect.spawn("sh", ["-c", f"exec {run.stdout}"], cwd="elsewhere", timeout=BOOT_SECONDS)
    try:
        child.expect_exact("linux# ")
        child.sendline("cat /sys/firmware/devicetree/base/compatible; echo = $((6 * 7))")
        child.expect_exact("raspberrypi,4-model-b")
        child.expect_exact("= 42")
        child.sendintr()
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)


# ---- the whole table


@pytest.mark.nightly
def test_all_trees_agree_on_7_3(kernel: str) -> None:
    assert len(TREES) >= 40
    run = gcma("check", "--against-linux", "--kernel", kernel, *map(str, [*TREES, *BOARDS]), seconds=1200)
    assert run.returncode == 0, run.stdout[-3000:]
    assert f"{len(TREES) + len(BOARDS)} trees, " in run.stdout
    assert run.stdout.endswith(" 1 differ for a known reason, 0 disagree\n")


@pytest.mark.nightly
def test_all_trees_agree_on_6_12(older_kernel: str) -> None:
    run = gcma(
        "check",
        "--against-linux",
        "--early",
        "--kernel",
        older_kernel,
        *map(str, [*TREES, *BOARDS]),
        seconds=600,
    )
    assert run.returncode == 0, run.stdout[-3000:]
    assert run.stdout.endswith("6 differ for a known reason, 0 disagree\n")


# ---- real CMA


def real_cma(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "real_cma.py"), *words],
        capture_output=True, text=True, check=False, timeout=1000, cwd=ROOT,
    )  # fmt: skip


@pytest.mark.nightly
@pytest.mark.usefixtures("kernel")
def test_real_cma_against_the_models() -> None:
    run = real_cma()
    assert run.returncode == 0, run.stderr + run.stdout
    rows = {(words[0], words[1]): line for line in run.stdout.splitlines()[1:-1] if (words := line.split())}
    assert len(rows) == 20
    for (scenario, size), line in rows.items():
        met, answered = line.partition("ms")[0], line.rpartition("ms")[2]
        assert answered.split(",")[0].strip() == "8 of 8", "the model answers as Linux does"
        if scenario not in ("pinned", "small"):
            assert " 8 of 8 " in met
        elif size == "65536":
            assert "places passed over" in answered
            assert " 8 of 8 " not in met
    assert "the guaranteed area, full of cached pages: 32 of 32 met" in run.stdout


@pytest.mark.nightly
@pytest.mark.usefixtures("kernel")
def test_real_cma_repeats_to_the_digit() -> None:
    first, second = (real_cma("--requests", "8", "idle") for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout


# ---- a terminal


@pytest.mark.nightly
@pytest.mark.usefixtures("shell")
def test_a_shell_on_a_terminal(kernel: str) -> None:
    words = ["-m", "gcma", "boot", str(BOARDS[1]), "--linux", "--kernel", kernel]
    child = pexpect.spawn(sys.executable, words, timeout=BOOT_SECONDS)
    child.expect_exact("linux# ")
    child.send("echo $((6 * 7)) pages\r")
    child.expect_exact("\n42 pages")
    child.send("sleep 1000\r")
    child.send("\x03")  # for the guest
    child.expect_exact("linux# ")
    child.send("\x1d")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0
