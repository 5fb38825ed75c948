"""``gcma prove``: can any order of the declared buffers fail?"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from allocator.prove import Call, Problem, Proof
    from dts import Tree

DESCRIPTION = """\
Decide whether any order of allocations and releases of the buffers that the devices declare
can fail in their area. The answer is a certificate, a shortest sequence that fails, or the
best bounds known; and the smallest size of the area for which every order succeeds.

Devices declare their buffers in the tree: gcma,buffers = <count size alignment>, sizes in
bytes, alignment 0 for the kernel's choice (docs/prove.md)."""
EPILOG = """\
examples:
  gcma prove dts/boards/rpi-4-b.dts
  gcma prove my.dts --size 96M                    would 96 MiB be enough?
  gcma prove my.dts --trace fail.trace            write the counter-example as a trace
  gcma test my.dts --trace fail.trace             see it fail on the emulated board
  gcma prove my.dts --certificate proof.json      write the certificate
  gcma prove --check proof.json                   verify one, with a checker of its own

exit status: 0 every order succeeds, 1 some order fails or it is undecided, 2 usage
"""
SCHEMA: Final = "gcma.prove/1"
COLUMNS: Final = 56


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gcma prove``."""
    parser.add_argument("board", metavar="BOARD.dts", nargs="?", help="devicetree, .dts or .dtb")
    parser.add_argument("--size", metavar="N", help="size of the area instead of the tree's, as in 96M")
    parser.add_argument(
        "--seconds", type=float, default=20.0, metavar="S", help="budget of the search per area (default: 20)"
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write the answer as JSON; - prints it alone on stdout"
    )
    parser.add_argument(
        "--certificate", metavar="FILE", help="write the certificates of what always succeeds"
    )
    parser.add_argument(
        "--trace", metavar="FILE", help="write the counter-example for gcma test and gcma replay"
    )
    parser.add_argument("--check", metavar="FILE", help="verify certificates and stop")


def run(options: argparse.Namespace) -> int:
    """Run ``gcma prove``."""
    if (options.board is None) == (options.check is None):
        print("gcma prove: name either a BOARD.dts or --check FILE", file=sys.stderr)
        return 2
    if not 0 < options.seconds < 1e6:
        print(
            f"gcma prove: --seconds {options.seconds:g} makes no sense: give a number above 0",
            file=sys.stderr,
        )
        return 2
    if options.check is not None:
        return _check(Path(options.check))

    import dts
    from allocator.prove import Outcome, decide
    from allocator.prove_board import BUFFERS, problems
    from gcma.output import claim, write_json
    from gcma.progress import Progress
    from gcma.sizes import parse_size

    tree = dts.load(options.board)
    found, notes = problems(tree, dts.examine(tree))
    if options.size is not None:
        pages = parse_size(options.size) >> 12
        found = [dataclasses.replace(problem, pages=pages) for problem in found]
    if not found:
        print(
            f"gcma prove: {options.board}: no device declares {BUFFERS}: see docs/prove.md", file=sys.stderr
        )
        return 2
    claim(options.json, options.certificate, options.trace)
    proofs = []
    for problem in found:
        with Progress(f"{problem.area}: configurations") as progress:
            proofs.append(decide(problem, seconds=options.seconds, progress=progress.show))
    if options.json:
        write_json(
            {
                "schema": SCHEMA,
                "board": options.board,
                "notes": notes,
                "areas": [_as_json(p) for p in proofs],
            },
            options.json,
        )
    failed = [proof for proof in proofs if proof.outcome is Outcome.CAN_FAIL]
    if options.json != "-":
        print("\n\n".join(_text(proof) for proof in proofs))
        if failed:
            print(_see_it_fail(options, tree, failed[0].problem))
        for note in notes:
            print(f"note: {note}")
    certificates = [proof.certificate for proof in proofs if proof.certificate is not None]
    if options.certificate and certificates:
        write_json(certificates, options.certificate)
    if options.trace and failed:
        from allocator.trace_write import write_calls

        write_calls(Path(options.trace), failed[0].problem, failed[0].counter_example)
    return 0 if all(proof.outcome is Outcome.ALWAYS for proof in proofs) else 1


def _see_it_fail(options: argparse.Namespace, tree: "Tree", problem: "Problem") -> str:
    """What to type to have it fail, on the emulated board if that has this very area."""
    from board import BoardError, make_plan

    trace = options.trace or "fail.trace"
    where, command = "", f"gcma replay {trace} --size {problem.pages * 4}K"
    try:
        plan = make_plan(tree)
    except BoardError:
        pass
    else:
        area = (plan.pool.path, plan.place.base >> 12, plan.place.size >> 12)
        if area == (problem.area, problem.base_pfn, problem.pages):
            where, command = " on the emulated board", f"gcma test {options.board} --trace {trace}"
    lines = [f"To see it fail{where}:", f"  {command}"]
    if not options.trace:
        lines.insert(1, f"  gcma prove {options.board} --trace {trace}")
    return "\n".join(lines)


def _check(path: Path) -> int:
    from allocator.prove_check import CertificateError, check

    try:
        certificates = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        print(f"gcma prove: {path}: expected a file that --certificate wrote, found no JSON", file=sys.stderr)
        return 2
    try:
        if (
            not isinstance(certificates, list)
            or not certificates
            or not all(isinstance(each, dict) for each in certificates)
        ):
            raise CertificateError("expected a list of certificates")
        for certificate in certificates:
            check(certificate)
            problem = certificate["problem"]
            method = certificate["method"]
            print(f"{problem['area']}: every order succeeds in {problem['pages']} pages ({method})")
    except (CertificateError, ValueError, TypeError, KeyError, RecursionError) as error:
        print(f"gcma prove: {path}: {error}", file=sys.stderr)
        return 1
    return 0


def _size(pages: int) -> str:
    if pages < 256:
        return f"{4 * pages} KiB"
    return f"{pages // 256} MiB" if pages % 256 == 0 else f"{pages / 256:.2f} MiB"


def _as_json(proof: "Proof") -> dict[str, Any]:
    problem = proof.problem
    return {
        "area": problem.area,
        "base": problem.base_pfn << 12,
        "size": problem.pages << 12,
        "declared": problem.total << 12,
        "demands": [dataclasses.asdict(demand) for demand in problem.demands],
        "outcome": proof.outcome.value,
        "method": proof.method.value,
        "needed": proof.needed_pages << 12,
        "enough": None if proof.enough_pages is None else proof.enough_pages << 12,
        "robson": proof.robson_pages << 12,
        "configurations": proof.visited,
        "shortest": proof.shortest,
        "counter_example": [
            {"op": "release" if call.release else "alloc", "demand": problem.demands[call.demand].name,
             "number": call.number, "pfn": call.pfn}
            for call in proof.counter_example
        ],
    }  # fmt: skip


def _text(proof: "Proof") -> str:
    from allocator.prove import Method, Outcome

    problem = proof.problem
    width = max(len(demand.name) for demand in problem.demands)
    lines = [f"{problem.area}: {_size(problem.pages)} at {problem.base_pfn << 12:#x}"]
    for letter, demand in zip(_letters(problem), problem.demands, strict=True):
        reach = "" if demand.limit is None else f", reaches {_size(demand.limit)} of the area"
        lines.append(
            f"  {letter}  {demand.name:<{width}}  {demand.count:>3} x {_size(demand.pages):<10} "
            f"aligned to {_size(1 << demand.align)}{reach}"
        )
    lines.append(f"  {_size(problem.total)} in all")
    if proof.outcome is Outcome.ALWAYS:
        why = {
            Method.BOUND: "a bound on where first fit can put them",
            Method.EXHAUSTIVE: f"all {proof.visited:,} ways to hold them were visited",
        }[proof.method]
        lines.append(f"Every order of these buffers succeeds: {why}.")
    elif proof.outcome is Outcome.CAN_FAIL:
        fits = "though all of them fit" if problem.total <= problem.pages else "they do not even fit at once"
        kind = "shortest sequence" if proof.shortest else "sequence"
        lines.append(f"Some order fails, {fits}. The {kind}, {len(proof.counter_example)} calls:")
        lines += _drawing(problem, proof.counter_example)
    else:
        lines.append(f"Undecided after {proof.visited:,} configurations: give more --seconds.")
    lines.append(_sizes(proof))
    return "\n".join(lines)


def _sizes(proof: "Proof") -> str:
    published = f"Robson's published bound for first fit: {_size(proof.robson_pages)}, alignment aside."
    if proof.enough_pages is None:
        return (
            f"No size is known to be enough: a device does not reach all places a buffer may get. {published}"
        )
    if proof.enough_pages == proof.needed_pages:
        return f"Smallest size in which every order succeeds: {_size(proof.enough_pages)}. {published}"
    return (
        f"Smallest size in which every order succeeds: above {_size(proof.needed_pages - 1)}, "
        f"at most {_size(proof.enough_pages)}. {published}"
    )


def _letters(problem: "Problem") -> str:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    return "".join(alphabet[k % len(alphabet)] for k in range(len(problem.demands)))


def _drawing(problem: "Problem", calls: "tuple[Call, ...]") -> list[str]:
    """Each call beside the area after it; a column is a part of the area, upper-most of what lies there."""
    letters = _letters(problem)
    held: dict[tuple[int, int], int] = {}
    lines = []
    for number, call in enumerate(calls, 1):
        demand = problem.demands[call.demand]
        if call.release:
            held.pop((call.demand, call.number))
        elif call.pfn is not None:
            held[call.demand, call.number] = call.pfn - problem.base_pfn
        row = ["."] * COLUMNS
        for (kind, _), at in sorted(held.items(), key=lambda item: item[1]):
            first = at * COLUMNS // problem.pages
            last = (at + problem.demands[kind].pages - 1) * COLUMNS // problem.pages
            row[first : last + 1] = letters[kind] * (last + 1 - first)
        verb = "release" if call.release else "alloc"
        where = "fails" if call.pfn is None else f"{call.pfn << 12:#x}"
        lines.append(
            f"  {number:>3} {verb:<7} {letters[call.demand]}{call.number:<3} {where:>11}  |{''.join(row)}|"
        )
    gaps = sorted([(at, at + problem.demands[kind].pages) for (kind, _), at in held.items()])
    longest, end = 0, 0
    for start, stop in [*gaps, (problem.pages, problem.pages)]:
        longest, end = max(longest, start - end), max(end, stop)
    free = problem.pages - sum(stop - start for start, stop in gaps)
    lines.append(
        f"      {_size(demand.pages)} wanted, {_size(free)} free, the longest free run is {_size(longest)}"
    )
    return lines
