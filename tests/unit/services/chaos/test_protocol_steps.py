"""Tests that every function that `nija chaos` names by text exists, so that a renamed one leaves no step behind."""

import subprocess
import sys
from functools import reduce
from importlib import import_module
from typing import Any

import pytest

from services.chaos.protocol_steps import STEPS, Step
from services.chaos.without import PROTECTIONS


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step.process}: {step.name}")
def test_every_step_names_a_function_of_its_stage(step: Step) -> None:
    """A step whose function does not exist any more would end the stage when `--steps` starts it."""
    module, _, path = step.target.partition(":")
    target: Any = reduce(getattr, path.split("."), import_module(module))
    assert callable(target)


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
