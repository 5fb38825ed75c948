"""Where results go: what cannot be written is said before the work, and nothing is left behind."""

from pathlib import Path

import pytest

from gcma.cli import main
from gcma.output import claim, claim_folder, write_json, write_text


def test_a_claim_changes_nothing_and_leaves_nothing(tmp_path):
    new, old = tmp_path / "new", tmp_path / "old"
    old.write_text("kept")
    claim(str(new), str(old), None, "-")
    assert not new.exists()
    assert old.read_text() == "kept"


def test_text_ends_with_a_line_and_holds_any_character(tmp_path):
    path = tmp_path / "file"
    write_text("a\udcff", str(path))
    assert path.read_text() == "a\\udcff\n"
    write_text("", str(path))
    assert path.read_text() == ""


def test_a_dash_is_standard_output(capsys):
    write_json({"a": 1}, "-", indent=None)
    assert capsys.readouterr().out == '{"a": 1}\n'


def test_a_full_disk_is_named(capsys):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    assert main(["replay", "camera", "--seconds", "1", "--json", "/dev/full"]) == 2
    assert capsys.readouterr().err == "gcma replay: /dev/full: No space left on device\n"


@pytest.mark.parametrize(
    ("words", "target"),
    [
        (["replay", "camera", "--seconds", "1000000", "--json"], "none/x.json"),
        (["replay", "camera", "--seconds", "1000000", "--report"], "file"),
        (["size", "camera", "--seconds", "1000000", "--json"], "none/x.json"),
        (["size", "camera", "--seconds", "1000000", "--plot"], "none/x.png"),
        (["size", "camera", "--seconds", "1000000", "--report"], "file"),
        (["explore", "--revision", "safe", "--json"], "none/x.json"),
        (["prove", "BOARD", "--trace"], "none/x.trace"),
        (["prove", "BOARD", "--certificate"], "none/x.json"),
        (["latency", "--json"], "none/x.json"),
        (["latency", "--plot"], "none/x.png"),
        (["test", "BOARD", "--report"], "file"),
    ],
)
def test_before_the_work(tmp_path, monkeypatch, capsys, words, target):
    """Each of these would take minutes."""
    import gcma

    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    board = str(gcma.boards()["rpi-3-b"])
    assert main([board if word == "BOARD" else word for word in words] + [target]) == 2
    why = "a folder is expected, this is a file" if target == "file" else "No such file or directory"
    assert capsys.readouterr().err == f"gcma {words[0]}: {target}: {why}\n"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_folder_is_made(tmp_path):
    assert claim_folder(str(tmp_path / "a" / "b")).is_dir()
