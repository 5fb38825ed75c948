"""The binding, as the real dt-validate applies it to pairs of boards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import dts
from dts.source import compile_source

BINDINGS = Path(dts.__file__).parent / "bindings"
BOARDS = Path(__file__).parent / "bindings"
TOOL = "import sys; from dtschema.{0} import main; sys.exit(main())"


def dtschema(module: str, *words: str | Path) -> str:
    """What a tool of dt-schema says, but for its remark that our schema takes the place of its own."""
    command = [sys.executable, "-c", TOOL.format(module), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    said = (done.stdout + done.stderr).splitlines()
    return "\n".join(line for line in said if "ignoring duplicate '$id'" not in line)


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """All boards, compiled."""
    folder = tmp_path_factory.mktemp("blobs")
    out = []
    for source in sorted(BOARDS.glob("*.dts")):
        out.append(folder / f"{source.stem}.dtb")
        out[-1].write_bytes(compile_source(source.read_bytes(), str(source)))
    return out


def complained(blobs: list[Path], *options: str | Path) -> set[str]:
    """The boards that dt-validate finds fault with."""
    said = dtschema("dtb_validate", *options, "-l", "reserved-memory", *blobs)
    return {path.stem for path in blobs if f"{path}: " in said}


@pytest.mark.parametrize("schema", sorted(BINDINGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_the_schemas_are_sound(schema: Path) -> None:
    assert dtschema("doc_validate", schema) == ""


def test_each_board_is_accepted_or_refused_as_its_name_says(blobs: list[Path]) -> None:
    assert complained(blobs, "-s", BINDINGS) == {path.stem for path in blobs if path.stem.endswith("-fail")}


def test_the_published_schema_alone_refuses_the_flag(blobs: list[Path]) -> None:
    found = complained(blobs)
    assert {"guaranteed-dynamic-pass", "guaranteed-static-pass", "guarantee-pass"} <= found
    assert {"plain-pass", "coherent-pass", "restricted-pass"}.isdisjoint(found)


def test_our_boards_are_accepted(tmp_path: Path) -> None:
    boards = []
    for source in sorted((BINDINGS.parent / "boards").glob("*.dts")):
        boards.append(tmp_path / f"{source.stem}.dtb")
        boards[-1].write_bytes(compile_source(source.read_bytes(), str(source)))
    assert boards
    assert complained(boards, "-s", BINDINGS) == set()
