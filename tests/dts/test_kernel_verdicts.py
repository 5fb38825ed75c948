"""The verdicts of two real kernels (Linux 6.12.95 and 7.3.4, arm64, booted on QEMU's raspi4b), case by case.

Each case was booted with the nodes below in ``/reserved-memory`` and 960 MiB of RAM; the expected state is
what the kernel's log says became of each node.
"""

from __future__ import annotations

import pytest

import dts
from dts.source import compile_source

MIB = 1 << 20
POOL = 'compatible = "shared-dma-pool"; reusable;'

BOARD = """/dts-v1/;
/ {{
	#address-cells = <2>;
	#size-cells = <1>;
	memory@0 {{ device_type = "memory"; reg = <0 0 0x3c000000>; }};
	reserved-memory {{ {parent} {nodes} }};
}};
"""
PARENT = "#address-cells = <2>; #size-cells = <1>; ranges;"


def verdict(nodes: str, parent: str = PARENT, **assumed: object) -> dts.Verdict:
    blob = compile_source(BOARD.format(parent=parent, nodes=nodes).encode(), "board.dts")
    return dts.examine(dts.read_blob(blob, "board.dts"), dts.Assumptions(**assumed))  # type: ignore[arg-type]


def states(nodes: str, parent: str = PARENT, **assumed: object) -> dict[str, str]:
    regions = verdict(nodes, parent, **assumed).regions
    return {region.name: region.state.value for region in regions.values()}


CASES = {
    "01 dynamic": (f"a {{ {POOL} size = <0x10000000>; }};", {"a": "dynamic"}),
    "02 static": (f"a@20000000 {{ {POOL} reg = <0 0x20000000 0x4000000>; }};", {"a@20000000": "accepted"}),
    "03 two static overlap": (
        f"a@20000000 {{ {POOL} reg = <0 0x20000000 0x8000000>; }};"
        f"b@24000000 {{ {POOL} reg = <0 0x24000000 0x8000000>; }};",
        {"a@20000000": "accepted", "b@24000000": "accepted"},
    ),
    "04 no-map inside a pool": (
        f"a@20000000 {{ {POOL} reg = <0 0x20000000 0x8000000>; }};"
        f"b@24000000 {{ no-map; reg = <0 0x24000000 0x1000000>; }};",
        {"a@20000000": "accepted", "b@24000000": "rejected"},
    ),
    "05 static base off the grid": (
        f"a@20100000 {{ {POOL} reg = <0 0x20100000 0x4000000>; }};",
        {"a@20100000": "rejected-freed"},
    ),
    "06 static size off the grid": (
        f"a@20000000 {{ {POOL} reg = <0 0x20000000 0x4100000>; }};",
        {"a@20000000": "rejected-freed"},
    ),
    "07 dynamic size off the grid": (f"a {{ {POOL} size = <0x4100000>; }};", {"a": "rejected-freed"}),
    "08 dynamic too large": (f"a {{ {POOL} size = <0x40000000>; }};", {"a": "rejected"}),
    "09 static over the end of RAM": (
        f"a@0 {{ {POOL} reg = <0 0x20000000 0x60000000>; }};",
        {"a@0": "accepted"},
    ),
    "10 reusable and no-map": (f"a {{ {POOL} no-map; size = <0x4000000>; }};", {"a": "dynamic"}),
    "12 dynamic of size 0": (f"a {{ {POOL} size = <0>; }};", {"a": "rejected-freed"}),
    "13 static of size 0": (f"a@20000000 {{ {POOL} reg = <0 0x20000000 0>; }};", {"a@20000000": "rejected"}),
    "16 size of two cells": (f"a {{ {POOL} size = <0 0x4000000>; }};", {"a": "rejected"}),
    "17 alignment of one cell": (
        f"a {{ {POOL} size = <0x4000000>; alignment = <0x400000>; }};",
        {"a": "rejected"},
    ),
    "18 alignment 3 MiB": (
        f"a {{ {POOL} size = <0x4000000>; alignment = <0 0x300000>; }};",
        {"a": "dynamic"},
    ),
    "19 alignment 4 KiB": (f"a {{ {POOL} size = <0x4000000>; alignment = <0 0x1000>; }};", {"a": "dynamic"}),
    "20 no reusable": ('a { compatible = "shared-dma-pool"; size = <0x4000000>; };', {"a": "dynamic"}),
    "21 no compatible": ("a { reusable; size = <0x4000000>; };", {"a": "dynamic"}),
    "22 window outside RAM": (
        f"a {{ {POOL} size = <0x4000000>; alloc-ranges = <1 0 0x40000000>; }};",
        {"a": "rejected"},
    ),
    "25 two defaults": (
        f"a {{ {POOL} linux,cma-default; size = <0x4000000>; }};"
        f"b {{ {POOL} linux,cma-default; size = <0x4000000>; }};",
        {"a": "dynamic", "b": "dynamic"},
    ),
    "27 disabled": (f'a {{ {POOL} status = "disabled"; size = <0x4000000>; }};', {"a": "disabled"}),
    "28 reg with two entries": (
        f"a@20000000 {{ {POOL} reg = <0 0x20000000 0x4000000>, <0 0x28000000 0x4000000>; }};",
        {"a@20000000": "accepted"},
    ),
    "29 reg too short": (
        f"a@20000000 {{ {POOL} reg = <0x20000000 0x4000000>; }};",
        {"a@20000000": "ignored"},
    ),
    "30 neither size nor reg": (f"a {{ {POOL} }};", {"a": "ignored"}),
    "31 reg and size": (
        f"a@20000000 {{ {POOL} reg = <0 0x20000000 0x4000000>; size = <0x8000000>; }};",
        {"a@20000000": "accepted"},
    ),
    "32 window too tight for the alignment": (
        f"a {{ {POOL} size = <0x4000000>; alloc-ranges = <0 0x20100000 0x4000000>; }};",
        {"a": "rejected"},
    ),
    "33 22 areas of 20": (
        "".join(f"a{index} {{ {POOL} size = <0x200000>; }};" for index in range(22)),
        {f"a{index}": "dynamic" if index < 20 else "rejected-freed" for index in range(22)},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_states_are_the_kernels(case: str) -> None:
    nodes, expected = CASES[case]
    assert states(nodes) == expected


@pytest.mark.parametrize(
    "parent",
    [
        "#address-cells = <2>; #size-cells = <2>; ranges;",
        "#address-cells = <2>; #size-cells = <1>;",
        "#size-cells = <1>; ranges;",
    ],
    ids=["14 other cells", "15 no ranges", "cells missing"],
)
def test_a_parent_of_another_format_is_ignored_whole(parent: str) -> None:
    assert states(f"a {{ {POOL} size = <0x4000000>; }};", parent) == {"a": "ignored"}


def test_26_a_default_area_gives_way_to_the_command_line() -> None:
    nodes = f"a {{ {POOL} linux,cma-default; size = <0x4000000>; }}; b {{ {POOL} size = <0x4000000>; }};"
    assert states(nodes, cma_on_cmdline=True) == {"a": "rejected", "b": "dynamic"}


def test_dynamic_regions_are_placed_where_the_kernel_placed_them() -> None:
    # Its log: "created CMA memory pool at 0x000000002c000000, size 256 MiB", and for case 18 at 0x38000000.
    placed = verdict(f"a {{ {POOL} size = <0x10000000>; }};").regions["/reserved-memory/a"].placed
    assert placed == dts.Range(0x2C000000, 256 * MIB)
    placed = verdict(CASES["18 alignment 3 MiB"][0]).regions["/reserved-memory/a"].placed
    assert placed == dts.Range(0x38000000, 64 * MIB)


def test_25_the_last_default_area_wins() -> None:
    regions = verdict(CASES["25 two defaults"][0]).regions
    assert [region.default for region in regions.values()] == [False, True]


def test_guaranteed_needs_a_kernel_with_gcma() -> None:
    nodes = f"a {{ {POOL} guaranteed; size = <0x4000000>; }};"
    assert states(nodes) == {"a": "dynamic"}
    assert states(nodes, gcma=False) == {"a": "rejected-freed"}
