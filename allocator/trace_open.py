"""Which form a trace file has, and its reader."""

from __future__ import annotations

import gzip
import io
import lzma
import re
from pathlib import Path
from typing import BinaryIO, cast

from allocator.trace import Trace, TraceError
from allocator.trace_compact import MAGIC, CompactTrace
from allocator.trace_csv import CsvTrace
from allocator.trace_oracle import RECORD, OracleTrace, plausible
from allocator.trace_text import TextTrace

__all__ = ["FORMS", "open_trace"]

SAMPLE_BYTES = 1 << 16

FORMS: dict[str, type[Trace]] = {
    reader.form: reader for reader in (CompactTrace, TextTrace, CsvTrace, OracleTrace)
}


def open_trace(name: str | Path, form: str | None = None, area: str | None = None) -> Trace:
    """Open the trace `name`; `form` is one of `FORMS`, None recognises it. `area` picks one area of a
    recording. "-" is standard input; it may be a pipe, as may any file.

    Raises TraceError when it is none that can be read, OSError when the file cannot be opened.
    """
    path = Path("/dev/stdin" if name == "-" else name)
    # Looked at with peek alone: a pipe cannot go back.
    raw = io.BufferedReader(io.FileIO(path), SAMPLE_BYTES)
    try:
        begin = raw.peek(6)
        stream: io.BufferedReader[io.FileIO] | gzip.GzipFile | lzma.LZMAFile = raw
        if begin.startswith(b"\x1f\x8b"):
            stream = gzip.GzipFile(fileobj=raw)
        elif begin.startswith(b"\xfd7zXZ\0"):
            stream = lzma.LZMAFile(raw)  # noqa: SIM115  the trace reads it
        try:
            sample = stream.peek(SAMPLE_BYTES)[:SAMPLE_BYTES]
        except (EOFError, lzma.LZMAError, OSError) as error:
            raise TraceError(f"{path}: its compressed data is damaged: {error}") from error
        if form is None:
            form = _recognise(path, sample)
        if form not in FORMS:
            raise TraceError(f"{path}: form {form!r} is unknown: use one of {', '.join(FORMS)}")
        trace = FORMS[form](path, cast(BinaryIO, stream), raw)
        if isinstance(trace, TextTrace):
            trace.area = area
    except BaseException:
        raw.close()
        raise
    return trace


def _recognise(path: Path, sample: bytes) -> str:
    if sample.startswith(MAGIC):
        return CompactTrace.form
    if not sample:
        raise TraceError(f"{path}: the file is empty: expected a trace")
    if b"\0" not in sample:
        if re.search(rb"^# tracer:|\d+\.\d+: (\w+:)?\w+: ", sample, re.MULTILINE):
            return TextTrace.form
        if b"," in sample.split(b"\n", 1)[0]:
            return CsvTrace.form
    elif plausible(sample):
        return OracleTrace.form
    raise TraceError(
        f"{path}: not a trace of a known form: expected ftrace or perf script text, CSV with a header, "
        f"records of oracleGeneral ({RECORD.itemsize} bytes each) or a gcma trace; --form says which"
    )
