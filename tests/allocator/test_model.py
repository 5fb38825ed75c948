"""Areas and devices of a whole machine, from its devicetree."""

import re
from pathlib import Path

import numpy as np
import pytest

import dts
from allocator import (
    PAGE_SIZE,
    AreaError,
    CmaAllocError,
    CmaReleaseError,
    GuaranteedArea,
    Model,
    PhysicalMemory,
    ReachError,
    from_tree,
)

MIB = 1 << 20
SOURCE = """
/dts-v1/;
/ {
    #address-cells = <1>; #size-cells = <1>;
    memory@0 { device_type = "memory"; reg = <0x0 0x80000000>; };
    reserved-memory {
        #address-cells = <1>; #size-cells = <1>; ranges;
        pool: pool@1000000 { compatible = "shared-dma-pool"; reusable; guaranteed; linux,cma-default;
                             reg = <0x1000000 0x1000000>; };
        high: high@40000000 { compatible = "shared-dma-pool"; reusable; guaranteed; reg = <0x40000000
        0x400000>; }; off: off@3000000 { compatible = "shared-dma-pool"; reusable; reg = <0x3000000
        0x400000>; status = "disabled"; }; bad: bad@5000000 { compatible = "shared-dma-pool"; reusable; reg
        = <0x5000000 0x100000>; }; fw: fw@6000000 { reg = <0x6000000 0x100000>; no-map; };
    };
    soc {
        compatible = "simple-bus"; #address-cells = <1>; #size-cells = <1>; ranges;
        dma-ranges = <0xc0000000 0x0 0x40000000>;
        camera { memory-region = <&pool>; };
        far { memory-region = <&high>; };
        plain { };
        orphan { memory-region = <&off>; };
        broken { memory-region = <&bad>; };
        private { memory-region = <&fw>; };
        gpu { iommus = <&mmu>; };
        mmu: mmu { #iommu-cells = <0>; };
    };
    free { };
};
"""


def build(tmp_path: Path, source: str) -> Model:
    path = tmp_path / "board.dts"
    path.write_text(source)
    tree = dts.load(path)
    # Untouched memory costs nothing.
    memory = PhysicalMemory(np.zeros(0x50000000, np.uint8))
    return from_tree(tree, dts.examine(tree), memory)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return build(tmp_path, SOURCE)


def test_areas(model: Model) -> None:
    assert [(path, area.name, area.base_pfn, area.count) for path, area in model.areas.items()] == [
        ("/reserved-memory/pool@1000000", "pool@1000000", 0x1000, 0x1000),
        ("/reserved-memory/high@40000000", "high@40000000", 0x40000, 0x400),
    ]
    assert all(isinstance(area, GuaranteedArea) for area in model.areas.values())
    assert model.default is model.areas["/reserved-memory/pool@1000000"]
    assert model.cleancache is not None
    assert [each.name for each in model.cleancache.pools] == ["pool@1000000", "high@40000000"]


def test_area_of_a_device(model: Model) -> None:
    pool, high = model.areas.values()
    assert model.area_of("/soc/camera") is pool
    assert model.area_of("/soc/far") is high
    assert model.area_of("/soc/plain") is pool
    assert model.area_of("/soc/orphan") is pool
    message = "/soc/broken: its memory-region /reserved-memory/bad@5000000 is rejected-freed: see gcma check"
    with pytest.raises(AreaError, match=f"^{re.escape(message)}$"):
        model.area_of("/soc/broken")
    with pytest.raises(AreaError, match="is no CMA area"):
        model.area_of("/soc/private")


def test_dma_alloc(model: Model) -> None:
    first = model.dma_alloc("/soc/camera", 5000)
    assert (first.pfn, first.count, first.cpu_address, first.bus_address, first.size) == (
        0x1000,
        2,
        0x1000000,
        0xC1000000,
        5000,
    )
    # Alignment grows with the size, up to 1 MiB.
    assert model.dma_alloc("/soc/camera", 3 * PAGE_SIZE).pfn == 0x1004
    assert model.dma_alloc("/soc/camera", 3 * MIB).pfn == 0x1100
    assert model.dma_alloc("/free", 2 * PAGE_SIZE).bus_address == 0x1002000
    model.dma_free(first)
    with pytest.raises(CmaReleaseError, match="it was released already or never made"):
        model.dma_free(first)


def test_one_page_comes_from_the_own_area_but_not_from_the_default_one(model: Model) -> None:
    assert model.dma_alloc("/soc/camera", 1).count == 1
    with pytest.raises(AreaError, match="/soc/plain: a request of one page bypasses the default area"):
        model.dma_alloc("/soc/plain", PAGE_SIZE)


def test_devices_behind_an_mmu_need_no_area(model: Model) -> None:
    with pytest.raises(AreaError, match="/soc/gpu: the device sits behind an MMU"):
        model.dma_alloc("/soc/gpu", MIB)
    assert model.check_reach("/soc/gpu", 0x7FFF0000, 0x10000) == 0x7FFF0000


def test_a_buffer_beyond_30_bits_is_refused_and_given_back(model: Model) -> None:
    with pytest.raises(ReachError) as caught:
        model.dma_alloc("/soc/far", MIB)
    assert str(caught.value) == (
        "/soc/far: a buffer that ends at 0x400fffff lies beyond 0x3fffffff, "
        "the highest address that the device's DMA reaches: allocate it from a region below"
    )
    assert model.areas["/reserved-memory/high@40000000"].available_count == 0x400


@pytest.mark.parametrize(("address", "size"), [(0x40000000, 1), (0x3FFFFFFF, 2), (0x7FFFF000, 4096)])
def test_ordinary_memory_above_1_gib(model: Model, address: int, size: int) -> None:
    with pytest.raises(ReachError, match="0x3fffffff"):
        model.check_reach("/soc/camera", address, size)
    assert model.check_reach("/free", address, size) == address


def test_the_last_reachable_byte(model: Model) -> None:
    assert model.check_reach("/soc/camera", 0x3FFFF000, 4096) == 0xFFFFF000


def test_failure_carries_the_kernels_line(model: Model) -> None:
    with pytest.raises(CmaAllocError) as caught:
        model.dma_alloc("/soc/camera", 17 * MIB)
    assert str(caught.value).endswith("pool@1000000: alloc failed, req-size: 4352 pages, ret: -16")


@pytest.mark.parametrize("size", [0, -1])
def test_senseless_sizes(model: Model, size: int) -> None:
    with pytest.raises(AreaError, match=f"a buffer of {size} bytes makes no sense"):
        model.dma_alloc("/soc/camera", size)


def test_sysfs(model: Model) -> None:
    model.dma_alloc("/soc/camera", MIB)
    files = model.sysfs()
    assert files["/sys/kernel/mm/cma/pool@1000000/alloc_pages_success"] == 256
    assert files["/sys/kernel/mm/cma/pool@1000000/gcma"] == 1
    assert files["/sys/kernel/mm/cleancache/pool@1000000/size"] == 0x1000 - 256
    assert files["/sys/kernel/mm/cleancache/stored"] == 0


def test_without_a_guaranteed_area_there_is_no_cleancache(tmp_path: Path) -> None:
    model = build(tmp_path, SOURCE.replace("guaranteed;", ""))
    assert model.cleancache is None
    assert not any(isinstance(area, GuaranteedArea) for area in model.areas.values())
    assert not any("cleancache" in name for name in model.sysfs())
    assert model.dma_alloc("/soc/camera", MIB).pfn == 0x1000


def test_a_region_outside_memory(tmp_path: Path) -> None:
    tree = build(tmp_path, SOURCE).tree
    with pytest.raises(AreaError, match=r"'pool@1000000' cannot be set up: pool .* lies outside memory"):
        from_tree(tree, dts.examine(tree), PhysicalMemory(np.zeros(PAGE_SIZE, np.uint8)))


WINDOWS = """
/dts-v1/;
/ {
    #address-cells = <1>; #size-cells = <1>;
    memory@0 { device_type = "memory"; reg = <0x0 0x40000000>; };
    reserved-memory {
        #address-cells = <1>; #size-cells = <1>; ranges;
        still: still@1000000 { compatible = "shared-dma-pool"; reusable; reg = <0x1000000 0x400000>; };
        moving: moving { compatible = "shared-dma-pool"; reusable; size = <0x400000>;
                         alloc-ranges = <0x8000000 0x8000000>; };
    };
    soc {
        compatible = "simple-bus"; #address-cells = <1>; #size-cells = <1>; ranges;
        dma-ranges = <0x80000000 0x10000000 0x1000000>, <0xc0000000 0x20000000 0x1000000>;
        two { memory-region = <&moving>, <&still>; };
    };
    alone { };
};
"""


def test_dynamic_areas_come_first_and_the_first_region_counts(tmp_path: Path) -> None:
    model = build(tmp_path, WINDOWS)
    assert list(model.areas) == ["/reserved-memory/moving", "/reserved-memory/still@1000000"]
    assert model.area_of("/soc/two") is model.areas["/reserved-memory/moving"]


@pytest.mark.parametrize(
    ("address", "size", "bus"),
    [(0x10000000, 1, 0x80000000), (0x20000010, 0xFFFFF0, 0xC0000010), (0x10FFFFFF, 1, 0x80FFFFFF)],
)
def test_each_window_has_its_own_offset(tmp_path: Path, address: int, size: int, bus: int) -> None:
    assert build(tmp_path, WINDOWS).check_reach("/soc/two", address, size) == bus


def test_between_the_windows_is_out_of_reach(tmp_path: Path) -> None:
    model = build(tmp_path, WINDOWS)
    for address in (0x11000000, 0x10FFFFFF, 0x0FFFFFFF):
        with pytest.raises(ReachError, match="lies outside what the device's DMA reaches"):
            model.check_reach("/soc/two", address, 2)


def test_no_region_and_no_default_area(tmp_path: Path) -> None:
    with pytest.raises(
        AreaError, match=r"/alone: the device has no memory-region and there is no linux,cma-default area"
    ):
        build(tmp_path, WINDOWS).dma_alloc("/alone", MIB)


def test_placements_need_no_memory(tmp_path: Path) -> None:
    tree = build(tmp_path, SOURCE).tree
    model = from_tree(tree, dts.examine(tree), None)
    assert model.cleancache is None
    assert model.dma_alloc("/soc/camera", MIB).pfn == 0x1000


def test_a_region_without_a_place_is_refused(tmp_path: Path) -> None:
    """A dynamic region needs to know where memory is; this tree has no memory node (a loader adds it)."""
    source = """
    /dts-v1/;
    / {
        #address-cells = <1>; #size-cells = <1>;
        reserved-memory {
            #address-cells = <1>; #size-cells = <1>; ranges;
            pool { compatible = "shared-dma-pool"; reusable; guaranteed; size = <0x400000>; };
        };
    };
    """
    message = "/reserved-memory/pool: where the region will lie is not known: the tree declares no memory"
    with pytest.raises(AreaError, match=f"^{re.escape(message)}$"):
        build(tmp_path, source)
