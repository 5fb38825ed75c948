"""Findings as SARIF 2.1.0, the exchange format of static analysers (OASIS, 2020)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from dts.finding import Severity
from dts.report import Located, Report
from dts.rule import Rule
from dts.rules import RULES, explain

_LEVEL = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}


def log(reports: Iterable[Report], failures: Iterable[str], version: str) -> dict[str, Any]:
    """The SARIF log of one run.

    :param failures: what to say about files that could not be read
    :param version: of this program
    """
    results = [_result(report.path, item) for report in reports for item in report.found]
    notifications = [{"level": "error", "message": {"text": text}} for text in failures]
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "gcma check",
                        "semanticVersion": version,
                        "rules": [_rule(rule) for rule in RULES.values()],
                    }
                },
                "invocations": [
                    {
                        "executionSuccessful": not notifications,
                        "toolExecutionNotifications": notifications,
                    }
                ],
                "columnKind": "unicodeCodePoints",
                "results": results,
            }
        ],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.code,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why},
        "help": {"text": explain(rule)},
        "defaultConfiguration": {"level": _LEVEL[rule.severity]},
    }


def _result(path: str, item: Located) -> dict[str, Any]:
    finding, place = item.finding, item.place
    physical: dict[str, Any] = {
        "artifactLocation": {"uri": quote(os.fsencode(path if place is None else place.file))}
    }
    if place is not None:
        physical["region"] = {
            "startLine": place.line,
            "startColumn": place.column,
            "endLine": place.end_line,
            "endColumn": place.end_column + 1,
        }
    logical = {"fullyQualifiedName": finding.node, "kind": "object"}
    return {
        "ruleId": finding.code,
        "ruleIndex": list(RULES).index(finding.code),
        "level": _LEVEL[finding.severity],
        "message": {"text": finding.message},
        "locations": [{"physicalLocation": physical, "logicalLocations": [logical]}],
    }
