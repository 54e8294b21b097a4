"""Tests that `nija chaos` can strike at every step of the protocol and can switch off every protection."""

import asyncio
import inspect
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from services.broker_worker.carry_out import Execution
from services.chaos.protocol_steps import NOT_REACHED, ORDER_STEP_TRIGGERS, STEPS, Step, order_boundaries
from services.chaos.strike import place_of, present, wrapped
from services.chaos.without import PROTECTIONS
from shared.domain.copying.order_steps import ORDER_STEPS, CheckSend, Read
from shared.domain.identity import BrokerOrderId

PERFORM = Execution.perform


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step.process}: {step.name}")
def test_every_step_names_a_function_of_its_stage(step: Step) -> None:
    """The place that is wrapped when `--steps` starts a stage is the one where the stage finds its public function."""
    assert callable(step.target)
    owner, name = place_of(step)
    assert not name.startswith("_")
    assert inspect.getattr_static(owner, name) is step.target
    assert present(step) is step.target


def test_every_step_of_an_order_is_struck_or_says_why_not() -> None:
    """A step that is added to the protocol of an order cannot be forgotten here."""
    assert ORDER_STEP_TRIGGERS.keys() | NOT_REACHED.keys() == set(ORDER_STEPS)
    assert not ORDER_STEP_TRIGGERS.keys() & NOT_REACHED.keys()
    struck = {(step.order_step, step.moment) for step in STEPS if step.order_step is not None}
    assert {kind for kind, _ in struck} == ORDER_STEP_TRIGGERS.keys()
    for kind in ORDER_STEP_TRIGGERS:
        assert (kind, "before") in struck
        assert ((kind, "after") in struck) == kind.asks_account


def test_a_new_step_of_an_order_without_a_word_about_it_ends_the_program() -> None:
    """The list above is complete, or `nija chaos --steps` does not even start."""

    class NewStep:
        asks_account = True

    with pytest.raises(KeyError):
        list(order_boundaries([NewStep]))  # type: ignore[list-item]  # such a step does not exist yet


def test_no_step_is_listed_twice() -> None:
    """The report names a row by its process and its name."""
    assert len({(step.process, step.name) for step in STEPS}) == len(STEPS)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_only_the_wanted_step_of_an_order_strikes_and_at_its_moment(
    moment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other steps go through the same function."""
    seen: list[str] = []

    async def perform(_execution: Any, _step: Any) -> None:
        seen.append("performed")

    monkeypatch.setattr(Execution, "perform", perform)
    step = Step("broker_worker child", "read", PERFORM, moment, order_step=Read)
    call = wrapped(step, lambda: seen.append("struck"))
    asyncio.run(call(None, CheckSend(datetime(2026, 1, 5, tzinfo=UTC))))
    assert seen == ["performed"]
    asyncio.run(call(None, Read(BrokerOrderId("O1"))))
    assert seen[1:] == (["struck", "performed"] if moment == "before" else ["performed", "struck"])


def test_every_protection_can_be_switched_off() -> None:
    """What the self-test takes out of a stage is still in it: the line of the script, the function of the class."""
    program = (
        "from services.chaos.without import PROTECTIONS\n"
        "from shared.messaging.scripts import script\n"
        "for switch_off in PROTECTIONS.values():\n"
        "    switch_off()\n"
        "    script.cache_clear()\n"
    )
    # In a process of its own, because it changes classes of the stages.
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(PROTECTIONS) == 10
