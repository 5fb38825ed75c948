"""Reading sources: includes, macros, overlays, and the places that findings point at."""

from __future__ import annotations

from pathlib import Path

import pytest

import dts
from dts import tool
from dts.place import locate

MAIN = """/dts-v1/;
#define SIZE 0x400000
#include "soc.dtsi"
/include/ "raw.dtsi"

/ {
	reserved-memory {
		/* a comment
		of two lines */
		pool: pool { reusable; size = <SIZE>; alignment = <0
			0x400000>; };
	};
};

&uart { status = "okay"; };
"""
FILES = {
    "main.dts": MAIN,
    "inc/soc.dtsi": "/ {\n\tsoc {\n\t\tuart: serial@1 {\n\t\t\treg = <1>;\n\t\t};\n\t};\n};\n",
    "raw.dtsi": '/ {\n\traw = "yes";\n};\n',
    "other.dtso": "/dts-v1/;\n/plugin/;\n\n&pool {\n\tsize = <0x800000>;\n\tnew { x; };\n};\n",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "my board"
    for name, text in FILES.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace('"soc.dtsi"', '"inc/soc.dtsi"'))
    return place


def where(tree: dts.Tree, path: str, name: str | None = None) -> str:
    place = locate(tree.sources, path, name)
    return (
        "unknown"
        if place is None
        else f"{place.file}:{place.line}:{place.column}-{place.end_line}:{place.end_column}"
    )


def test_places_are_of_the_users_files(folder: Path) -> None:
    tree = dts.load("my board/main.dts")
    assert where(tree, "/raw") == where(tree, "/")
    assert where(tree, "/", "raw") == "my board/raw.dtsi:2:2-2:13"
    assert where(tree, "/soc/serial@1", "reg") == "my board/inc/soc.dtsi:4:4-4:13"
    assert where(tree, "/soc/serial@1", "status") == "my board/main.dts:15:9-15:24"
    assert where(tree, "/reserved-memory/pool") == "my board/main.dts:10:9-10:12"
    assert where(tree, "/reserved-memory/pool", "reusable") == "my board/main.dts:10:16-10:24"
    assert where(tree, "/reserved-memory/pool", "absent") == where(tree, "/reserved-memory/pool")
    assert where(tree, "/reserved-memory/gone", "x") == where(tree, "/reserved-memory")


def test_a_macro_before_a_property_does_not_move_it(folder: Path) -> None:
    tree = dts.load("my board/main.dts")
    line = MAIN.splitlines()[9]
    place = locate(tree.sources, "/reserved-memory/pool", "alignment")
    assert place is not None
    assert (place.line, line[place.column - 1 :].split()[0]) == (10, "alignment")


def test_overlays_are_located_in_their_own_file(folder: Path) -> None:
    tree = dts.load("my board/main.dts", ["my board/other.dtso"])
    pool = tree.node("/reserved-memory/pool")
    assert pool.u32("size") == 0x800000
    assert where(tree, pool.path, "size") == "my board/other.dtso:5:2-5:19"
    assert where(tree, pool.path, "reusable").startswith("my board/main.dts:10:")
    assert where(tree, pool.path).startswith("my board/main.dts:10:")
    assert where(tree, f"{pool.path}/new", "x") == "my board/other.dtso:6:8-6:9"


def test_an_overlay_that_does_not_fit_is_named(folder: Path) -> None:
    (folder / "lost.dtso").write_text("/dts-v1/;\n/plugin/;\n&nowhere { x; };\n")
    with pytest.raises(dts.SourceError) as caught:
        dts.load("my board/main.dts", ["my board/other.dtso", "my board/lost.dtso"])
    assert str(caught.value) == (
        "my board/lost.dtso: it should apply to my board/main.dts and does not (FDT_ERR_NOTFOUND); "
        "check that the "
        "base has the labels and paths it refers to, and was built with dtc -@."
    )


def test_overlays_apply_to_blobs(folder: Path) -> None:
    from dts.source import compiled, preprocessed

    text = preprocessed((folder / "main.dts").read_bytes(), "my board/main.dts")
    (folder / "main.dtb").write_bytes(compiled(text, "my board/main.dts", symbols=True))
    overlay = preprocessed((folder / "other.dtso").read_bytes(), "o.dtso")
    (folder / "other.dtbo").write_bytes(compiled(overlay, "o.dtso", symbols=True))
    tree = dts.load(folder / "main.dtb", [folder / "other.dtbo"])
    assert tree.node("/reserved-memory/pool").u32("size") == 0x800000
    assert tree.sources == ()


def test_names_with_quotes_and_dashes_are_no_options(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for name in ("-o", '--say "hi".dts', "back\\slash.dts", "new\nline.dts"):
        Path(name).write_text("/dts-v1/;\n/ { a = <1>; };\n")
        tree = dts.load(name)
        assert tree.root.u32("a") == 1
        assert tree.name == name
    assert where(dts.load('--say "hi".dts'), "/", "a") == '--say "hi".dts:2:5-2:12'


def refused(path: str | Path, kind: type[dts.DtsError]) -> str:
    with pytest.raises(kind) as caught:
        dts.load(path)
    return str(caught.value)


def test_the_tools_complaints_are_quoted(folder: Path) -> None:
    (folder / "bad.dts").write_text("/dts-v1/;\n/ {\n\ta = ;\n};\n")
    assert refused("my board/bad.dts", dts.SourceError) == (
        "my board/bad.dts: dtc refused it: bad.dts:3.6-7 syntax error."
    )
    (folder / "lost.dts").write_text('/dts-v1/;\n#include "lost.h"\n')
    assert refused("my board/lost.dts", dts.SourceError) == (
        "my board/lost.dts: cpp refused it: lost.dts:2:10: fatal error: lost.h: No such file or directory."
    )
    (folder / "twice.dts").write_text("/dts-v1/;\n/ { a { }; b: a { }; a { x; }; };\n")
    assert "dtc refused it: " in refused("my board/twice.dts", dts.SourceError)


def test_a_missing_tool_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))
    assert refused("my board/raw.dtsi", dts.ToolError) == (
        "my board/raw.dtsi: dtc is needed to read it and was not found; install the package "
        "device-tree-compiler."
    )


def test_macros_that_explode_are_stopped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work of cpp is done by a child of its own, which must end with it."""
    monkeypatch.setattr(tool, "DEADLINE_S", 0.5)
    doubling = "".join(f"#define L{index} L{index - 1} L{index - 1}\n" for index in range(1, 30))
    (folder / "much.dts").write_text(f"#define L0 x1;\n{doubling}/dts-v1/;\n/ {{ L29 }};\n")
    assert refused("my board/much.dts", dts.DtsError).startswith("my board/much.dts: cpp ")


def test_tools_have_limits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "big.dts").write_text('/dts-v1/;\n/ { a = /incbin/("/dev/zero"); };\n')
    message = refused("my board/big.dts", dts.DtsError)
    assert message.startswith("my board/big.dts: dtc ")
    monkeypatch.setattr(tool, "DEADLINE_S", 0.2)
    (folder / "wait.dts").write_text('/dts-v1/;\n/include/ "pipe"\n')
    import os

    os.mkfifo(folder / "pipe")
    assert refused("my board/wait.dts", dts.ToolError) == (
        "my board/wait.dts: dtc was expected to end within 0 s and did not; look for an include of a "
        "pipe or a device."
    )
