"""Tests which combinations a sweep makes of its file, and that an unfit file is refused in one line."""

from decimal import Decimal
from pathlib import Path

import pytest

from services.backtest.candle_file import read_history
from services.backtest.costs import venue_of
from services.backtest.run import Backtest
from services.backtest.sweep import InvalidSweep, SweepJob, parameters_of, read_combinations, run_job
from shared.domain.errors import InvalidParameter, NijaError
from shared.domain.identity import Broker
from tests.support.candle_file import minutes_file
from tests.support.strategy import BTC_USD


def written(folder: Path, text: str) -> Path:
    path = folder / "sweep.toml"
    path.write_text(text)
    return path


def test_every_combination_is_made_once(tmp_path: Path) -> None:
    """Numbers stay exact text, doubled values count once, and what --set fixed is in each of them."""
    path = written(tmp_path, 'near = [0.004, "0.005", 0.004]\nconditions = [3, 4]\n')
    assert read_combinations(path, {"adx_above": "25"}) == [
        {"adx_above": "25", "near": near, "conditions": conditions}
        for near in ("0.004", "0.005")
        for conditions in ("3", "4")
    ]
    assert parameters_of({"near": "0.004"}).near == Decimal("0.004")


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("near = 0.004", InvalidSweep, r"has near = 0\.004; it should be a list"),
        ("near = []", InvalidSweep, "it should be a list, such as near"),
        ("near = [true]", InvalidSweep, "it should be a list"),
        ("[strategy]\nnear = [1]", InvalidSweep, "has strategy = "),
        ("near [", InvalidSweep, "is not TOML"),
        ("", InvalidSweep, "lists no parameter"),
        ("nearness = [1]", InvalidParameter, "'nearness' is no parameter of the strategy"),
        ("near = [0.004, 7]", InvalidParameter, "strategy parameter near = 7"),
        (
            f"near = {[0.001 + each / 1e6 for each in range(1001)]}",
            InvalidSweep,
            "has 1,001 combinations; at most 1,000",
        ),
    ],
)
def test_an_unfit_file_is_refused(tmp_path: Path, text: str, error: type[NijaError], said: str) -> None:
    """Before any run starts, with what would be right."""
    with pytest.raises(error, match=said) as refused:
        read_combinations(written(tmp_path, text), {})
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """With the reason of the system."""
    with pytest.raises(InvalidSweep, match=r"none\.toml cannot be read: No such file"):
        read_combinations(tmp_path / "none.toml", {})


def test_a_job_is_the_backtest_with_its_settings(tmp_path: Path) -> None:
    """Also after it has travelled as JSON."""
    path = minutes_file(tmp_path)
    job = SweepJob(
        candles=path,
        broker=Broker.KRAKEN,
        symbol=BTC_USD,
        since=None,
        until=None,
        equity=Decimal(500),
        slippage=None,
        settings={"conditions": "2"},
    )
    run = run_job(SweepJob.model_validate(job.model_dump(mode="json")))
    result = Backtest(
        read_history(path),
        venue_of(Broker.KRAKEN, BTC_USD),
        equity=Decimal(500),
        parameters=parameters_of(job.settings),
    ).run()
    assert (run.settings, run.equity_after, run.trades) == (
        {"conditions": "2"},
        result.equity_after,
        len(result.trades),
    )
