"""The walk up the dma-ranges, as of_dma_get_range() does it."""

from __future__ import annotations

import pytest

import dts
from dts.reach import Walk, zone_dma_last
from dts.source import compile_source

BUS = "#address-cells = <1>; #size-cells = <1>; ranges;"


def tree(inside: str, cells: tuple[int, int] = (2, 1)) -> dts.Tree:
    text = f"/dts-v1/; / {{ #address-cells = <{cells[0]}>; #size-cells = <{cells[1]}>; {inside} }};"
    return dts.read_blob(compile_source(text.encode(), "reach.dts"), "reach.dts")


def windows(inside: str, path: str, cells: tuple[int, int] = (2, 1)) -> list[tuple[int, int, int]]:
    """(CPU, bus, size) of each window of a device."""
    board = tree(inside, cells)
    found = dts.reach(board, board.node(path))
    return [(window.cpu, window.bus, window.size) for window in found.windows]


def test_a_raspberry_pi_4_reaches_one_gib() -> None:
    board = tree(f"soc {{ {BUS} dma-ranges = <0xc0000000 0 0 0x40000000>; camera {{ }}; }};")
    found = dts.reach(board, board.node("/soc/camera"))
    assert found.walk is Walk.FOUND
    assert found.bus is board.node("/soc")
    assert (found.cpu_limit, found.dma_limit) == (0x3FFFFFFF, 0xFFFFFFFF)
    assert found.holds(dts.Range(0x3FFFF000, 0x1000))
    assert not found.holds(dts.Range(0x3FFFF000, 0x1001))


def test_windows_with_holes_are_kept_apart() -> None:
    """As on an STM32MP15: the highest address of all says too much."""
    ranges = (
        "dma-ranges = <0x10000000 0x10000000 0x80000>, <0x38000000 0x38000000 0x10000>, "
        "<0x60000000 0x60000000 0xa0000000>;"
    )
    board = tree(f"soc {{ {BUS} {ranges} dsp {{ }}; }};", (1, 1))
    found = dts.reach(board, board.node("/soc/dsp"))
    assert len(found.windows) == 3
    assert found.cpu_limit == 0xFFFFFFFF
    assert found.holds(dts.Range(0x38000000, 0x10000))
    assert not found.holds(dts.Range(0x40000000, 0x1000))


def test_entries_that_continue_one_another_are_one_window() -> None:
    ranges = "dma-ranges = <0x0 0x40000000 0x1000>, <0x1000 0x40001000 0x1000>, <0x2000 0x50000000 0x1000>;"
    assert windows(f"soc {{ {BUS} {ranges} d {{ }}; }};", "/soc/d", (1, 1)) == [
        (0x40000000, 0, 0x2000),
        (0x50000000, 0x2000, 0x1000),
    ]


def test_two_buses_translate_one_after_the_other() -> None:
    inner = f"inner {{ {BUS} dma-ranges = <0x0 0x80000000 0x1000>; d {{ }}; }};"
    outer = f"outer {{ {BUS} dma-ranges = <0x80000000 0 0x20000000 0x100000>; {inner} }};"
    assert windows(outer, "/outer/inner/d") == [(0x20000000, 0, 0x1000)]


def test_empty_dma_ranges_pass_the_walk_on() -> None:
    inner = f"inner {{ {BUS} dma-ranges; d {{ }}; }};"
    outer = f"outer {{ {BUS} dma-ranges = <0x80000000 0 0x20000000 0x100000>; {inner} }};"
    assert windows(outer, "/outer/inner/d") == [(0x20000000, 0x80000000, 0x100000)]


def test_an_entry_that_no_bus_above_maps_is_left_out() -> None:
    inner = f"inner {{ {BUS} dma-ranges = <0x0 0x10000000 0x1000>, <0x1000 0x80001000 0x1000>; d {{ }}; }};"
    outer = f"outer {{ {BUS} dma-ranges = <0x80000000 0 0x20000000 0x100000>; {inner} }};"
    assert windows(outer, "/outer/inner/d") == [(0x20001000, 0x1000, 0x1000)]
    lost = tree(outer.replace("0x80001000", "0x10001000"))
    assert dts.reach(lost, lost.node("/outer/inner/d")).walk is Walk.UNUSABLE


@pytest.mark.parametrize(
    "inside",
    [
        f"soc {{ {BUS} d {{ }}; }};",
        f"outer {{ {BUS} dma-ranges = <0 0 0 0x1000>; soc {{ {BUS} d {{ }}; }}; }};",
    ],
    ids=["none at all", "a bus without them between"],
)
def test_the_kernel_gives_up_at_a_bus_without_dma_ranges(inside: str) -> None:
    board = tree(inside)
    device = next(node for node in board.walk() if node.name == "d")
    found = dts.reach(board, device)
    assert found.walk is Walk.GAVE_UP
    assert (found.windows, found.cpu_limit, found.dma_limit) == ((), None, None)
    assert found.holds(dts.Range(0, 1 << 64))


def test_a_root_with_empty_dma_ranges_sets_no_limit() -> None:
    board = tree(f"dma-ranges; soc {{ {BUS} dma-ranges; d {{ }}; }};")
    assert dts.reach(board, board.node("/soc/d")).walk is Walk.ROOT


def test_an_iommu_lifts_the_limit() -> None:
    board = tree(f"soc {{ {BUS} dma-ranges = <0 0 0 0x1000>; d {{ iommus = <1>; }}; }};")
    found = dts.reach(board, board.node("/soc/d"))
    assert found.iommu
    assert found.cpu_limit == 0xFFF
    assert found.holds(dts.Range(0x80000000, 0x1000))


def test_pci_has_three_address_cells_with_flags() -> None:
    pcie = (
        'pcie@0 { device_type = "pci"; #address-cells = <3>; #size-cells = <2>; ranges; '
        "dma-ranges = <0x02000000 0 0 0 0 0 0xc0000000>, <0x43000000 4 0 4 0 1 0>; nic { }; };"
    )
    assert windows(pcie, "/pcie@0/nic", (2, 2)) == [
        (0, 0, 0xC0000000),
        (0x400000000, 0x400000000, 0x100000000),
    ]


def test_dma_goes_up_through_the_interconnect_called_dma_mem() -> None:
    board = tree(
        f"""mbus: mbus {{ {BUS} #interconnect-cells = <1>; dma-ranges = <0x0 0 0x40000000 0x20000000>; }};
        soc {{ {BUS} d {{ interconnects = <&mbus 5>; interconnect-names = "dma-mem"; }};
               e {{ interconnects = <&mbus 5>; interconnect-names = "other"; }}; }};"""
    )
    assert dts.reach(board, board.node("/soc/d")).cpu_limit == 0x5FFFFFFF
    assert dts.reach(board, board.node("/soc/e")).walk is Walk.GAVE_UP


def test_a_ring_of_interconnects_has_an_end() -> None:
    name = 'interconnect-names = "dma-mem"; dma-ranges; #interconnect-cells = <0>;'
    board = tree(f"a: a {{ interconnects = <&b>; {name} }}; b: b {{ interconnects = <&a>; {name} }};")
    assert dts.reach(board, board.node("/a")).walk is Walk.GAVE_UP


def test_zone_dma_ends_at_the_narrowest_enabled_bus() -> None:
    wide = f"wide {{ {BUS} dma-ranges = <0 0 0 0x80000000>; }};"
    narrow = f"narrow {{ {BUS} dma-ranges = <0xc0000000 0 0 0x40000000>; STATUS }};"
    assert zone_dma_last(tree(wide + narrow.replace("STATUS", ""))) == 0x3FFFFFFF
    assert zone_dma_last(tree(wide + narrow.replace("STATUS", 'status = "disabled";'))) == 0x7FFFFFFF
    assert zone_dma_last(tree("")) is None


def test_too_many_entries_are_refused_in_one_sentence() -> None:
    board = tree(f"a {{ {BUS} b {{ {BUS} d {{ }}; }}; }};")
    a, b = board.node("/a"), board.node("/a/b")
    a.properties["dma-ranges"] = bytes(16) * 2000
    b.properties["dma-ranges"] = (b"\xff" * 8 + bytes(4)) * 2000
    with pytest.raises(dts.DtsError) as caught:
        dts.reach(board, board.node("/a/b/d"))
    assert str(caught.value) == (
        "reach.dts: its dma-ranges were expected to translate within 500000 steps and do not; use "
        "fewer entries."
    )
