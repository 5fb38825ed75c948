"""Nodes, and the typed readers of their properties."""

from __future__ import annotations

import pytest

import dts
from dts.source import compile_source

TEXT = b"""/dts-v1/;
/ {
	#address-cells = <2>; #size-cells = <1>;
	one = <7>; two = <0x1 0x2>; text = "okay", "more"; raw = [01 02 03]; none;
	bus: soc {
		#address-cells = <1>; #size-cells = <0>;
		a@1 { reg = <1>; };
		b { reg = <1 2 3>; compatible = "X,y", "z"; };
	};
	user { at = <&bus>; };
	range@0 { reg = <0x1 0x0 0x1000>, <0x0 0x20 0x10>; };
};
"""


@pytest.fixture
def tree() -> dts.Tree:
    return dts.read_blob(compile_source(TEXT, "t.dts"), "t.dts")


def test_readers(tree: dts.Tree) -> None:
    root = tree.root
    assert root.u32("one") == 7
    assert root.number("two", 2) == 0x1_0000_0002
    assert root.cells("two") == (1, 2)
    assert root.numbers("two", 1, 1) == ((1, 2),)
    assert root.strings("text") == ("okay", "more")
    assert root.string("text") == "okay"
    assert root.raw("raw") == b"\1\2\3"
    assert root.flag("none")
    assert not root.flag("absent")
    assert tree.node("/range@0").reg == (dts.Range(1 << 32, 0x1000), dts.Range(0x20, 0x10))
    assert tree.node("/soc/a@1").reg == (dts.Range(1, 0),)
    assert tree.node("/soc/b").is_compatible("x,Y")


REFUSALS = {
    "u32('two')": "/: 'two' should be 1 cell (4 bytes), it has 8 bytes.",
    "number('one', 2)": "/: 'one' should be 2 cells (8 bytes), it has 4 bytes.",
    "cells('raw')": "/: 'raw' should be a list of 32-bit cells, its 3 bytes are not a multiple of 4.",
    "numbers('one', 2, 1)": "/: 'one' should be a list of entries of 2+1 cells (12 bytes), it has 4 bytes.",
    "numbers('one', 0)": "/: 'one' cannot be read with entries of 0 cells.",
    "strings('one')": "/: 'one' should be a list of strings, it does not end in a NUL byte.",
    "string('none')": "/: 'none' should be a string, it has no NUL byte at its end.",
    "u32('absent')": "/: the property 'absent' is needed here and absent.",
}


@pytest.mark.parametrize("call", REFUSALS)
def test_readers_refuse_with_a_sentence(tree: dts.Tree, call: str) -> None:
    name, _, arguments = call.partition("(")
    with pytest.raises(dts.PropertyError) as caught:
        getattr(tree.root, name)(*eval(f"({arguments[:-1]},)"))
    assert str(caught.value) == REFUSALS[call]


def test_finding_nodes(tree: dts.Tree) -> None:
    assert tree.node("/soc/a@1").path == "/soc/a@1"
    assert tree.node("/") is tree.root
    assert tree.find("/soc/c") is None
    assert tree.find("soc") is None
    assert [node.path for node in tree.walk()] == ["/", "/soc", "/soc/a@1", "/soc/b", "/user", "/range@0"]
    assert [path for path, _ in tree.paths(1)] == ["/", "/soc", "/user", "/range@0"]
    assert tree.by_phandle(tree.node("/user").u32("at")) is tree.node("/soc")
    assert tree.by_phandle(99) is None
    assert [node.name for node in tree.compatible("z")] == ["b"]
    with pytest.raises(dts.NodeError) as caught:
        tree.node("/soc/c@1")
    assert str(caught.value) == "t.dts: no node '/soc/c@1'; /soc exists and has a@1, b."


def test_editing(tree: dts.Tree) -> None:
    soc = tree.node("/soc")
    new = soc.add("c@2")
    new.properties["reg"] = b"\0\0\0\2"
    soc.remove("b")
    again = dts.read_blob(dts.flatten(tree), "t.dtb")
    assert [child.name for child in again.node("/soc").children] == ["a@1", "c@2"]
    assert again.node("/soc/c@2").reg == (dts.Range(2, 0),)
    for edit, message in (
        (lambda: soc.add("c@2"), "/soc: it already has a child 'c@2'; take another name or edit that one."),
        (lambda: soc.add("a/b"), "/soc: a child needs a name without '/', got 'a/b'."),
        (lambda: soc.remove("b"), "/soc: it has no child 'b' to remove."),
    ):
        with pytest.raises(dts.NodeError) as caught:
            edit()
        assert str(caught.value) == message


STATUSES = {
    None: True,
    b"okay\0": True,
    b"ok\0": True,
    b"OKAY\0": False,
    b"disabled\0": False,
    b"reserved\0": False,
    b"\0": False,
    b"okay\0disabled\0": True,
    # without a NUL there is no string, and the kernel takes the property for absent
    b"": True,
    b"disabled": True,
}


@pytest.mark.parametrize("status", STATUSES)
def test_status_is_read_as_the_kernel_reads_it_from_the_blob(status: bytes | None) -> None:
    node = dts.Node("x")
    if status is not None:
        node.properties["status"] = status
    assert node.available is STATUSES[status]


def test_cells_are_asked_for_upwards(tree: dts.Tree) -> None:
    assert (tree.node("/user").address_cells, tree.node("/user").size_cells) == (2, 1)
    assert (dts.Node("").address_cells, dts.Node("").size_cells) == (1, 1)
