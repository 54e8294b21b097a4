"""Tests `nija bench execution` with the real system, and what it prints."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.execution import execution
from services.cli import bench


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.benches
def test_slices_and_an_iceberg_cost_less_than_one_order_in_a_thin_book(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pauses are a fifteenth of real ones. Each method buys the whole quantity, and the table has its figures."""
    lines: list[str] = []
    found = asyncio.run(execution(tmp_path, 15, lines.append))
    methods = found["methods"]
    assert [(name, methods[name]["orders"]) for name in ("MARKET", "TWAP")] == [("MARKET", 1), ("TWAP", 10)]
    assert methods["ICEBERG"]["orders"] > 2
    assert methods["MARKET"]["basis_points"] > 1
    for name in ("TWAP", "ICEBERG"):
        saved = methods["MARKET"]["basis_points"] - methods[name]["basis_points"]
        assert saved > 0
        assert found["saved_basis_points"][name] == pytest.approx(saved, abs=0.01)
    assert "TWAP: 10 slices in 18 s" in lines
    assert found["quantity"] > 1

    monkeypatch.setattr(bench, "_benchmark", lambda name: _finding(found))
    document = json.loads(CliRunner().invoke(bench.app, ["execution", "--json"]).stdout)
    assert document == found
    table = CliRunner().invoke(bench.app, ["execution"]).stdout
    assert f"{found['quantity']:g} BTC, half of the first 20 levels" in table
    for name, each in methods.items():
        (row,) = [line.split() for line in table.splitlines() if line.startswith(name)]
        saved = [] if name == "MARKET" else [f"{found['saved_basis_points'][name]:.2f}"]
        fees = f"{each['fee_basis_points']:.2f}"
        assert row == [name, f"{each['orders']}", f"{each['basis_points']:.2f}", *saved, fees]


def _finding(found: dict[str, Any]) -> Callable[..., Awaitable[dict[str, Any]]]:
    """A benchmark that has been run before."""

    async def run(_folder: Path, _pace: int, _announce: Callable[[str], None]) -> dict[str, Any]:
        return found

    return run
