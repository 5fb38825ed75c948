"""Blobs: sound, odd, damaged and hostile ones, with libfdt as the second reader."""

from __future__ import annotations

import random
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import libfdt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dts
from dts import blob
from dts.source import compile_source
from dts.tree import Oddity

END_NODE, NOP, END = (struct.pack(">I", tag) for tag in (2, 4, 9))


def begin(name: bytes) -> bytes:
    return struct.pack(">I", 1) + name + bytes(4 - len(name) % 4)


def prop(offset: int, value: bytes = b"") -> bytes:
    return struct.pack(">III", 3, len(value), offset) + value + bytes(-len(value) % 4)


def whole(structure: bytes, strings: bytes = b"", reserve: bytes = b"", version: int = 17) -> bytes:
    """A blob around a structure block."""
    reserve += bytes(16)
    at = 40 + len(reserve)
    total = at + len(structure) + len(strings)
    head = (0xD00DFEED, total, at, at + len(structure), 40, version, 16, 0, len(strings), len(structure))
    return struct.pack(">10I", *head) + reserve + structure + strings


def root(inside: bytes, strings: bytes = b"") -> bytes:
    return whole(begin(b"") + inside + END_NODE + END, strings)


Flat = list[tuple[int, str, list[tuple[str, bytes]]]]


def by_libfdt(data: bytes) -> Flat:
    """All nodes as libfdt walks them: depth, name, properties."""
    fdt = libfdt.Fdt(data)
    quiet = (libfdt.NOTFOUND,)
    out: Flat = []
    offset, depth = 0, 0
    while offset >= 0 and depth >= 0:
        properties = []
        at = fdt.first_property_offset(offset, quiet)
        while at >= 0:
            item = fdt.get_property_by_offset(at)
            properties.append((item.name, bytes(item)))
            at = fdt.next_property_offset(at, quiet)
        name = fdt.get_name(offset).encode("utf-8", "surrogateescape").decode("latin-1")
        out.append((depth, name, properties))
        offset, depth = fdt.next_node(offset, depth, quiet)
    return out


def by_us(tree: dts.Tree) -> Flat:
    out: Flat = []

    def add(node: dts.Node, depth: int) -> None:
        out.append((depth, node.name, list(node.properties.items())))
        for child in node.children:
            add(child, depth + 1)

    add(tree.root, 0)
    return out


def libfdt_accepts(data: bytes) -> bool:
    """Whether libfdt's full check passes, and it finds a root node, as every reader needs."""
    if libfdt.fdt_check_full(bytearray(data), len(data)) != 0:
        return False
    try:
        libfdt.Fdt(data).get_name(0)
    except libfdt.FdtException:
        return False
    return True


def judge(data: bytes) -> str:
    """Read and examine; what was said. Anything but a :class:`~dts.DtsError` fails the test."""
    try:
        tree = dts.read_blob(data, "x.dtb")
    except dts.BlobError as error:
        message = str(error)
        assert message.startswith("x.dtb: ")
        assert message.endswith("; rebuild the blob with dtc.")
        return "refused"
    verdict = dts.examine(tree)
    assert all(finding.message for finding in verdict.findings)
    return "read"


@pytest.fixture(scope="module")
def board() -> bytes:
    path = Path(dts.__file__).parent / "boards" / "rpi-4-b.dts"
    return compile_source(path.read_bytes(), str(path))


# Random trees.

NAMES = st.text("abcdefgh0123456789,._+-@#", min_size=1, max_size=12)
VALUES = st.binary(max_size=24) | st.sampled_from([b"okay\0", b"a\0b\0", b"\0\0\0\1", b"\xff", b""])


@st.composite
def trees(draw: st.DrawFn, depth: int = 3) -> tuple[dict[str, bytes], dict[str, Any]]:
    properties = draw(st.dictionaries(NAMES, VALUES, max_size=4))
    children = draw(st.dictionaries(NAMES, trees(depth - 1), max_size=3)) if depth else {}
    return properties, children


def encoded(tree: tuple[dict[str, bytes], dict[str, Any]], version: int, nops: random.Random) -> bytes:
    strings = bytearray()

    def offset(name: str) -> int:
        strings.extend(name.encode() + b"\0")
        return len(strings) - len(name) - 1

    def node(name: str, content: tuple[dict[str, bytes], dict[str, Any]]) -> Iterator[bytes]:
        yield begin(name.encode())
        for label, value in content[0].items():
            yield NOP * nops.choice((0, 0, 0, 1, 2))
            yield prop(offset(label), value)
        for label, child in content[1].items():
            yield NOP * nops.choice((0, 0, 1))
            yield from node(label, child)
        yield END_NODE

    structure = b"".join(node("", tree)) + END
    return whole(structure, bytes(strings), version=version)


@given(trees(), st.sampled_from([17, 17, 16, 18]), st.integers(0, 1 << 32))
def test_random_trees_read_as_libfdt_reads_them(tree: Any, version: int, seed: int) -> None:
    data = encoded(tree, version, random.Random(seed))
    assert libfdt_accepts(data)
    read = dts.read_blob(data, "x.dtb")
    assert by_us(read) == by_libfdt(data)
    assert by_us(dts.read_blob(dts.flatten(read), "x.dtb")) == by_us(read)
    assert libfdt_accepts(dts.flatten(read))


@given(st.binary(max_size=200))
def test_bytes_are_refused_or_read(data: bytes) -> None:
    judge(data)
    judge(blob.MAGIC + data)


@given(
    st.lists(
        st.sampled_from([b"\0\0\0\1", b"\0\0\0\2", b"\0\0\0\3", NOP, END, b"a\0\0\0", bytes(4)]), max_size=24
    )
)
@settings(max_examples=400)
def test_tags_in_any_order_are_taken_as_libfdt_takes_them(words: list[bytes]) -> None:
    data = whole(begin(b"") + b"".join(words), b"a\0")
    says = judge(data)
    assert (says == "read") == libfdt_accepts(data)
    if says == "read":
        tree = dts.read_blob(data, "x.dtb")
        if not tree.oddities:
            assert by_us(tree) == by_libfdt(data)


# Real bytes, damaged.


def test_every_truncation_is_refused(board: bytes) -> None:
    for length in range(len(board)):
        assert judge(board[:length]) == "refused", length


def test_every_truncation_with_a_matching_header_is_taken_as_libfdt_takes_it(board: bytes) -> None:
    """The header tells the shorter length, so the blocks themselves are cut."""
    for length in range(40, len(board), 3):
        data = board[:4] + struct.pack(">I", length) + board[8:length]
        assert (judge(data) == "read") == libfdt_accepts(data), length


def _flipped(board: bytes, bits: Iterator[int]) -> None:
    for bit in bits:
        data = bytearray(board)
        data[bit // 8] ^= 1 << bit % 8
        assert (judge(bytes(data)) == "read") == libfdt_accepts(bytes(data)), bit


def test_flipped_bits_are_taken_as_libfdt_takes_them(board: bytes) -> None:
    rnd = random.Random(20261123)
    body = (8 * byte + rnd.randrange(8) for byte in range(40, len(board), 2))
    _flipped(board, iter([*range(320), *body]))


@pytest.mark.nightly
def test_every_flipped_bit_is_taken_as_libfdt_takes_it(board: bytes) -> None:
    _flipped(board, iter(range(8 * len(board))))


def test_replaced_tags_are_taken_as_libfdt_takes_them(board: bytes) -> None:
    rnd = random.Random(7)
    at, size = struct.unpack_from(">I", board, 8)[0], struct.unpack_from(">I", board, 36)[0]
    for _ in range(1500):
        data = bytearray(board)
        for _ in range(rnd.choice((1, 2, 3))):
            where = at + 4 * rnd.randrange(size // 4)
            data[where : where + 4] = struct.pack(">I", rnd.choice((0, 1, 2, 3, 4, 9, 5, 0x7FFFFFFF)))
        assert (judge(bytes(data)) == "read") == libfdt_accepts(bytes(data))


def test_a_board_reads_as_libfdt_reads_it_and_writes_back(board: bytes) -> None:
    tree = dts.read_blob(board, "x.dtb")
    assert by_us(tree) == by_libfdt(board)
    assert by_libfdt(dts.flatten(tree)) == by_libfdt(board)
    assert dts.read_blob(dts.flatten(tree), "x.dtb").memreserve == tree.memreserve == (dts.Range(0, 4096),)


@pytest.mark.parametrize("version", [3, 16, 17])
def test_old_versions_read_alike(version: int, tmp_path: Path, board: bytes) -> None:
    from dts import tool

    old = tool.run(["dtc", "-q", "-I", "dtb", "-O", "dtb", "-V", str(version), "-"], board, "", "x.dtb")
    read = by_us(dts.read_blob(old, "x.dtb"))
    if version < 16:  # there every node has its name as a property, too
        assert all(dict(properties).pop("name") is not None for _, _, properties in read)
        read = [(depth, name, [item for item in items if item[0] != "name"]) for depth, name, items in read]
    assert read == by_libfdt(board)


# What each refusal says.

P = b"a\0b\0"
REFUSED = {
    "no magic": (b"\0" * 64, "a devicetree blob begins with d00dfeed, this one with 00000000"),
    "empty": (b"", "a devicetree blob begins with d00dfeed, this one with nothing"),
    "short header": (blob.MAGIC + bytes(8), "a devicetree header has at least 28 bytes, the file has 12"),
    "version 1": (
        whole(begin(b"") + END_NODE + END, version=1),
        "versions 2 to 17 can be read, this blob has version 1, compatible back to 16",
    ),
    "cut short": (
        root(b"")[:-1],
        "the header claims 72 bytes and the file has 71 (it may be cut short)",
    ),
    "no end": (whole(begin(b"") + END_NODE), "the structure block ends at 0x44 before its FDT_END tag"),
    "open node": (whole(begin(b"") + END), "FDT_END at 0x40 leaves 1 nodes open"),
    "no root": (whole(END), "there is no root node"),
    "two roots": (
        whole((begin(b"") + END_NODE) * 2 + END),
        "a second root node begins at 0x44",
    ),
    "extra end": (whole(begin(b"") + END_NODE * 2 + END), "a node ends at 0x44 where none is open"),
    "named root": (
        whole(begin(b"abc") + END_NODE + END),
        "the root node has no name, here it is called 'abc'",
    ),
    "NOP before the root": (
        whole(NOP + begin(b"") + END_NODE + END),
        "only FDT_END may stand outside of the root node, there is a NOP tag at 0x38",
    ),
    "property outside": (
        whole(begin(b"") + END_NODE + prop(0) + END, P),
        "the property at 0x44 stands outside of any node",
    ),
    "unknown tag": (root(b"\0\0\0\5"), "the tag 0x5 at 0x40 is none of the five that exist"),
    "name outside": (root(prop(99), P), "the property at 0x40 has a name that its block does not hold"),
    "long value": (
        root(prop(0)[:4] + struct.pack(">II", 1 << 20, 0), P),
        "the property at 0x40 claims 1048576 bytes, more than its block has",
    ),
    "endless name": (
        whole(begin(b"") + struct.pack(">I", 1) + b"aaaa"),
        "the node at 0x40 has a name that its block does not hold",
    ),
    "10,000 levels": (
        root(begin(b"a") * 10_000 + END_NODE * 10_000),
        "nodes may nest 2048 levels deep (the kernel keeps 64), the node at 0x4038 lies deeper",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_say_what_was_expected_and_seen(case: str) -> None:
    data, message = REFUSED[case]
    with pytest.raises(dts.BlobError) as caught:
        dts.read_blob(data, "x.dtb")
    assert str(caught.value) == f"x.dtb: {message}; rebuild the blob with dtc."


# What is odd and yet read.


def findings(data: bytes) -> list[tuple[str, str]]:
    verdict = dts.examine(dts.read_blob(data, "x.dtb"))
    return [(finding.code, finding.message) for finding in verdict.findings if finding.kernel]


CELLS = b"#address-cells\0#size-cells\0"
ROOT = prop(0, b"\0\0\0\2") + prop(15, b"\0\0\0\1")
QUIET = begin(b"reserved-memory") + ROOT + prop(27) + END_NODE


def test_the_first_of_two_properties_counts() -> None:
    data = root(ROOT + prop(34, b"1\0") + prop(34, b"2\0") + QUIET, CELLS + b"ranges\0m\0")
    assert dts.read_blob(data, "x.dtb").root.properties["m"] == b"1\0"
    message = "/: it has a second property 'm', which no reader sees; leave one of them out."
    assert findings(data) == [("duplicate-property", message)]


def test_the_first_of_two_nodes_is_found() -> None:
    twin = begin(b"a") + END_NODE
    data = root(ROOT + twin + twin + QUIET, CELLS + b"ranges\0")
    assert [child.name for child in dts.read_blob(data, "x.dtb").root.children] == [
        "a",
        "a",
        "reserved-memory",
    ]
    message = "/: it has a second child 'a', which no path and no lookup finds; give it another name."
    assert findings(data) == [("duplicate-node", message)]


def test_a_property_behind_a_child_is_not_seen() -> None:
    data = root(ROOT + QUIET + prop(34, b"1\0"), CELLS + b"ranges\0m\0")
    assert "m" not in dts.read_blob(data, "x.dtb").root.properties
    assert by_us(dts.read_blob(data, "x.dtb")) == by_libfdt(data)
    assert findings(data) == [
        (
            "late-property",
            "/: the property 'm' stands behind a child node, where no reader sees it; "
            "write properties before child nodes, or rebuild the blob with dtc.",
        )
    ]


def test_a_subnode_may_have_the_name_of_a_property() -> None:
    data = root(ROOT + prop(34, b"1\0") + begin(b"m") + END_NODE + QUIET, CELLS + b"ranges\0m\0")
    tree = dts.read_blob(data, "x.dtb")
    assert tree.root.properties["m"] == b"1\0"
    assert tree.find("/m") is not None
    assert findings(data) == []


def test_a_misaligned_block_is_read_and_reported() -> None:
    sound = root(ROOT + QUIET, CELLS + b"ranges\0")
    at = struct.unpack_from(">I", sound, 8)[0]
    head = list(struct.unpack_from(">10I", sound))
    head[1], head[2], head[3] = head[1] + 1, head[2] + 1, head[3] + 1
    data = struct.pack(">10I", *head) + sound[40:at] + b"\0" + sound[at:]
    assert by_us(dts.read_blob(data, "x.dtb")) == by_us(dts.read_blob(sound, "x.dtb"))
    assert findings(data) == [
        (
            "blob-misaligned",
            "x.dtb: the structure block does not start on its alignment, and the kernel refuses the blob; "
            "rebuild the blob with dtc.",
        )
    ]


def test_names_of_any_bytes_read_as_latin_1() -> None:
    data = root(begin(b"caf\xe9") + prop(0, b"1") + END_NODE, b"\xfc\0")
    assert by_us(dts.read_blob(data, "x.dtb"))[1] == (1, "café", [("ü", b"1")])


def test_every_oddity_has_a_rule() -> None:
    from dts.rules import RULES

    assert {oddity.name.lower().replace("_", "-") for oddity in Oddity} <= {
        code.removeprefix("blob-") for code in RULES
    }


# Large ones.


def _calls(data: bytes) -> int:
    """How many calls reading it takes: work that another busy process does not change."""
    count = 0

    def on_event(_: FrameType, event: str, __: object) -> None:
        nonlocal count
        count += event.endswith("call")

    sys.setprofile(on_event)
    try:
        assert judge(data) == "read"
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    "blob",
    [
        lambda count: root(b"".join(begin(b"n%d" % index) + END_NODE for index in range(count))),
        lambda count: root(
            b"".join(prop(8 * index) for index in range(count)),
            b"".join(b"p%06d\0" % index for index in range(count)),
        ),
        lambda count: root(NOP * count),
    ],
    ids=["siblings", "properties", "nops"],
)
def test_work_is_linear(blob: Callable[[int], bytes]) -> None:
    """Pyfdt's own tree is quadratic in all three; 100,000 siblings never end there."""
    few, many = blob(500), blob(5000)
    _calls(few)  # imports
    assert _calls(many) < 11 * _calls(few) + 1000


def test_a_million_nops_are_left_out() -> None:
    assert judge(root(NOP * 1_000_000)) == "read"


def test_levels_below_the_kernels_are_reported_not_followed() -> None:
    data = root(ROOT + QUIET + begin(b"a") * 2000 + END_NODE * 2000, CELLS + b"ranges\0")
    assert [code for code, _ in findings(data)] == ["nesting"]
    tree = dts.read_blob(data, "x.dtb")
    with pytest.raises(dts.NodeError, match="a blob for the kernel nests at most 64 levels; flatten less"):
        dts.flatten(tree)
