"""``gcma doctor``: which tools are here, what each is for, how to get what is missing."""

import argparse
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gcma.tools import Finding

DESCRIPTION: Final = """\
Look for each tool and package that gcma uses: its version, what it is needed for, and how
to get it where it is missing or too old. Starts nothing but `TOOL --version`."""
EPILOG: Final = """\
examples:
  gcma doctor
  gcma doctor --json | jq '.tools[] | select(.state != "ok")'

exit status: 0 all that is needed is here, 1 something needed is missing or too old
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gcma doctor``."""
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(options: argparse.Namespace) -> int:
    """Run ``gcma doctor``."""
    from gcma.tools import look

    findings = look()
    sys.stdout.write(as_json(findings) if options.json else as_text(findings))
    return 1 if any(finding.blocks for finding in findings) else 0


def as_json(findings: "list[Finding]") -> str:
    """``gcma.doctor/1``: whether all that is needed is here, and each tool."""
    import json
    from dataclasses import asdict

    tools = [{**asdict(finding), "state": finding.state.value} for finding in findings]
    ok = not any(finding.blocks for finding in findings)
    return json.dumps({"schema": "gcma.doctor/1", "ok": ok, "tools": tools}, indent=2) + "\n"


def as_text(findings: "list[Finding]") -> str:
    """A line for each tool, and one more for what to do about it."""
    widths = (max(len(each.name) for each in findings), max(len(each.version) for each in findings))
    lines = []
    for each in findings:
        mark = "ok" if each.state.value == "ok" else "!!" if each.blocks else "--"
        version = each.version or each.state.value
        lines.append(f"{mark}  {each.name:<{widths[0]}}  {version:<{max(widths[1], 7)}}  {each.purpose}")
        if each.remedy:
            lines.append(f"    {'':<{widths[0]}}  {each.remedy}")
    blocked = [each.name for each in findings if each.blocks]
    lines.append("")
    lines.append(f"needed, and not here: {', '.join(blocked)}" if blocked else "all that is needed is here")
    return "\n".join(lines) + "\n"
