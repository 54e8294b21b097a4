"""A short run of the real system under every kind of fault: takes minutes, so it has its own step."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]


def chaos(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run `nija chaos --json` in a folder of its own; return its exit code and report."""
    command = [sys.executable, "-m", "services.cli.app", "chaos", "--json", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900, check=False)
    assert done.stdout, done.stderr[-3000:]
    return done.returncode, json.loads(done.stdout)


def test_no_fault_doubles_or_loses_an_order(tmp_path: Path) -> None:
    """Every kind of fault once, on the paper Kraken: each promise holds, and the load was real."""
    code, report = chaos(tmp_path, "--seed", "11", "--orders", "100", "--brokers", "kraken")
    assert {name: row["examples"] for name, row in report["invariants"].items() if row["violations"]} == {}
    assert (report["duplicates"], report["missing"], report["unresolved"], code) == (0, 0, 0, 0)
    assert [kind for kind, times in report["injected"].items() if not times] == []
    assert report["copied"] >= 100


def test_each_check_can_fail(tmp_path: Path) -> None:
    """With a protection switched off the run reports the violation that it protects from; with all on, none."""
    code, report = chaos(tmp_path, "--seed", "12", "--self-test")
    assert [row["off"] for row in report["protections"] if not row["holds"]] == []
    assert len(report["protections"]) == 7  # two controls and five protections
    assert code == 0
