"""Tests `nija bench memory`, `nija bench bulkhead` and `nija bench api` as a user runs them, small."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shared.domain.identity import Broker

BROKERS = {broker.value for broker in Broker}


def bench(folder: Path, *arguments: str) -> Any:
    """Run a benchmark in an empty folder; return its document."""
    done = subprocess.run(
        [sys.executable, "-m", "services.cli.app", "bench", *arguments, "--json"],
        cwd=Path(__file__).parents[2],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.benches
def test_a_follower_costs_little_memory_at_every_broker(tmp_path: Path) -> None:
    """At most 60 KiB for each client that has sent a request; all five brokers are measured."""
    found = bench(tmp_path, "memory", "--followers", "300")
    assert set(found["kib_per_follower"]) == BROKERS
    assert found["highest"] == max(found["kib_per_follower"].values()) <= 60


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.benches
def test_one_broker_hangs_and_four_are_measured(tmp_path: Path) -> None:
    """Copies with and without the hang, and followers of the hanging broker that wait for their answer."""
    found = bench(tmp_path, "bulkhead", "--followers", "6", "--seconds", "6", "--broker", "okx")
    assert found["hanging"] == "okx"
    for part in ("without_hang", "with_hang"):
        assert found[part]["copies"] > 0
        assert 0 < found[part]["p50"] <= found[part]["p99"]
    assert found["ratio"] > 0
    assert found["waiting_at_the_hanging_broker"] > 0


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.benches
def test_the_api_is_asked_while_copies_are_measured(tmp_path: Path) -> None:
    """Both paths are asked equally often. An answer that needs servers takes longer than one that needs none."""
    found = bench(tmp_path, "api", "--followers", "6", "--seconds", "6", "--rate", "5")
    assert found["capital_state"]["requests"] == found["health"]["requests"] == 30
    assert found["ratio"] > 1
    assert found["ratio_p99"] > 0
    for part in ("copies_without_requests", "copies_with_requests"):
        assert found[part]["copies"] > 0
        assert 0 < found[part]["p50"] <= found[part]["p99"]
    assert found["copy_ratio"] > 0
