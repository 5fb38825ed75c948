"""All rules, by code, and all checks in the order in which they run."""

from __future__ import annotations

from dts import (
    rules_cma,
    rules_consumer,
    rules_default,
    rules_dynamic,
    rules_guarantee,
    rules_place,
    rules_region,
    rules_room,
    rules_tree,
    rules_zone,
)
from dts.rule import Check, Rule

_FAMILIES = (
    rules_tree,
    rules_region,
    rules_place,
    rules_dynamic,
    rules_room,
    rules_cma,
    rules_default,
    rules_zone,
    rules_guarantee,
    rules_consumer,
)

RULES: dict[str, Rule] = {rule.code: rule for family in _FAMILIES for rule in family.RULES}
# The consumers come last: how grave a region's fault is decides how grave its use is.
CHECKS: tuple[Check, ...] = tuple(check for family in _FAMILIES for check in family.CHECKS)
# Of an overlay that stands alone nothing is known.
OVERLAY_CHECKS: tuple[Check, ...] = (rules_tree.blob, rules_tree.overlay)


def explain(rule: Rule) -> str:
    """The rule in words, with an example of wrong and right."""
    import textwrap

    decides = f"decided by {rule.kernel}()" if rule.kernel else "a rule of the binding"
    facts = f" ({rule.facts} in docs/check.md)" if rule.facts else ""
    lines = [
        f"{rule.code}: {rule.title}",
        f"{rule.severity.value}, {decides}{facts}",
        "",
        *textwrap.wrap(rule.why, 96),
        "",
        "wrong:",
        textwrap.indent(rule.wrong, "    "),
        "right:",
        textwrap.indent(rule.right, "    "),
    ]
    return "\n".join(lines)
