"""Tests that the real system doubles and loses no order while it is broken on purpose."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from services.chaos.protocol_steps import STEPS
from services.chaos.steps import ACTIONS
from shared.domain.identity import Broker

pytestmark = [pytest.mark.long, pytest.mark.timeout(2400)]

SEEDS = 5
SIDE_BY_SIDE = 3
"""Runs at a time: most of a run is waiting for claims and look-ups."""


def chaos(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run `nija chaos --json` in a folder of its own; return its exit code and report."""
    command = [sys.executable, "-m", "services.cli.app", "chaos", "--json", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1800, check=False)
    assert done.stdout, done.stderr[-3000:]
    return done.returncode, json.loads(done.stdout)


def verdict(code: int, report: dict[str, Any]) -> dict[str, Any]:
    """What is to be empty or zero: broken promises with examples, faults that were not made, and the counts."""
    return {
        "broken": {name: row["examples"] for name, row in report["invariants"].items() if row["violations"]},
        "never made": [kind for kind, times in report["injected"].items() if not times],
        "duplicates": report["duplicates"],
        "missing": report["missing"],
        "unresolved": report["unresolved"],
        "exit code": code,
    }


SOUND = {"broken": {}, "never made": [], "duplicates": 0, "missing": 0, "unresolved": 0, "exit code": 0}


@pytest.mark.waits
def test_no_fault_doubles_or_loses_an_order_whatever_the_seed(tmp_path: Path) -> None:
    """Every kind of fault, with five more seeds, one at each broker alone."""
    runs = {seed: list(Broker)[seed % len(Broker)] for seed in range(101, 101 + SEEDS)}

    def run(seed: int) -> dict[str, Any]:
        folder = tmp_path / str(seed)
        folder.mkdir()
        return verdict(*chaos(folder, "--seed", str(seed), "--orders", "100", "--brokers", runs[seed].value))

    with ThreadPoolExecutor(SIDE_BY_SIDE) as side_by_side:
        verdicts = dict(zip(runs, side_by_side.map(run, runs), strict=True))
    assert {seed: found for seed, found in verdicts.items() if found != SOUND} == {}


@pytest.mark.alone
def test_no_fault_doubles_or_loses_an_order_at_all_brokers_together(tmp_path: Path) -> None:
    """Every kind of fault twice, on five brokers side by side: each promise holds, and the load was real."""
    code, report = chaos(tmp_path, "--seed", "11", "--orders", "500")
    assert verdict(code, report) == SOUND
    assert report["brokers"] == [broker.value for broker in Broker]
    assert report["copied"] >= 500


@pytest.mark.waits
def test_no_step_of_the_protocol_is_a_wrong_moment_to_die_or_to_sleep(tmp_path: Path) -> None:
    """At each step its process, Redis or PostgreSQL is struck: the step is reached, and every promise holds."""
    code, report = chaos(tmp_path, "--seed", "13", "--steps")
    assert [row for row in report["rows"] if not row["holds"]] == []
    struck = {(row["process"], row["step"], row["action"]) for row in report["rows"]}
    assert struck == {(step.process, step.name, action) for step in STEPS for action in ACTIONS}
    assert code == 0


@pytest.mark.waits
def test_each_check_can_fail(tmp_path: Path) -> None:
    """With a protection switched off the run reports the violation that it protects from; with all on, none."""
    code, report = chaos(tmp_path, "--seed", "12", "--self-test")
    assert [row["off"] for row in report["protections"] if not row["holds"]] == []
    assert len(report["protections"]) == 10  # three controls and seven protections
    assert code == 0
