"""A recorded workload: a file tree that is read while a camera takes and gives back its buffers.

The files lie in an ext4 image and are more than fits beside the anonymous memory, so the
kernel reclaims page cache all the time; its events tell which page came and went when.
"""

import random
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from board.initramfs import Entry
from board.kernel import MODULE_PACKAGE, MODULES
from board.linux import LinuxPlan
from board.linux_bench import SETTLE_MS, BenchError, run
from board.package import fetch

FILES: Final = 120
LARGEST_PAGES: Final = 1024
IMAGE_MIB: Final = 96
ANONYMOUS_MIB: Final = 640
FRAME_PAGES: Final = 4537
"""A 12-megapixel raw frame: 4056 x 3040 pixels of 12 bits."""
FRAMES: Final = 4
ROUNDS: Final = 6
READS: Final = 60
MKFS_SECONDS: Final = 60


def record(plan: LinuxPlan, seed: int = 1) -> str:
    """Run the workload; the log, with the kernel's trace in it.

    :raise BenchError: mke2fs is missing, or a step failed in the guest
    """
    modules = fetch(MODULE_PACKAGE)
    packed = [next(modules.rglob(name)).read_bytes() for name in MODULES]
    more = [Entry.folder("mnt"), Entry.program("image", _image(seed))]
    more += [Entry.program(name, data) for name, data in zip(MODULES, packed, strict=True)]
    return run(plan, _script(seed), more)


def _script(seed: int) -> str:
    """A camera cycle among reads that come back to some files more often than to others."""
    choice = random.Random(seed)
    popularity = [1 / (rank + 1) for rank in range(FILES)]
    lines = [f"load /{name}" for name in MODULES]
    lines += ["mount /image /mnt", f"map 0 {ANONYMOUS_MIB}", f"sleep {SETTLE_MS}", "trace 1"]
    for turn in range(ROUNDS):
        slots = [turn * FRAMES + index for index in range(FRAMES)]
        lines += [f"read /mnt/{index}" for index in choice.choices(range(FILES), popularity, k=READS)]
        lines += [f"alloc {slot} {FRAME_PAGES} 8" for slot in slots]
        lines += [f"read /mnt/{index}" for index in choice.choices(range(FILES), popularity, k=READS // 4)]
        lines += [f"free {slot}" for slot in slots]
    return "\n".join([*lines, "trace 0", "show /sys/kernel/tracing/trace", ""])


def _image(seed: int) -> bytes:
    """The file system: its bytes say nothing, the sizes are spread as those of a source tree."""
    mke2fs = shutil.which("mke2fs", path="/usr/sbin:/sbin:/usr/bin")
    if mke2fs is None:
        raise BenchError("mke2fs is not here; install Debian's e2fsprogs to record file reads")
    choice = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name) / "tree"
        tree.mkdir()
        for index in range(FILES):
            pages = int(LARGEST_PAGES ** choice.random())
            (tree / str(index)).write_bytes(choice.randbytes(8) * (pages * 512))
        image = Path(name) / "image"
        command = [mke2fs, "-q", "-F", "-t", "ext4", "-b", "4096", "-O", "^has_journal", "-d", str(tree),
                   str(image), f"{IMAGE_MIB}M"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=MKFS_SECONDS)
        if done.returncode:
            raise BenchError(f"mke2fs ended with exit status {done.returncode}: {done.stderr.strip()}")
        return image.read_bytes()
