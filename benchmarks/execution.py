"""Measures what TWAP and ICEBERG save against one market order, in the thin order book of a paper broker."""

from pathlib import Path
from typing import Any

from benchmarks.phases import bench_settings
from benchmarks.rounds import Announce
from services.demo.execution_costs import execution_costs


async def execution(folder: Path, pace: int, announce: Announce) -> dict[str, Any]:
    """Run the comparison of `nija demo --strategy` with its files in `folder`. `pace`, result, errors: see there."""
    return await execution_costs(bench_settings(folder), pace, announce)
