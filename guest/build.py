"""Builds the firmware: C and assembly to an arm64 Image, cached by content.

The cache key covers every source, the protocol's header, the compiler's version and
its options, so an edited source or another compiler means a new build.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from guest.error import BuildError, NoCompilerError
from guest.protocol import c_header

COMMON: Final = (
    "-std=gnu11", "-O2", "-ffreestanding", "-nostdlib", "-static", "-fno-pic", "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables", "-Wall", "-Wextra", "-Werror",
    "-mgeneral-regs-only",
    "-mstrict-align",  # the MMU is off: unaligned accesses fault
    "-Wl,--build-id=none", "-T", "link.ld",
)  # fmt: skip
GCC: Final = (*COMMON, "-fno-tree-loop-distribute-patterns")  # or memset() would call itself
CLANG: Final = (*COMMON, "--target=aarch64-none-elf", "-fuse-ld=lld", "-fno-builtin", "-Wl,--oformat=binary")
COMPILE_SECONDS: Final = 300


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A compiler with its options, and what makes its output a raw image (none: it does so itself)."""

    compiler: tuple[str, ...]
    objcopy: str | None = None

    def commands(self, inputs: list[str]) -> list[list[str]]:
        """The command lines that turn sources into the file ``Image``."""
        if self.objcopy is None:
            return [[*self.compiler, "-o", "Image", *inputs]]
        # GNU ld cannot write a raw image for this target
        return [
            [*self.compiler, "-o", "firmware.elf", *inputs],
            [self.objcopy, "-O", "binary", "firmware.elf", "Image"],
        ]


def toolchain() -> Toolchain:
    """The compiler to use on this machine.

    :raise NoCompilerError: when there is none for AArch64
    """
    for prefix in ("aarch64-linux-gnu-", *(("",) if platform.machine() == "aarch64" else ())):
        if shutil.which(f"{prefix}gcc") and shutil.which(f"{prefix}objcopy"):
            return Toolchain((f"{prefix}gcc", *GCC), f"{prefix}objcopy")
    if shutil.which("clang") and shutil.which("ld.lld"):
        return Toolchain(("clang", *CLANG))
    raise NoCompilerError(
        "no compiler for AArch64: expected aarch64-linux-gnu-gcc, or clang with ld.lld, on PATH; "
        "install Debian's gcc-aarch64-linux-gnu or run scripts/setup"
    )


def cache_folder() -> Path:
    """Where built firmware is kept: ``$XDG_CACHE_HOME/gcma``, by default ``~/.cache/gcma``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gcma"


def _sources() -> dict[str, bytes]:
    folder: Traversable = resources.files("guest") / "firmware"
    files = {
        item.name: item.read_bytes()
        for item in folder.iterdir()
        if item.name.endswith((".c", ".h", ".S", ".ld"))
    }
    if "main.c" not in files:
        raise BuildError(f"{folder}: the firmware's sources are not installed; reinstall gcma")
    return files | {"protocol.h": c_header().encode()}


def run_tool(command: list[str], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a tool of the build, its words kept.

    :raise BuildError: it does not end within COMPILE_SECONDS
    """
    try:
        return subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", check=False,
            timeout=COMPILE_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise BuildError(f"{command[0]} did not end within {COMPILE_SECONDS} s") from None


def cache_key(sources: dict[str, bytes], tools: Toolchain) -> str:
    """What a built file is cached by: the sources, the compiler's version and its options."""
    version = run_tool([tools.compiler[0], "--version"]).stdout
    digest = hashlib.sha256(f"{tools}{version}".encode())
    for name in sorted(sources):
        digest.update(f"{name}\0{len(sources[name])}\0".encode() + sources[name])
    return digest.hexdigest()[:16]


def _compile(folder: Path, sources: dict[str, bytes], tools: Toolchain) -> Path:
    for name, text in sources.items():
        (folder / name).write_bytes(text)
    # start.S first: its header must be the first bytes of the Image
    for command in tools.commands(["start.S", *sorted(name for name in sources if name.endswith(".c"))]):
        run = run_tool(command, folder)
        if run.returncode:
            raise BuildError(
                f"{command[0]} refused the firmware (exit status {run.returncode}):\n{run.stderr.strip()}"
            )
    return folder / "Image"


def firmware() -> Path:
    """The path of the firmware's Image, built now if it is not in the cache.

    :raise NoCompilerError: no compiler for AArch64 on PATH
    :raise BuildError: the sources do not compile, or the cache cannot be written
    """
    tools = toolchain()
    sources = _sources()
    target = cache_folder() / f"firmware-{cache_key(sources, tools)}.Image"
    if target.is_file():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="firmware-", dir=target.parent) as folder:
            # complete or not there at all: two builds at once end in the same bytes
            _compile(Path(folder), sources, tools).replace(target)
    except OSError as error:
        raise BuildError(f"{target.parent}: cannot keep the built firmware there: {error.strerror}; "
                         "set XDG_CACHE_HOME to a folder that can be written") from error  # fmt: skip
    return target
