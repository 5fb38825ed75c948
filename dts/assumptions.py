"""What a devicetree does not say and its verdict depends on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dts.error import DtsError
from dts.range import Range
from dts.tree import Tree


class Arch(Enum):
    """The kernel's architecture."""

    ARM64 = "arm64"
    ARM = "arm"


# How the compatibles of the 32-bit cores begin (arm/cpus.yaml of dt-schema); the others are 64-bit.
_ARM32_CPUS = (
    *(b"arm,arm7", b"arm,arm9", b"arm,arm10", b"arm,arm11", b"arm,sa1", b"arm,sc0", b"arm,sc3"),
    *(b"arm,cortex-a5\0", b"arm,cortex-a7\0", b"arm,cortex-a8", b"arm,cortex-a9", b"arm,cortex-a12\0"),
    *(b"arm,cortex-a15", b"arm,cortex-a17", b"arm,cortex-a32", b"arm,cortex-m", b"arm,cortex-r"),
    *(b"brcm,brahma-b15", b"faraday,", b"intel,sa1", b"marvell,feroceon", b"marvell,mohawk"),
    *(b"marvell,pj4", b"marvell,sheeva", b"marvell,xsc3", b"qcom,krait", b"qcom,scorpion"),
)


def arch_of(tree: Tree) -> Arch:
    """The architecture that the first cpu node tells by its ``compatible``; arm64 without one."""
    cpus = tree.find("/cpus")
    for cpu in cpus.children if cpus is not None else ():
        names = cpu.properties.get("compatible")
        if names is not None and cpu.base_name == "cpu":
            return Arch.ARM if names.startswith(_ARM32_CPUS) else Arch.ARM64
    return Arch.ARM64


@dataclass(frozen=True, slots=True)
class Assumptions:
    """The kernel and the machine that are supposed to boot the tree.

    :ivar arch: None: as the cpu nodes tell, else arm64
    :ivar page_size: bytes
    :ivar cma_alignment: ``CMA_MIN_ALIGNMENT_BYTES``; None: the default of ``arch`` and ``page_size``
    :ivar cma_on_cmdline: whether ``cma=`` stands on the kernel's command line, with whatever value
    :ivar gcma: whether the kernel has ``CONFIG_GCMA``
    :ivar cma_areas: ``CONFIG_CMA_AREAS``; None: 20 on arm64 (which has NUMA), 8 on arm
    :ivar occupied: memory that is reserved before the devicetree is looked at: kernel image, initrd, the blob
    :ivar memory: the RAM, when the firmware replaces what the tree declares; None: as the tree declares
    """

    arch: Arch | None = None
    page_size: int = 4096
    cma_alignment: int | None = None
    cma_on_cmdline: bool = False
    gcma: bool = True
    cma_areas: int | None = None
    occupied: tuple[Range, ...] = ()
    memory: tuple[Range, ...] | None = None

    def __post_init__(self) -> None:
        if self.page_size not in (4096, 16384, 65536):
            raise DtsError(f"page size: 4096, 16384 or 65536 bytes are possible, {self.page_size} was given.")
        alignment = self.cma_alignment
        if alignment is not None and (alignment < self.page_size or alignment & (alignment - 1)):
            raise DtsError(
                f"CMA alignment: a power of two of at least one page ({self.page_size} bytes) is needed, "
                f"{alignment} was given."
            )
        if self.cma_areas is not None and self.cma_areas < 0:
            raise DtsError(f"CMA areas: a number of 0 or more is needed, {self.cma_areas} was given.")

    def arch_for(self, tree: Tree) -> Arch:
        """The architecture to assume for this tree."""
        return self.arch or arch_of(tree)


_PAGEBLOCK_BYTES = {
    # include/linux/pageblock-flags.h: the order of a huge page where they exist, else the largest buddy order
    (Arch.ARM64, 4096): 2 << 20,
    (Arch.ARM64, 16384): 32 << 20,
    (Arch.ARM64, 65536): 512 << 20,
    (Arch.ARM, 4096): 4 << 20,
}


def cma_alignment(assumptions: Assumptions, arch: Arch) -> int:
    """``CMA_MIN_ALIGNMENT_BYTES``: one pageblock, which a CMA area must begin and end on."""
    if assumptions.cma_alignment is not None:
        return assumptions.cma_alignment
    return _PAGEBLOCK_BYTES.get((arch, assumptions.page_size), assumptions.page_size << 10)


def cma_areas(assumptions: Assumptions, arch: Arch) -> int:
    """``MAX_CMA_AREAS`` (mm/Kconfig: 20 with NUMA, which arm64 has, else 8)."""
    if assumptions.cma_areas is not None:
        return assumptions.cma_areas
    return 20 if arch is Arch.ARM64 else 8
