"""Step functions: one source, run as plain Python or as machine code.

The state of an area lives in flat NumPy arrays; small *step functions* change it. A step is written once,
decorated with `compiled`, and called like any function::

    @compiled
    def total(words: Words, count: int) -> int:
        ...

- Its Numba signature is read from its annotations (`int`, `bool`, `float`, `None`, tuples of them,
  `np.uint64`, and the array types below): one specialisation, and no surprise compilation in the middle of
  a run.
- Importing a module of steps imports no Numba. Steps begin as plain Python; when plain calls have cost
  `WARM_UP_SECONDS` in all, the next call compiles. A short program therefore never pays for the compiler.
  `@compiled(at_once=True)` is for loops over a whole trace: the first call compiles.
- A step may call other steps, named directly (`from allocator.runs import find`), and use constants of its
  module.
- Machine code is cached on disk under a name that covers the byte code and constants of the step and of all
  that it calls, so a changed callee in another file is never served stale (Numba's own key looks at one
  file only).
- Without Numba, with `GCMA_NO_NUMBA=1` or with `NUMBA_DISABLE_JIT=1`, the same source runs as plain Python.

A step makes no arrays (slices are fine, copies are not): it is compiled without Numba's memory manager.
Inside steps use `np.uint64` for bit patterns and never mix it with `int` in arithmetic: Numba would turn
both into floats.
"""

from __future__ import annotations

import functools
import hashlib
import os
import threading
import time
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Generic, ParamSpec, TypeVar, overload

import numpy as np
import numpy.typing as npt

__all__ = [
    "Bytes",
    "Ints",
    "Longs",
    "Rows",
    "Step",
    "Table",
    "Words",
    "compiled",
    "leading_zeros",
    "trailing_zeros",
]

P = ParamSpec("P")
R = TypeVar("R")

Words = Annotated[npt.NDArray[np.uint64], "uint64[::1]"]
"""Bit patterns, one dimension."""
Ints = Annotated[npt.NDArray[np.int32], "int32[::1]"]
"""32-bit numbers, one dimension."""
Table = Annotated[npt.NDArray[np.int32], "int32[:,::1]"]
"""Rows of 32-bit numbers."""
Rows = Annotated[npt.NDArray[np.int64], "int64[:,::1]"]
"""Rows of 64-bit numbers."""
Longs = Annotated[npt.NDArray[np.int64], "int64[::1]"]
"""64-bit numbers, one dimension."""
Bytes = Annotated[npt.NDArray[np.uint8], "uint8[::1]"]
"""Raw memory, one dimension."""

WARM_UP_SECONDS = 0.3
"""Plain Python may cost this much in all before Numba (0.3 s to import) is worth its price."""

OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False}
"""Steps own no memory, so nothing need be counted: without Numba's memory manager a call of one step by
another costs no atomic operations, which makes small steps several times faster. Nor do they divide by
zero.
"""

SCHEME = 5
"""To be raised when the way steps are compiled changes: what lies in the cache was made the old way."""

_lock = threading.RLock()
_spent_seconds = 0.0


class Step(Generic[P, R]):
    """A step function: call it, or take `native` once for a hot loop.

    plain    the Python function as written
    native   the compiled function (`plain` where there is no Numba); compiles on first use
    """

    def __init__(self, function: Callable[P, R], *, at_once: bool = False) -> None:
        functools.update_wrapper(self, function)
        self.plain = function
        self._at_once = at_once
        self._native: Callable[P, R] | None = None
        self._callee: Any = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the step in the form that is due."""
        native = self._native
        if native is not None:
            return native(*args, **kwargs)
        global _spent_seconds
        if self._at_once or _spent_seconds > WARM_UP_SECONDS:
            return self.native(*args, **kwargs)
        begin = time.perf_counter()
        try:
            return self.plain(*args, **kwargs)
        finally:
            _spent_seconds += time.perf_counter() - begin

    @property
    def native(self) -> Callable[P, R]:
        """The fastest form of this step on this machine."""
        if self._native is None:
            with _lock:
                if self._native is None:
                    self._native = _compile(self) if _numba() else self.plain
        return self._native

    @property
    def callee(self) -> Any:
        """What a compiled step calls: compiled together with it, if at all.

        Not `native`: what Numba loads from its cache is machine code already and cannot be inlined any
        more, which makes small steps several times slower. And where the caller comes from the cache, this
        is never compiled.
        """
        if self._callee is None:
            # Left to choose, LLVM calls the larger steps, and such a call passes some thirty numbers.
            self._callee = _numba().njit(_rebound(self), forceinline=True, **OPTIONS)
        return self._callee


class _Intrinsic(Step[P, R]):
    """A step that is one machine instruction when compiled."""

    def __init__(self, function: Callable[P, R], instruction: str) -> None:
        super().__init__(function)
        self.instruction = instruction

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Count in Python; only compiled steps reach the instruction."""
        return self.plain(*args, **kwargs)

    @property
    def callee(self) -> Any:
        """The instruction."""
        if self._callee is None:
            self._callee = _bit_count(self.instruction)
        return self._callee


@overload
def compiled(function: Callable[P, R], /) -> Step[P, R]: ...
@overload
def compiled(*, at_once: bool = ...) -> Callable[[Callable[P, R]], Step[P, R]]: ...
def compiled(
    function: Callable[P, R] | None = None, /, *, at_once: bool = False
) -> Step[P, R] | Callable[[Callable[P, R]], Step[P, R]]:
    """Make a step of a function; see the module for what a step may be."""
    if function is None:
        return lambda wrapped: Step(wrapped, at_once=at_once)
    return Step(function, at_once=at_once)


def _trailing_zeros(word: np.uint64) -> int:
    """How many zero bits lie below the lowest set bit of `word`; `word` must not be 0."""
    value = int(word)
    return (value & -value).bit_length() - 1


def _leading_zeros(word: np.uint64) -> int:
    """How many zero bits lie above the highest set bit of `word`; `word` must not be 0."""
    return 64 - int(word).bit_length()


trailing_zeros = _Intrinsic(_trailing_zeros, "cttz")
leading_zeros = _Intrinsic(_leading_zeros, "ctlz")


@functools.cache
def _numba() -> Any:
    """The numba module, or None where it is absent or switched off."""
    if os.environ.get("GCMA_NO_NUMBA", "0") not in ("", "0"):
        return None
    try:
        import numba
    except ImportError:
        return None
    return None if getattr(numba.config, "DISABLE_JIT", 0) else numba


def _bit_count(instruction: str) -> Any:
    from numba import types as kinds
    from numba.core import cgutils
    from numba.extending import intrinsic

    @intrinsic
    def count(typing_context: Any, word: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return getattr(builder, instruction)(arguments[0], cgutils.false_bit)

        return kinds.int64(kinds.uint64), emit

    return count


def _compile(step: Step[P, R]) -> Callable[P, R]:
    """Compile `step` with all that it calls, or load it from the cache."""
    numba = _numba()
    function = typing.cast(types.FunctionType, step.plain)
    fingerprint = _fingerprint(function)
    # Numba's own key forgets these as well.
    fingerprint.update(repr((SCHEME, OPTIONS, numba.config.BOUNDSCHECK)).encode())
    # A function typed into a session has no file for Numba to date its cache by.
    filed = Path(function.__code__.co_filename).is_file()
    folder = _cache_folder(fingerprint.hexdigest()[:16]) if filed else None
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder or "")
    try:
        built = numba.njit(_signature(function), cache=folder is not None, **OPTIONS)(_rebound(step))
    finally:
        numba.config.CACHE_DIR = before
    return typing.cast(Callable[P, R], built)


def _rebound(step: Step[P, R]) -> types.FunctionType:
    """The function of `step` with the compilable forms of the steps that it calls in its scope."""
    function = typing.cast(types.FunctionType, step.plain)
    scope = dict(function.__globals__)
    for name, value in _references(function).items():
        if isinstance(value, Step):
            scope[name] = value.callee
    rebound = types.FunctionType(function.__code__, scope, function.__name__, function.__defaults__)
    rebound.__qualname__ = function.__qualname__
    rebound.__module__ = function.__module__
    return rebound


def _references(function: types.FunctionType) -> dict[str, Any]:
    """The module-level names that `function` uses."""
    return {
        name: function.__globals__[name]
        for name in function.__code__.co_names
        if name in function.__globals__
    }


def _fingerprint(function: types.FunctionType) -> hashlib._Hash:
    """A hash over everything the compiled form depends on: code, constants, signature, callees."""
    code = function.__code__
    digest = hashlib.sha256(
        repr((code.co_code, code.co_consts, code.co_names, _signature(function))).encode()
    )
    for name, value in sorted(_references(function).items()):
        if isinstance(value, _Intrinsic):
            digest.update(f"{name}:{value.instruction}".encode())
        elif isinstance(value, Step):
            digest.update(_fingerprint(typing.cast(types.FunctionType, value.plain)).digest())
        elif isinstance(value, int | float | np.generic | tuple):
            digest.update(f"{name}={value!r}".encode())
    return digest


def _signature(function: types.FunctionType) -> str:
    """The Numba signature that the annotations of `function` spell."""
    hints = typing.get_type_hints(function, include_extras=True)
    result = _type_name(hints.pop("return"))
    return f"{result}({', '.join(_type_name(hint) for hint in hints.values())})"


def _type_name(hint: Any) -> str:
    scalars = {int: "int64", float: "float64", bool: "boolean", np.uint64: "uint64", type(None): "void"}
    if typing.get_origin(hint) is Annotated:
        return str(typing.get_args(hint)[1])
    if typing.get_origin(hint) is tuple:
        return f"Tuple(({', '.join(_type_name(part) for part in typing.get_args(hint))},))"
    return scalars[hint]


def _cache_folder(name: str) -> Path | None:
    """Where the machine code of one step is kept, or None when nothing can be written."""
    given = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    try:
        folder = (Path(given) if given else Path.home() / ".cache") / "gcma" / "steps" / name
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return None
    return folder if os.access(folder, os.W_OK) else None
