"""What a newcomer types (scripts/run, scripts/test) and what CI does, with stand-ins for all they call."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
Finished = subprocess.CompletedProcess[str]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the real scripts and nothing else."""
    folder = tmp_path / "a checkout"
    shutil.copytree(CHECKOUT / "scripts", folder / "scripts")
    shutil.copytree(CHECKOUT / ".ci", folder / ".ci")
    shutil.copy(CHECKOUT / "pyproject.toml", folder)
    return folder


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def run(folder: Path, script: str, *arguments: str, path: str | None = None, **environment: str) -> Finished:
    return subprocess.run(
        [str(folder / script), *arguments],
        env={"PATH": path or os.environ["PATH"], "HOME": str(folder.parent)} | environment,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


# ---- scripts/run


@pytest.fixture
def runner(checkout: Path, tmp_path: Path) -> Callable[..., Finished]:
    """Runs scripts/run with a gcma of which only the exit statuses are given."""

    def start(*arguments: str, machines: str = "raspi3b raspi4b", **statuses: int) -> Finished:
        program(checkout / "scripts" / "setup", "exit ${SETUP:-0}")
        lines = "\n".join(
            f"echo '{name}    a board'" for name in ["Supported machines are:", *machines.split()]
        )
        program(tmp_path / "bin" / "qemu-system-aarch64", lines)
        cases = "\n".join(f"*{name.replace('_', '-')}*) exit {n} ;;" for name, n in statuses.items())
        program(checkout / ".venv" / "bin" / "gcma", f'echo "gcma $*"\ncase "$2" in\n{cases}\nesac')
        return run(checkout, "scripts/run", *arguments, path=f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    return start


def test_run_tests_both_boards(runner: Callable[..., Finished]) -> None:
    done = runner("-k", "camera or dma")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\n") == [
        "gcma test dts/boards/rpi-4-b.dts --report report/rpi-4-b -k camera or dma",
        "",
        "gcma test dts/boards/rpi-3-b.dts --report report/rpi-3-b -k camera or dma",
        "",
        "",
    ]


@pytest.mark.parametrize(("pi4", "pi3", "worst"), [(1, 0, 1), (0, 1, 1), (2, 1, 2), (1, 2, 2), (0, 0, 0)])
def test_run_ends_with_the_worse(runner: Callable[..., Finished], pi4: int, pi3: int, worst: int) -> None:
    done = runner(rpi_4_b=pi4, rpi_3_b=pi3)
    assert done.returncode == worst
    assert done.stdout.count("gcma test") == 2


def test_run_with_an_old_qemu(runner: Callable[..., Finished]) -> None:
    done = runner(machines="raspi2b raspi3b")
    assert done.returncode == 0
    assert done.stdout.count("gcma test") == 1
    assert "rpi-3-b" in done.stdout
    assert done.stderr == (
        "run: this QEMU has no raspi4b machine (it came with 9.0), so only rpi-3-b.dts is tested here.\n"
    )


# ---- scripts/test and .ci/run


@pytest.fixture
def gates(checkout: Path) -> Callable[..., Finished]:
    """Runs scripts/test, or another script, with gates of which only the exit statuses are given."""

    def start(*arguments: str, script: str = "scripts/test", setup: int = 0, **statuses: int) -> Finished:
        program(checkout / "scripts" / "setup", f"echo setup $* >&2; exit {setup}")
        of = {"ruff_check": 0, "ruff_format": 0, "mypy": 0, "pytest": 0} | statuses
        program(
            checkout / ".venv" / "bin" / "ruff",
            f'echo "ruff $*"; [ $1 = check ] && exit {of["ruff_check"]}; exit {of["ruff_format"]}',
        )
        program(
            checkout / ".venv" / "bin" / "python",
            f"""shift
[ $1 = mypy ] && {{ echo mypy; exit {of["mypy"]}; }}
printf '<%s>' "$@"; read -t 0; echo " CI=${{CI-}} stdin $(readlink /proc/self/fd/0)"
echo "== 7 passed in 0.1s =="; exit {of["pytest"]}""",
        )
        return run(checkout, script, *arguments)

    return start


ALL = "<pytest><-n><2><--dist><loadfile>"


def test_all_gates_in_order(gates: Callable[..., Finished]) -> None:
    done = gates()
    assert done.returncode == 0
    assert done.stderr == "setup --dev\n"
    lines = [line for line in done.stdout.splitlines() if line]
    assert [line.partition(" CI=")[0] for line in lines] == [
        "== ruff check", "ruff check .", "== ruff format", "ruff format --check .",
        "== mypy --strict", "mypy", "== pytest", f"{ALL}<-m><not nightly>", "== 7 passed in 0.1s ==",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "passed_on"),
    [
        (["--fast"], "<-m><not nightly and not qemu>"),
        (["--nightly"], "<-m><><--hypothesis-profile><nightly>"),
        (["--fast", "-k", "a b", "-x"], "<-m><not nightly and not qemu><-k><a b><-x>"),
        (["tests/board"], "<-m><not nightly><tests/board>"),
    ],
)
def test_what_pytest_is_told(gates: Callable[..., Finished], arguments: list[str], passed_on: str) -> None:
    assert f"{ALL}{passed_on} CI=" in gates(*arguments).stdout


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        ({"ruff_check": 1}, 3),
        ({"ruff_format": 1}, 4),
        ({"mypy": 1}, 5),
        ({"pytest": 1}, 6),
        ({"mypy": 2, "pytest": 5}, 5),
        ({"ruff_check": 1, "mypy": 1}, 3),
    ],
)
def test_the_number_tells_the_gate(
    gates: Callable[..., Finished], statuses: dict[str, int], status: int
) -> None:
    done = gates(**statuses)
    assert done.returncode == status
    assert done.stdout.endswith("== 7 passed in 0.1s ==\n"), "pytest's closing line is the last"


def test_setup_that_fails_ends_it(gates: Callable[..., Finished]) -> None:
    done = gates(setup=2)
    assert done.returncode == 2
    assert done.stdout == ""


def test_ci_has_no_stdin_and_says_that_it_is_ci(gates: Callable[..., Finished]) -> None:
    done = gates(script=".ci/run")
    assert done.returncode == 0
    assert " CI=true stdin /dev/null\n" in done.stdout
    assert done.stdout.splitlines()[-1] == "== 7 passed in 0.1s =="


def test_help(gates: Callable[..., Finished]) -> None:
    done = gates("--help")
    assert done.returncode == 0
    assert "scripts/test [--fast | --nightly] [PYTEST ARGUMENT...]" in done.stdout
    assert done.stderr == ""


# ---- scripts/setup


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder for PATH with the plainest tools only."""
    folder = tmp_path / "bare"
    folder.mkdir()
    for tool in (
        "bash",
        "cat",
        "cut",
        "dirname",
        "env",
        "grep",
        "id",
        "mkdir",
        "sed",
        "sha256sum",
        "sort",
        "tr",
    ):
        found = shutil.which(tool)
        assert found
        (folder / tool).symlink_to(found)
    return folder


MISSING = (
    "missing: qemu-system-aarch64 (QEMU >= 9.0), dtc, cpp, aarch64-linux-gnu-gcc (or clang and ld.lld), "
    "python3 (>= 3.11), Python's venv and ensurepip modules; "
)


def test_setup_without_apt_names_each_tool(checkout: Path, bare: Path) -> None:
    done = run(checkout, "scripts/setup", path=str(bare))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        f"setup: {MISSING}there is no apt-get here, so install them with this system's package manager "
        "and run this again.\n"
    )


def test_setup_without_root(checkout: Path, bare: Path) -> None:
    (bare / "id").unlink()
    program(bare / "id", "echo 1000")
    program(bare / "apt-get", "echo called; exit 1")
    done = run(checkout, "scripts/setup", path=str(bare))
    assert done.returncode == 2
    assert done.stderr == (
        f"setup: {MISSING}installing needs root or sudo: run 'apt-get install qemu-system-arm "
        "device-tree-compiler cpp gcc-aarch64-linux-gnu python3 python3-venv' as root, then this again.\n"
    )


def test_setup_names_only_what_is_missing(checkout: Path, bare: Path) -> None:
    for tool in ("dtc", "cpp", "clang", "ld.lld", "python3"):
        program(bare / tool, "exit 0")
    done = run(checkout, "scripts/setup", path=str(bare))
    assert done.returncode == 2
    assert done.stderr.startswith("setup: missing: qemu-system-aarch64 (QEMU >= 9.0); there is no apt-get")


def test_setup_does_not_look_for_a_newer_qemu_twice(checkout: Path, bare: Path, tmp_path: Path) -> None:
    """An old QEMU, root, and an apt-get that has nothing newer."""
    for tool in ("dtc", "cpp", "clang", "ld.lld"):
        program(bare / tool, "exit 0")
    program(bare / "python3", f'exec {sys.base_prefix}/bin/python3 "$@"')
    program(bare / "qemu-system-aarch64", "echo QEMU emulator version 8.2.2")
    program(bare / "apt-get", f'echo "$*" >>"{tmp_path}/apt.log"')
    program(bare / "apt-cache", "echo '  Candidate: 1:8.2.2+ds-0'")
    program(bare / "awk", "cat >/dev/null")
    (bare / "id").unlink()
    program(bare / "id", "echo 0")
    program(checkout / ".venv" / "bin" / "gcma", "exit 0")
    # the environment is not this test's subject: pip answers, and does nothing
    program(checkout / ".venv" / "bin" / "python", "exit 0")
    runs = [run(checkout, "scripts/setup", path=str(bare)) for _ in range(2)]
    assert [done.returncode for done in runs] == [0, 0], runs[0].stderr
    said = (
        "setup: QEMU 8.2 is older than 9.0, which brought the raspi4b machine, and no newer one was found: "
    )
    assert all(said in done.stderr for done in runs)
    log = (tmp_path / "apt.log").read_text().splitlines()
    assert len([line for line in log if "install" in line]) == 1
    assert len([line for line in log if "update" in line]) == 1


def test_setup_usage(checkout: Path) -> None:
    done = run(checkout, "scripts/setup", "--nonsense")
    assert (done.returncode, done.stderr) == (2, "setup: usage: scripts/setup [--dev]\n")
