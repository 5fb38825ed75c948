"""The command line's frame: dispatch, exit statuses, one sentence for whatever goes wrong."""

import argparse
import re
import subprocess
import sys

import pytest

from gcma import __version__
from gcma.cli import COMMANDS, main


def run(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *(("-c", code) if code else ("-m", "gcma")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"gcma {__version__}\n"


def test_version_is_the_packages() -> None:
    from importlib.metadata import version

    assert version("gcma") == __version__


def test_no_command_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    out = capsys.readouterr().err
    assert all(re.search(rf"^ +{name}\s", out, re.MULTILINE) for name in COMMANDS)
    assert "exit status: 0 good, 1 the subject failed" in out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_with_an_example(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0, done.stderr
    assert f"gcma {command} " in done.stdout.partition("example")[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_prose_of_a_help_is_as_wide_as_the_terminal(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    with pytest.raises(SystemExit):
        main([command, "--help"])
    prose = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    assert max(map(len, prose)) <= 60


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("nonsense", "gcma: 'nonsense' is not known"),
        ("chek x.dts", "gcma: 'chek' is not known, did you mean check?"),
        ("--versoin", "gcma: '--versoin' is not known, did you mean --version?"),
        ("test", "gcma test: the following arguments are required: BOARD.dts"),
        ("test x.dts --nonsense", "gcma test: '--nonsense' is not known"),
        ("check --formt=json x", "gcma check: '--formt=json' is not known, did you mean --format?"),
        ("prove a.dts b.dts", "gcma prove: 'b.dts' is not known"),
        ("size x --seed -1", "gcma size: argument --seed: expected a number of 0 or more, saw '-1'"),
        ("replay x --pins n", "gcma replay: argument --pins: expected a number of 0 or more, saw 'n'"),
    ],
)
def test_usage(arguments: str, said: str) -> None:
    done = run(*arguments.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{said}; see {said.partition(':')[0]} --help\n"


@pytest.mark.parametrize("words", ["--early", "--kernel 6.12"])
def test_an_option_that_would_do_nothing(words: str) -> None:
    done = run("check", *words.split(), "x.dts")
    said = f"gcma check: {words.split()[0]} belongs to --against-linux, which is not given\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_too_little_memory_is_one_sentence() -> None:
    code = """
import sys, gcma.test
from gcma.cli import main
def run(options):
    raise MemoryError
gcma.test.run = run
sys.exit(main(["test", "board.dts"]))
"""
    done = run(code=code)
    said = "gcma test: there is not enough memory for this\n"
    assert (done.returncode, done.stderr) == (2, said)


@pytest.mark.parametrize("command", ["check", "test", "boot", "prove"])
def test_no_such_file(command: str) -> None:
    done = run(command, "/nowhere/board.dts")
    assert done.returncode == 2
    assert "/nowhere/board.dts" in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("exception", "status", "said"),
    [
        ("KeyboardInterrupt()", 130, "gcma: interrupted\n"),
        ("BrokenPipeError()", 141, ""),
        ("OSError(2, 'No such file', 'a.dts')", 2, "gcma test: a.dts: No such file\n"),
        ("OSError(28, 'No space left on device')", 2, "gcma test: No space left on device\n"),
        ("board.BoardError('a sentence')", 2, "gcma test: a sentence\n"),
        ("allocator.AllocatorError('a sentence')", 2, "gcma test: a sentence\n"),
        ("dts.DtsError('a sentence')", 2, "gcma test: a sentence\n"),
        ("guest.GuestError('a sentence')", 2, "gcma test: a sentence\n"),
    ],
)  # fmt: skip
def test_whatever_goes_wrong_is_one_sentence(exception: str, status: int, said: str) -> None:
    code = f"""
import sys, allocator, board, dts, guest, gcma.test
from gcma.cli import main
def run(options):
    raise {exception}
gcma.test.run = run
sys.exit(main(["test", "board.dts"]))
"""
    done = run(code=code)
    assert (done.returncode, done.stderr) == (status, said)


def test_a_name_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "a\x1b[31m\x7f\u202eb"]) == 2
    assert capsys.readouterr().err.startswith("gcma replay: a\\x1b[31m\\x7f\\x202eb: no such file, ")


@pytest.mark.parametrize(
    ("terminal", "no_color", "option", "colored"),
    [
        (True, None, False, True),
        (True, "", False, True),
        (True, "1", False, False),
        (True, None, True, False),
        (False, None, False, False),
    ],
)
def test_colours(
    terminal: bool, no_color: str | None, option: bool, colored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gcma.test import wants_color

    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    assert wants_color(argparse.Namespace(no_color=option)) is colored


def test_a_launch_error_shows_the_evidence() -> None:
    code = """
import sys, board, gcma.test
from gcma.cli import main
def run(options):
    raise board.LaunchError("QEMU ended", command="qemu -M x", serial="hello", stderr="no such machine")
gcma.test.run = run
sys.exit(main(["test", "board.dts"]))
"""
    done = run(code=code)
    assert done.returncode == 2
    assert done.stderr == (
        "gcma test: QEMU ended\n--- serial\nhello\n--- stderr\nno such machine\n--- command\nqemu -M x\n"
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("arguments", [["test", "--list", "x"], ["test", "/nowhere"]])
def test_closed_streams(closed: str, arguments: list[str]) -> None:
    gcma = [sys.executable, "-m", "gcma", *arguments]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *gcma],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == (0 if "--list" in arguments else 2), done.stderr
    assert "Traceback" not in done.stderr


def test_our_own_mistakes_are_not_hidden() -> None:
    code = """
import sys, gcma.test
from gcma.cli import main
def run(options):
    raise ZeroDivisionError
gcma.test.run = run
sys.exit(main(["test", "board.dts"]))
"""
    done = run(code=code)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize(
    "arguments", ["['--help']", "['--version']", "['test', '--help']", "['check', '--help']"]
)
def test_help_imports_nothing_heavy(arguments: str) -> None:
    code = f"""
import sys
from gcma.cli import main
try:
    main({arguments})
except SystemExit:
    pass
heavy = {{"numpy", "numba", "PIL", "rich", "asyncio", "pexpect", "matplotlib", "pyfdt"}}
print("heavy:", sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
    assert "heavy: []" in run(code=code).stderr
