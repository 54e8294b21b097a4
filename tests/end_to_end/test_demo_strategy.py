"""The demo of the strategy: a trader decides on candles of the past, followers copy, and the backtest decides alike."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.end_to_end.conftest import nija_command
from tests.support.candle_file import real_candle_file

LONGEST_SECONDS = 240
BROKER = "alpaca"
"""Its cycles begin last within a candle, and it does not report what a key may do."""
SPAN = ("--from", "2022-01-04T07:00", "--hours", "3")
CANDLES = 36
"""In this part of the usual file, the strategy enters once, and leaves when the averages cross."""


@pytest.mark.long
def test_the_strategy_trades_hours_of_a_candle_file_within_seconds(tmp_path: Path) -> None:
    """Each candle is decided once, fills are copied, and every decision is computed again to the last digit."""
    arguments = ("demo", "--strategy", "--candles", str(real_candle_file()), *SPAN)
    done = subprocess.run(
        nija_command(*arguments, "--broker", BROKER, "--followers", "8", "--json"),
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "NIJA_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST_SECONDS,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    document = json.loads(done.stdout)
    found = document["brokers"][BROKER]
    strategy = found["strategy"]
    assert (strategy["candles_expected"], strategy["candles_decided"]) == (CANDLES, CANDLES)
    for name in ("same_from_record", "same_from_window", "same_filters_and_score"):
        assert strategy[name]["equal"] == strategy[name]["compared"] >= CANDLES, name
    assert strategy["entries"] >= 1
    assert strategy["exits"]
    assert found["fills"] >= 2
    assert found["copied"] >= 1
    assert (found["missing"], found["duplicates"], found["mismatched"], found["pending"]) == (0, 0, 0, 0)
    assert found["as_they_are"]["wrong"] == 0
    execution = document["execution"]
    assert [execution["methods"][name]["orders"] for name in ("MARKET", "TWAP")] == [1, 10]
    assert execution["methods"]["ICEBERG"]["orders"] > 2
    assert min(execution["saved_basis_points"].values()) > 0
    assert not (tmp_path / "home" / "demo").exists()
