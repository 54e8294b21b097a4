"""Tests that the benchmarks of `nija bench` run, small, with the real parts and print what they promise."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.candle_file import minutes_file

BENCHES = {
    "fanout": ("followers_per_second", "task_delay_per_second"),
    "copy": ("orders_per_second", "bare_loop_orders_per_second"),
}


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.benches
@pytest.mark.parametrize("name", BENCHES)
def test_a_benchmark_prints_ratio_and_both_rates(
    name: str, nija: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One JSON object; progress on standard error; its folder is gone afterwards."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    done = nija("bench", name, "--followers", "60", "--rounds", "2", "--json")
    assert done.returncode == 0, done.stderr
    found = done.json()
    ours, baseline = BENCHES[name]
    assert found["followers"] == 60
    assert found["rounds"] == len(found[f"{ours}_all"]) == len(found[f"{baseline}_all"]) == 2
    assert found["ratio"] == pytest.approx(found[ours] / found[baseline], abs=0.02)
    assert "round 2 of 2: " in done.stderr
    assert list(tmp_path.glob("nija-bench-*")) == []


@pytest.mark.long
def test_the_backtest_is_measured_against_another_engine(nija: Callable[..., Any], tmp_path: Path) -> None:
    """Both rates on the same candles in the same run, and what each part of a decided candle costs."""
    path = minutes_file(tmp_path)
    done = nija("bench", "backtest", "--candles", str(path), "--rounds", "2", "--json")
    assert done.returncode == 0, done.stderr
    found = done.json()
    assert found["rounds"] == len(found["candles_per_second_all"]) == len(found["backtesting_py_per_second_all"]) == 2
    assert found["ratio"] == pytest.approx(found["candles_per_second"] / found["backtesting_py_per_second"], abs=0.02)
    by_processor = found["by_processor"]
    assert by_processor["rounds"] == len(by_processor["candles_per_second_all"]) == 2
    assert min(by_processor["candles_per_second_all"]) > 0
    parts = found["microseconds"]
    assert parts["whole run"] >= sum(parts[name] for name in ("indicators", "rules", "records")) > 0
    refused = nija("bench", "backtest", "--candles", str(tmp_path / "none.csv"))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "none.csv cannot be read" in refused.stderr


def test_without_the_repository_the_benchmarks_are_missed_by_name(tmp_path: Path) -> None:
    """Installed as a wheel, nija has no folder `benchmarks`: exit code 2 and where it is."""
    # A path on which services and shared can be found, as in site-packages, and benchmarks cannot.
    root = Path(__file__).resolve().parents[2]
    for name in ("services", "shared"):
        (tmp_path / name).symlink_to(root / name)
    program = (
        "import sys; "
        f"sys.path[:] = [{str(tmp_path)!r}, *(each for each in sys.path if each not in ('', {str(root)!r}))]; "
        "sys.argv[:] = ['nija', 'bench', 'copy', '--json']; "
        "from services.cli.app import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "the folder `benchmarks` is missing" in done.stderr
