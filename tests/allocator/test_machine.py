"""The same world under Hypothesis: all operations in any order, all invariants after each."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from allocator import REVISIONS
from allocator.explore import ALL, Operation
from allocator.invariant import Invariant, InvariantError
from allocator.world import World


class Machine(RuleBasedStateMachine):
    """One world of the safe revision."""

    revision = "safe"

    @initialize(pages=st.integers(1, 6))
    def begin(self, pages: int) -> None:
        self.world = World(self.revision, pages)

    @rule(operation=st.sampled_from(ALL))
    def operate(self, operation: Operation) -> None:
        getattr(self.world, operation.name)(*operation.arguments)


def run(machine: type[Machine], examples: int, steps: int) -> None:
    profile = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        # `gcma explore` shrinks; here it is enough to see something break.
        phases=[Phase.generate],
    )
    run_state_machine_as_test(machine, settings=profile)


def test_safe() -> None:
    run(Machine, examples=40, steps=50)


@pytest.mark.nightly
def test_safe_over_100_000_steps() -> None:
    run(Machine, examples=1000, steps=100)


@pytest.mark.parametrize("name", sorted(set(REVISIONS) - {"safe"}))
def test_published_revisions_break(name: str) -> None:
    machine = type("Published", (Machine,), {"revision": name})
    with pytest.raises(InvariantError) as caught:
        run(machine, examples=2000, steps=50)
    assert caught.value.invariant in Invariant
