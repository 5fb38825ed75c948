"""Builds what runs on the board's Linux besides the kernel: a program of C without a C library.

Cached by content, as the firmware is.
"""

import tempfile
from importlib import resources
from pathlib import Path
from typing import Final

from guest.build import Toolchain, _key, _run, cache_folder, toolchain
from guest.error import BuildError

GCC: Final = (
    *("-std=gnu11", "-O2", "-ffreestanding", "-nostdlib", "-static", "-fno-pic", "-fno-stack-protector"),
    *("-fno-asynchronous-unwind-tables", "-fno-tree-loop-distribute-patterns", "-mgeneral-regs-only"),
    *("-Wall", "-Wextra", "-Werror", "-Wl,--build-id=none"),
)
CLANG: Final = (*(flag for flag in GCC if flag != "-fno-tree-loop-distribute-patterns"), "-fno-builtin",
                "--target=aarch64-linux-gnu", "-fuse-ld=lld")  # fmt: skip


def init_program() -> bytes:
    """The static program that is the board's first process.

    :raise NoCompilerError: no compiler for AArch64 on PATH
    :raise BuildError: the source does not compile, or the cache cannot be written
    """
    compiler = toolchain().compiler[0]
    tools = Toolchain((compiler, *(CLANG if compiler == "clang" else GCC), "-o", "init", "init.c"))
    folder = resources.files("guest") / "linux"
    sources = {name: (folder / name).read_bytes() for name in ("init.c", "sys.h")}
    target = cache_folder() / "linux" / f"init-{_key(sources, tools)}"
    if target.is_file():
        return target.read_bytes()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as name:
            for source, text in sources.items():
                (Path(name) / source).write_bytes(text)
            run = _run(list(tools.compiler), Path(name))
            if run.returncode:
                words = run.stderr.strip()
                raise BuildError(
                    f"{compiler} refused guest/linux/init.c (exit status {run.returncode}):\n{words}"
                )
            return (Path(name) / "init").replace(target).read_bytes()
    except OSError as error:
        raise BuildError(f"{target.parent}: cannot keep the built program there: {error.strerror}; "
                         "set XDG_CACHE_HOME to a folder that can be written") from error  # fmt: skip
