"""Builds what runs on the board's Linux besides the kernel: programs without a C library, and a module.

Cached by content, as the firmware is.
"""

import tempfile
from importlib import resources
from pathlib import Path
from typing import Final

from guest.build import Toolchain, cache_folder, cache_key, run_tool, toolchain
from guest.error import BuildError

PROGRAM: Final = (
    *("-std=gnu11", "-O2", "-ffreestanding", "-nostdlib", "-static", "-fno-pic", "-fno-stack-protector"),
    *("-fno-asynchronous-unwind-tables", "-mgeneral-regs-only", "-Wall", "-Wextra", "-Werror"),
    "-Wl,--build-id=none",
)
MODULE: Final = (
    *("-nostdinc", "-D__KERNEL__", "-DMODULE", "-std=gnu11", "-fms-extensions", "-O2", "-w"),
    *("-fshort-wchar", "-fno-strict-aliasing", "-fno-common", "-fno-pic", "-fno-delete-null-pointer-checks"),
    *("-fno-stack-protector", "-mgeneral-regs-only", "-mabi=lp64", "-mbranch-protection=none"),
    "-ffixed-x18",  # a kernel with shadow call stacks keeps them there
    '-DKBUILD_MODNAME="cma_bench"',
    *('-DKBUILD_BASENAME="cma_bench"', '-DKBUILD_MODFILE="cma_bench"', "-D__KBUILD_MODNAME=kmod_cma_bench"),
)
"""As the kernel's Makefiles have them, less what a later compiler than ours may be needed for."""


def init_program() -> bytes:
    """The static program that is the board's first process.

    :raise NoCompilerError: no compiler for AArch64 on PATH
    :raise BuildError: the source does not compile, or the cache cannot be written
    """
    return _program("init", ("init.c", "sys.h"))


def bench_program() -> bytes:
    """The static program that runs a script of CMA calls; raises as :func:`init_program` does."""
    return _program("bench", ("bench.c", "sys.h", "cma_bench.h"))


def bench_module(common: Path, arch: Path) -> bytes:
    """The kernel module that calls CMA for the bench.

    It is compiled without the kernel's build programs, which are built for Debian's own
    machines: a kernel without CONFIG_MODVERSIONS needs nothing of what they add but a
    module's identity.

    :param common: headers of all architectures
    :param arch: headers of the kernel that is to load it
    :raise BuildError: as :func:`init_program`
    """
    compiler = toolchain().compiler[0]
    if compiler == "clang":
        raise BuildError("the kernel module needs aarch64-linux-gnu-gcc: its kernel was not built by clang")
    roots = (common / "arch/arm64/include", arch / "arch/arm64/include/generated", common / "include",
             arch / "include", common / "arch/arm64/include/uapi", arch / "arch/arm64/include/generated/uapi",
             common / "include/uapi", arch / "include/generated/uapi")  # fmt: skip
    always = [
        common / "include/linux" / name for name in ("compiler-version.h", "kconfig.h", "compiler_types.h")
    ]
    options = [
        *(f"-I{root}" for root in roots),
        *(word for path in always for word in ("-include", str(path))),
    ]
    compile_all = (compiler, *MODULE, *options, "-c", "cma_bench.c", "module.c")
    linker = (compiler, "-nostdlib", "-r", "-Wl,-T," + str(arch / "arch/arm64/module.lds"),
              "-o", "cma_bench.ko", "cma_bench.o", "module.o")  # fmt: skip
    return _built("cma_bench.ko", ("cma_bench.c", "cma_bench.h", "module.c"), [compile_all, linker])


def _program(name: str, sources: tuple[str, ...]) -> bytes:
    compiler = toolchain().compiler[0]
    own = ("-fno-builtin", "--target=aarch64-linux-gnu", "-fuse-ld=lld") if compiler == "clang" else (
        "-fno-tree-loop-distribute-patterns",  # a loop that clears memory would become a call of memset()
    )  # fmt: skip
    return _built(name, sources, [(compiler, *PROGRAM, *own, "-o", name, f"{name}.c")])


def _built(name: str, sources: tuple[str, ...], commands: list[tuple[str, ...]]) -> bytes:
    folder = resources.files("guest") / "linux"
    texts = {source: (folder / source).read_bytes() for source in sources}
    key = cache_key(texts, Toolchain(tuple(word for command in commands for word in command)))
    target = cache_folder() / "linux" / f"{name}-{key}"
    if target.is_file():
        return target.read_bytes()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            for source, text in texts.items():
                (Path(temporary) / source).write_bytes(text)
            for command in commands:
                run = run_tool(list(command), Path(temporary))
                if run.returncode:
                    raise BuildError(
                        f"{command[0]} refused guest/linux/{name} (exit status {run.returncode}):\n"
                        f"{run.stderr.strip()}"
                    )
            return (Path(temporary) / name).replace(target).read_bytes()
    except OSError as error:
        raise BuildError(f"{target.parent}: cannot keep the built program there: {error.strerror}; "
                         "set XDG_CACHE_HOME to a folder that can be written") from error  # fmt: skip
