"""Extra conditions of a device's hardware, and users whose needs change at run time."""

import re
from pathlib import Path

import numpy as np
import pytest

import dts
from allocator import (
    PAGE_SIZE,
    AreaError,
    CmaAllocError,
    GuaranteedArea,
    Model,
    PhysicalMemory,
    from_tree,
)
from allocator.invariant import check_area, check_cleancache
from allocator.limits import Limits

MIB = 1 << 20
SOURCE = """
/dts-v1/;
/ {
    #address-cells = <1>; #size-cells = <1>;
    memory@0 { device_type = "memory"; reg = <0x0 0x8000000>; };
    reserved-memory {
        #address-cells = <1>; #size-cells = <1>; ranges;
        pool: pool@2000000 { compatible = "shared-dma-pool"; reusable; guaranteed; reg = <0x2000000
        0x2000000>; };
    };
    codec { memory-region = <&pool>; LIMITS };
    igpu { memory-region = <&pool>; };
};
"""


def build(tmp_path: Path, limits: str = "") -> Model:
    path = tmp_path / "board.dts"
    path.write_text(SOURCE.replace("LIMITS", limits))
    tree = dts.load(path)
    return from_tree(tree, dts.examine(tree), PhysicalMemory(np.zeros(0x8000000, np.uint8)))


def test_alignment(tmp_path: Path) -> None:
    model = build(tmp_path, "gcma,dma-alignment = <0x200000>;")
    assert model.dma_alloc("/codec", 8192).cpu_address == 0x2000000
    assert model.dma_alloc("/codec", 8192).cpu_address == 0x2200000
    assert model.dma_alloc("/igpu", 8192).cpu_address == 0x2002000


def test_boundary(tmp_path: Path) -> None:
    """A buffer of 3 MiB at 1 MiB alignment may begin at 2 MiB below a boundary: it is held, and the next
    one taken.
    """
    model = build(tmp_path, "gcma,dma-boundary = <0x400000>;")
    first = model.dma_alloc("/igpu", 2 * MIB)
    buffer = model.dma_alloc("/codec", 3 * MIB)
    assert buffer.cpu_address // 0x400000 == (buffer.cpu_address + 3 * MIB - 1) // 0x400000
    model.dma_free(first)
    model.dma_free(buffer)
    (area,) = model.areas.values()
    assert area.available_count == area.count


def test_a_buffer_larger_than_the_boundary_is_refused_and_nothing_kept(tmp_path: Path) -> None:
    model = build(tmp_path, "gcma,dma-boundary = <0x100000>;")
    with pytest.raises((AreaError, CmaAllocError)):
        model.dma_alloc("/codec", 2 * MIB)
    (area,) = model.areas.values()
    assert area.available_count == area.count


def test_memory_to_avoid(tmp_path: Path) -> None:
    model = build(tmp_path, "gcma,dma-avoid = <0x2000000 0x1000>, <0x2180000 0x1000>;")
    assert model.dma_alloc("/codec", MIB).cpu_address == 0x2200000
    assert model.dma_alloc("/igpu", MIB).cpu_address == 0x2000000


def test_too_many_unusable_places(tmp_path: Path) -> None:
    model = build(tmp_path, "gcma,dma-avoid = <0x2000000 0x2000000>;")
    with pytest.raises(
        AreaError, match=r"/codec: each of 64 buffers of 2 pages will not do, the last one touches"
    ):
        model.dma_alloc("/codec", 8192)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            "gcma,dma-alignment = <3>;",
            "/codec: gcma,dma-alignment is 0x3: a power of two of at least 0x1 is needed",
        ),
        (
            "gcma,dma-alignment = <0>;",
            "/codec: gcma,dma-alignment is 0x0: a power of two of at least 0x1 is needed",
        ),
        (
            "gcma,dma-boundary = <16>;",
            "/codec: gcma,dma-boundary is 0x10: a power of two of at least 0x1000 is needed",
        ),
    ],
)
def test_senseless_limits(tmp_path: Path, limits: str, message: str) -> None:
    model = build(tmp_path, limits)
    with pytest.raises(AreaError, match=f"^{re.escape(message)}$"):
        model.dma_alloc("/codec", 8192)


def fill(model: Model, pages: int) -> None:
    """Fill the cleancache with file pages."""
    assert model.cleancache is not None
    fs = model.cleancache.add_fs()
    model.cleancache.put_pages(fs, 1, range(pages), np.zeros(pages * PAGE_SIZE, np.uint8))


def test_an_igpu_grows_and_shrinks_at_run_time(tmp_path: Path) -> None:
    """It takes 2 MiB at a time until all is its own, gives every other one back, and takes them again;
    files move over.
    """
    model = build(tmp_path)
    (area,) = model.areas.values()
    assert isinstance(area, GuaranteedArea)
    assert model.cleancache is not None
    for _ in range(3):
        fill(model, area.count)
        memory = [model.dma_alloc("/igpu", 2 * MIB) for _ in range(area.count // 512)]
        assert area.available_count == 0
        assert model.cleancache.counters.cached == 0
        for buffer in memory[::2]:
            model.dma_free(buffer)
        fill(model, area.count)
        assert model.cleancache.counters.cached == area.count // 2
        memory[::2] = [model.dma_alloc("/igpu", 2 * MIB) for _ in memory[::2]]
        for buffer in memory:
            model.dma_free(buffer)
    check_area(area)
    check_cleancache(model.cleancache)


def test_huge_pages_come_from_the_area_while_the_cache_is_full(tmp_path: Path) -> None:
    """A user of 2 MiB pages, after the server of the 2019 paper: each aligned, as many as fit, none
    refused.
    """
    model = build(tmp_path)
    (area,) = model.areas.values()
    small = area.cma_alloc(1)
    fill(model, area.count)
    pages = [area.cma_alloc(512, 9) for _ in range(area.count // 512 - 1)]
    assert all(pfn % 512 == 0 for pfn in pages)
    with pytest.raises(CmaAllocError):
        area.cma_alloc(512, 9)
    area.cma_release(small, 1)
    assert area.cma_alloc(512, 9) == small


def test_a_buffer_may_end_at_a_boundary_and_must_be_aligned() -> None:
    limits = Limits(alignment=0x2000, boundary=0x10000)
    assert limits.complaint(dts.Range(0x8000, 0x8000)) is None
    assert limits.complaint(dts.Range(0x8000, 0x8001)) == "crosses a multiple of 0x10000"
    assert limits.complaint(dts.Range(0x9000, 0x1000)) == "is not aligned to 0x2000"
