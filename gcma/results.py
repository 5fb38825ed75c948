"""The results of a test run as files: JSON by the contract, JUnit XML, a report folder."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree

from board import Plan, Result, Tally, TestResult
from board.console import printable
from gcma.output import write_text

SCHEMA = "gcma.test/1"


@dataclass(frozen=True, slots=True)
class RunResults:
    """All that is known when a run has ended.

    :ivar again: what to type to run it again
    :ivar command: QEMU's command line
    """

    plan: Plan
    again: str
    qemu: str
    seconds: float
    tests: tuple[TestResult, ...]
    tally: Tally
    command: str
    serial: str

    def count(self, result: Result) -> int:
        """How many tests ended that way."""
        return sum(test.result is result for test in self.tests)

    @property
    def failed(self) -> int:
        """Failed tests."""
        return self.count(Result.FAILED)

    def as_json(self) -> str:
        """The results by the contract ``gcma.test/1``."""
        return json.dumps(
            {
                "schema": SCHEMA,
                "board": self.plan.name,
                "machine": self.plan.machine.name,
                "qemu": self.qemu,
                "passed": self.count(Result.PASSED),
                "failed": self.failed,
                "skipped": self.count(Result.SKIPPED),
                "seconds": round(self.seconds, 3),
                "tests": [
                    {
                        "id": test.id,
                        "device": test.device,
                        "outcome": test.result.value,
                        "seconds": round(test.seconds, 6),
                        "bytes_verified": test.bytes_verified,
                        "message": test.message or None,
                    }
                    for test in self.tests
                ],
                "area": {"base": self.plan.place.base, "size": self.plan.place.size, **asdict(self.tally)},
            },
            indent=2,
        )

    def as_junit(self) -> str:
        """The results as JUnit XML, one testcase a test; a failure carries the evidence."""
        suite = ElementTree.Element(
            "testsuite",
            name=f"gcma.{self.plan.machine.name}",
            tests=str(len(self.tests)),
            failures=str(self.failed),
            errors="0",
            skipped=str(self.count(Result.SKIPPED)),
            time=f"{self.seconds:.3f}",
        )
        properties = ElementTree.SubElement(suite, "properties")
        for name, value in (
            ("board", self.plan.name),
            ("machine", self.plan.machine.name),
            ("qemu", self.qemu),
        ):
            ElementTree.SubElement(properties, "property", name=name, value=_xml(value))
        for test in self.tests:
            group, _, name = test.id.partition(".")
            case = ElementTree.SubElement(
                suite, "testcase", classname=f"gcma.{group}", name=name or group, time=f"{test.seconds:.6f}"
            )
            message = _xml(test.message)
            if test.result is Result.SKIPPED:
                ElementTree.SubElement(case, "skipped", message=message)
            elif test.result is Result.FAILED:
                ElementTree.SubElement(case, "failure", message=message).text = _xml(test.evidence) or message
            elif message:
                ElementTree.SubElement(case, "system-out").text = message
        suites = ElementTree.Element(
            "testsuites", {"name": "gcma", **{k: suite.get(k, "") for k in ("tests", "failures")}}
        )
        suites.append(suite)
        ElementTree.indent(suites)
        return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"

    def write_folder(self, folder: Path) -> None:
        """The report folder, beside the pictures that are in it already."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (
            ("results.json", self.as_json()),
            ("junit.xml", self.as_junit()),
            ("serial.log", self.serial),
            ("command.txt", self.command),
        ):
            write_text(text, str(folder / name))


def _xml(text: str) -> str:
    """Text without the control characters that XML cannot hold: what a guest says may be anything."""
    return printable(text.encode(errors="backslashreplace"))
