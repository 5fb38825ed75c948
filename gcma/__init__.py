"""gcma: the executable specification and test bench of guaranteed CMA.

What a program imports is here, and stays; the rest may change between releases::

    import gcma

    plan = gcma.load_plan("my.dts")
    with gcma.Board(plan) as board, gcma.CameraDriver(board) as camera:
        frame = camera.capture(1920, 1080)
        assert (frame.pixels == frame.expected).all()

- Devicetrees: :func:`load` reads one, :func:`examine` says what Linux makes of its reserved
  memory; :func:`boards` are those that come with gcma.
- The model, without QEMU: :func:`from_tree` sets up the areas that a tree asks for over a
  :class:`PhysicalMemory`; or put a :class:`GuaranteedArea` over a :class:`Cleancache` yourself.
- The emulated board: :func:`load_plan`, then :class:`Board`; drivers for its camera, DMA
  controller and screen.
- Errors: :class:`DtsError`, :class:`AllocatorError`, :class:`BoardError` and :class:`GuestError`
  are the bases of all that is raised.

Importing gcma imports none of it before it is named.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from allocator import (
        SAFE,
        AllocatorError,
        CarveOut,
        Cleancache,
        CmaAllocError,
        GuaranteedArea,
        Model,
        PhysicalMemory,
        Revision,
        from_tree,
        revision,
    )
    from board import (
        Board,
        BoardError,
        CameraDriver,
        DisplayDriver,
        DmaDriver,
        Frame,
        Plan,
        RequestError,
        load_plan,
    )
    from dts import Assumptions, DtsError, Finding, Tree, Verdict, examine, load
    from gcma.catalogue import boards
    from guest import GuestError

__version__ = "0.1.0"

__all__ = [  # noqa: RUF022  by subject, from the most to the least used, errors last
    "__version__",
    "boards",
    "load",
    "examine",
    "Tree",
    "Verdict",
    "Finding",
    "Assumptions",
    "from_tree",
    "Model",
    "PhysicalMemory",
    "GuaranteedArea",
    "Cleancache",
    "CarveOut",
    "Revision",
    "revision",
    "SAFE",
    "load_plan",
    "Plan",
    "Board",
    "CameraDriver",
    "Frame",
    "DmaDriver",
    "DisplayDriver",
    "DtsError",
    "AllocatorError",
    "CmaAllocError",
    "BoardError",
    "RequestError",
    "GuestError",
]

_HOMES = {
    "dts": {"load", "examine", "Tree", "Verdict", "Finding", "Assumptions", "DtsError"},
    "allocator": {
        "from_tree",
        "Model",
        "PhysicalMemory",
        "GuaranteedArea",
        "Cleancache",
        "CarveOut",
        "Revision",
        "revision",
        "SAFE",
        "AllocatorError",
        "CmaAllocError",
    },
    "board": {
        "load_plan",
        "Plan",
        "Board",
        "CameraDriver",
        "Frame",
        "DmaDriver",
        "DisplayDriver",
        "BoardError",
        "RequestError",
    },
    "guest": {"GuestError"},
    "gcma.catalogue": {"boards"},
}


def __getattr__(name: str) -> object:
    """Import a public name's package when the name is first used."""
    for home, names in _HOMES.items():
        if name in names:
            value: object = getattr(import_module(home), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'gcma' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
