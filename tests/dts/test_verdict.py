"""The verdict as a whole: placement, areas, architectures, overlaps, and what the caller knows."""

from __future__ import annotations

import pytest

import dts
from dts.source import compile_source
from dts.verdict import MAX_OVERLAPS, overlapping

MIB = 1 << 20
CMA = 'compatible = "shared-dma-pool"; reusable;'
BOARD = """/dts-v1/; / {{ #address-cells = <2>; #size-cells = <1>; {more}
	memory@0 {{ device_type = "memory"; reg = <0 0 0x3c000000>, <0 0x40000000 0x40000000>; }};
	reserved-memory {{ #address-cells = <2>; #size-cells = <1>; ranges; {nodes} }}; }};"""


def examine(nodes: str, more: str = "", **assumed: object) -> dts.Verdict:
    text = BOARD.format(nodes=nodes, more=more)
    tree = dts.read_blob(compile_source(text.encode(), "board.dts"), "board.dts")
    return dts.examine(tree, dts.Assumptions(**assumed))  # type: ignore[arg-type]


def placed(nodes: str, **assumed: object) -> dict[str, int | None]:
    regions = examine(nodes, **assumed).regions.values()
    return {region.name: None if region.placed is None else region.placed.base for region in regions}


LOW = "alloc-ranges = <0 0 0x40000000>;"


def test_dynamic_regions_go_from_the_top_down_around_static_ones() -> None:
    nodes = (
        f"fw@3b000000 {{ no-map; reg = <0 0x3b000000 0x1000000>; }}; a {{ {CMA} size = <0x400000>; {LOW} }}; "
    )
    nodes += f"b {{ {CMA} size = <0x400000>; {LOW} }}; c {{ size = <0x1000>; }};"
    assert placed(nodes) == {"fw@3b000000": None, "a": 0x3AC00000, "b": 0x3A800000, "c": 0x7FFFF000}


def test_a_static_region_behind_a_dynamic_one_is_kept_clear() -> None:
    nodes = f"a {{ {CMA} size = <0x400000>; {LOW} }}; fw@3b000000 {{ reg = <0 0x3b000000 0x1000000>; }};"
    assert placed(nodes)["a"] == 0x3AC00000


def test_the_ranges_are_tried_in_order() -> None:
    ranges = "alloc-ranges = <0 0x3c000000 0x4000000>, <0 0x10000000 0x1000000>, <0 0 0x40000000>;"
    assert placed(f"a {{ {CMA} size = <0x400000>; {ranges} }};")["a"] == 0x10C00000


def test_a_range_of_nothing_means_anywhere() -> None:
    """End = start + size = 0 is MEMBLOCK_ALLOC_ANYWHERE to the kernel."""
    assert placed(f"a {{ {CMA} size = <0x400000>; alloc-ranges = <0 0 0>; }};")["a"] == 0x7FC00000


def test_page_0_is_never_given_out() -> None:
    assert placed(f"a {{ {CMA} size = <0x400000>; alloc-ranges = <0 0 0x400000>; }};")["a"] is None
    assert placed("a { size = <0x1000>; alloc-ranges = <0 0 0x2000>; };")["a"] == 0x1000


def test_a_failed_region_gives_its_place_to_the_next() -> None:
    nodes = f"a {{ {CMA} size = <0x500000>; {LOW} }}; b {{ {CMA} size = <0x400000>; {LOW} }};"
    assert placed(nodes) == {"a": None, "b": 0x3BC00000}


def test_memreserve_does_not_keep_dynamic_regions_away() -> None:
    """The kernel reserves its entries after it has placed them."""
    text = BOARD.format(nodes=f"a {{ {CMA} size = <0x400000>; {LOW} }};", more="")
    text = text.replace("/dts-v1/;", "/dts-v1/; /memreserve/ 0x3bf00000 0x100000;")
    verdict = dts.examine(dts.read_blob(compile_source(text.encode(), "board.dts"), "board.dts"))
    assert verdict.regions["/reserved-memory/a"].placed == dts.Range(0x3BC00000, 4 * MIB)
    assert [finding.code for finding in verdict.findings] == ["memreserve-overlap"]


def test_what_the_caller_knows_changes_the_place() -> None:
    nodes = f"a {{ {CMA} size = <0x400000>; {LOW} }};"
    assert placed(nodes, memory=(dts.Range(0, 0x20000000),))["a"] == 0x1FC00000
    occupied = (dts.Range(0x3BFFF000, 0x1000), dts.Range(0x200000, 0x800000))
    assert placed(nodes, occupied=occupied)["a"] == 0x3BA00000


def test_a_static_area_over_the_kernel_is_an_error_where_its_place_is_known() -> None:
    nodes = f"a@200000 {{ {CMA} reg = <0 0x200000 0x400000>; }};"
    assert examine(nodes).ok
    verdict = examine(nodes, occupied=(dts.Range(0x200000, 0x1600000),))
    assert [(finding.code, finding.message) for finding in verdict.findings] == [
        (
            "occupied-overlap",
            "a@200000: 0x200000..0x5fffff shares memory with memory that is loaded before boot, "
            "0x200000..0x17fffff; "
            "move the region.",
        )
    ]


def test_dynamic_areas_take_the_slots_before_static_ones() -> None:
    nodes = f"a@20000000 {{ {CMA} reg = <0 0x20000000 0x400000>; }}; b {{ {CMA} size = <0x400000>; }};"
    states = {region.name: region.state.value for region in examine(nodes, cma_areas=1).regions.values()}
    assert states == {"a@20000000": "rejected-freed", "b": "dynamic"}


@pytest.mark.parametrize(
    ("cpu", "arch"),
    [
        ("arm,cortex-a72", dts.Arch.ARM64),
        ("arm,cortex-a53", dts.Arch.ARM64),
        ("arm,cortex-a7", dts.Arch.ARM),
        ("arm,cortex-a78", dts.Arch.ARM64),
        ("arm,arm1176jzf-s", dts.Arch.ARM),
        ("arm,cortex-a5", dts.Arch.ARM),
        ("arm,cortex-a55", dts.Arch.ARM64),
        ("qcom,kryo", dts.Arch.ARM64),
        ("qcom,krait", dts.Arch.ARM),
    ],
)
def test_the_cpu_tells_the_architecture(cpu: str, arch: dts.Arch) -> None:
    more = (
        f'cpus {{ #address-cells = <1>; #size-cells = <0>; cpu@0 {{ compatible = "{cpu}"; reg = <0>; }}; }};'
    )
    nodes = f"a {{ {CMA} size = <0x600000>; }};"
    verdict = examine(nodes, more)
    assert verdict.arch is arch
    # 6 MiB lies on arm64's grid of 2 MiB, and not on arm's of 4 MiB
    assert verdict.regions["/reserved-memory/a"].state.value == (
        "dynamic" if arch is dts.Arch.ARM64 else "rejected-freed"
    )
    assert examine(nodes, more, arch=dts.Arch.ARM64).arch is dts.Arch.ARM64


def test_the_page_size_sets_the_grid() -> None:
    nodes = f"a {{ {CMA} size = <0x2000000>; }};"
    states = {
        size: examine(nodes, page_size=size).regions["/reserved-memory/a"].state.value
        for size in (4096, 16384, 65536)
    }
    assert states == {4096: "dynamic", 16384: "dynamic", 65536: "rejected-freed"}


def test_all_pairs_overlap_not_neighbours_only() -> None:
    nodes = "a@1000000 { reg = <0 0x1000000 0x1000000>; }; b@1100000 { reg = <0 0x1100000 0x1000>; }; "
    nodes += "c@1200000 { reg = <0 0x1200000 0x1000>; }; d@3000000 { reg = <0 0x3000000 0x1000>; };"
    pairs = [(one.rpartition("/")[2], two.rpartition("/")[2]) for one, two in examine(nodes).overlaps]
    assert pairs == [("a@1000000", "b@1100000"), ("a@1000000", "c@1200000")]


def test_the_number_of_pairs_is_bounded() -> None:
    region = next(iter(examine("a@1000000 { reg = <0 0x1000000 0x1000000>; };").regions.values()))
    assert len(overlapping([region] * 1000)) == MAX_OVERLAPS


def test_disabled_regions_and_devices_are_left_alone() -> None:
    nodes = f'a: a@1000 {{ {CMA} reg = <0 0x1000 0>; status = "disabled"; }};'
    more = 'camera { memory-region = <&a>, <0x99>; status = "disabled"; };'
    verdict = examine(nodes, more)
    assert verdict.findings == ()
    assert verdict.consumers["/camera"].regions == ("/reserved-memory/a@1000", None)
    assert not verdict.consumers["/camera"].available


def test_guarantee_in_either_spelling_is_one_flag() -> None:
    for words in ("guaranteed;", "guarantee;", "guaranteed; guarantee;"):
        region = examine(f"a {{ {CMA} {words} size = <0x400000>; }};").regions["/reserved-memory/a"]
        assert region.guaranteed
        assert region.flags == ("reusable", "guaranteed")


def test_bootargs_with_cma_are_pointed_out() -> None:
    more = 'chosen { bootargs = "console=ttyAMA0 cma=64M"; };'
    verdict = examine(f"a {{ {CMA} linux,cma-default; size = <0x400000>; }};", more)
    assert [(finding.code, finding.severity.value) for finding in verdict.findings] == [
        ("default-cmdline", "warning")
    ]
    assert verdict.regions["/reserved-memory/a"].default


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"page_size": 8192}, "page size: 4096, 16384 or 65536 bytes are possible, 8192 was given."),
        (
            {"cma_alignment": 3 * MIB},
            "CMA alignment: a power of two of at least one page (4096 bytes) is needed, 3145728 was given.",
        ),
        ({"cma_areas": -1}, "CMA areas: a number of 0 or more is needed, -1 was given."),
    ],
)
def test_impossible_assumptions_are_refused(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(dts.DtsError) as caught:
        dts.Assumptions(**wrong)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_trees_beyond_any_board_are_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is judged is bounded, so that a hostile tree costs bounded memory."""
    monkeypatch.setattr("dts.reserved.MAX_CHILDREN", 10)
    monkeypatch.setattr("dts.consumer.MAX_CONSUMERS", 10)
    nodes = "".join(f"n{index} {{ size = <0x1000>; }};" for index in range(11))
    with pytest.raises(dts.DtsError) as caught:
        examine(nodes)
    assert str(caught.value) == (
        "board.dts: /reserved-memory should have at most 10 children to be judged and has 11; leave some out."
    )
    with pytest.raises(dts.DtsError) as caught:
        examine("", "".join(f"n{index} {{ memory-region = <1>; }};" for index in range(11)))
    assert str(caught.value) == (
        "board.dts: at most 10 nodes should have a memory-region to be judged, 11 have; leave some out."
    )


@pytest.mark.parametrize(
    ("size", "assumed", "found"),
    [
        # 2 GiB: 16 sections, whose map has 32 MiB; the kernel's own area has 64 MiB.
        (0x3C000000, {}, None),
        (0x3C000000, {"occupied": (dts.Range(0x40000000, 929 * MIB),)}, "warning"),
        (0x3C000000, {"occupied": (dts.Range(0x40000000, 928 * MIB),)}, None),
        (0x3C000000, {"occupied": (dts.Range(0x40000000, 929 * MIB),), "cma_on_cmdline": True}, None),
        (0x3C000000, {"occupied": (dts.Range(0x40000000, 960 * MIB),)}, "warning"),
        (0x3C000000, {"memory": (dts.Range(0, 0x3D000000),)}, "warning"),
        (0x3C000000, {"memory": (dts.Range(0, 0x3CE00000),)}, "error"),
        (0x3C000000, {"arch": dts.Arch.ARM, "memory": (dts.Range(0, 0x3CE00000),)}, None),
        (
            0x1C000000,
            {"memory": (dts.Range(0, 0x20000000),), "page_size": 65536, "cma_alignment": 2 * MIB},
            "warning",
        ),
    ],
)
def test_the_kernel_needs_room_for_its_map_of_pages(
    size: int, assumed: dict[str, object], found: str | None
) -> None:
    nodes = f"a@0 {{ {CMA} reg = <0 0 {size:#x}>; }};"
    findings = [each for each in examine(nodes, **assumed).findings if each.code == "kernel-room"]
    assert [each.severity.value for each in findings] == ([found] if found else [])
