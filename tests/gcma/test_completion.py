"""Tab completion, as the shells themselves see it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from gcma.cli import COMMANDS, full_parser, main
from gcma.completion import SHELLS, parsers, script


def complete_in_bash(tmp_path: Path, *words: str) -> set[str]:
    """What bash would offer after these words; the last is being typed."""
    (tmp_path / "gcma.bash").write_text(script("bash"))
    (tmp_path / "board.dts").touch()
    line = " ".join(words)
    program = (
        f"source ./gcma.bash; COMP_WORDS=({line}{' ' + repr('') if words[-1] == '' else ''}); "
        f"COMP_CWORD={len(words) - 1}; _shtab_gcma; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    run = subprocess.run(
        ["bash", "--norc", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(run.stdout.split())


def test_commands(tmp_path: Path) -> None:
    assert complete_in_bash(tmp_path, "gcma", "bo") == {"boot"}
    assert set(parsers(full_parser())) == set(COMMANDS)
    assert complete_in_bash(tmp_path, "gcma", "") >= set(COMMANDS)


def test_options_and_choices(tmp_path: Path) -> None:
    assert complete_in_bash(tmp_path, "gcma", "check", "--for") == {"--format"}
    assert complete_in_bash(tmp_path, "gcma", "check", "--format", "s") == {"sarif"}
    assert complete_in_bash(tmp_path, "gcma", "test", "--junit", "bo") == {"board.dts"}
    assert complete_in_bash(tmp_path, "gcma", "completion", "f") == {"fish"}


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_are_whole(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert text.endswith("\n")
    for command in COMMANDS:
        assert command in text
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here to read it")
    path = tmp_path / "script"
    path.write_text(text)
    option = "--no-execute" if shell == "fish" else "-n"
    subprocess.run([shell, option, str(path)], check=True, timeout=60)


def test_another_shell(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["completion", "tcsh"])
    assert ended.value.code == 2
    assert "invalid choice: 'tcsh'" in capsys.readouterr().err
