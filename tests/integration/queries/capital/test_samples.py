"""Tests samples of accounts whose zone changes, that are empty, or whose margin cannot be read."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from services.master_trader.sample_capital import SampledAccount, sample
from shared.domain.capital.history import EquityTrend
from shared.domain.capital.margin import MarginZone, plan_margin_action
from shared.domain.capital.recommendation import ReasonCode
from shared.domain.capital.sampling import ChangeKind
from shared.domain.fill import Side
from shared.persistence.capital import CapitalStore
from shared.queries.capital.models import EntryQuestion
from shared.queries.capital.overview import read_drawdown, read_history, read_margin
from shared.queries.capital.recommendation import read_complete_analysis, read_recommendation
from shared.queries.capital.sources import utc_now
from tests.support.running.capital_bench import CapitalBench

STEP = timedelta(seconds=30)


def sampled(bench: CapitalBench, moment: datetime) -> SampledAccount:
    """A sample that is stored at a moment."""
    found = sample(bench.sources.connections, bench.name, lambda: moment)
    assert found is not None
    return found


@pytest.fixture
def start() -> datetime:
    """The time of the first sample."""
    return utc_now()


async def test_each_zone_of_a_margin_account_is_reported_when_it_begins(margin: CapitalBench, start: datetime) -> None:
    """Shares for 12,000, 16,000 and 18,400 bind 60, 80 and 92 % of 10,000 dollars.

    The plan of the automatic action touches no position, because nija has opened none.
    """
    sampled(margin, start)
    for number, (shares, zone) in enumerate(
        [("60", MarginZone.YELLOW), ("20", MarginZone.ORANGE), ("12", MarginZone.RED)], start=1
    ):
        await margin.trade(Side.BUY, "AAPL/USD", shares)
        await margin.read()
        found = sampled(margin, start + number * STEP)
        assert found.margin.zone is found.sample.snapshot.zone is zone
        (after,) = [each.after for each in found.sample.changes if each.kind is ChangeKind.ZONE]
        assert after == zone.value
        assert plan_margin_action(found.sample.record.margin_action, found.account, start).cuts == ()
    zones = [
        each.zone for each in CapitalStore(margin.engine).snapshots(margin.name.broker, margin.name.account, start)
    ]
    assert zones == [MarginZone.GREEN, MarginZone.YELLOW, MarginZone.ORANGE, MarginZone.RED]


async def test_samples_are_the_history_and_move_the_drawdown(spot: CapitalBench, start: datetime) -> None:
    """The price of the coin falls from 50,000 to 20,000: 600 of 5,000 dollars are lost."""
    begin = start - STEP
    sampled(spot, begin)
    spot.paper.pin_price("BTC/USD", "20000")
    await spot.read()
    sampled(spot, start)
    found = read_history(spot.sources, spot.name, 1)
    assert (found.first, found.last, found.growth_pct, found.trend) == (5_000, 4_400, -12, EquityTrend.DOWN)
    status = read_drawdown(spot.sources, spot.name)
    assert (status.peak, status.drawdown_pct, status.size_pct, status.recorded_at) == (5_000, 12, 50, start)


async def test_a_withdrawal_leaves_the_drawdown_as_it_was(spot: CapitalBench, start: datetime) -> None:
    """3,000 of 4,000 dollars go, and the peak goes along."""
    sampled(spot, start)
    spot.set_balance("USD", "1000")
    await spot.read()
    after = sampled(spot, start + STEP).sample
    assert (after.snapshot.equity, after.record.drawdown.peak, after.record.drawdown.drawdown_pct) == (2_000, 2_000, 0)


async def test_a_margin_that_cannot_be_read_is_never_that_of_a_spot_account(margin: CapitalBench) -> None:
    """The last reading stays, so the zone stays YELLOW."""
    await margin.trade(Side.BUY, "AAPL/USD", "60")
    await margin.read()
    await margin.read("maintenance")
    status = read_margin(margin.sources, margin.name)
    assert (status.zone, status.is_applicable) == (MarginZone.YELLOW, True)


async def test_an_empty_account_is_rejected_and_analysed_without_an_error(spot: CapitalBench, start: datetime) -> None:
    """There is nothing to divide by, and the reason is that there is no balance."""
    spot.set_balance("USD", "0")
    spot.set_balance("BTC", "0")
    await spot.read()
    question = EntryQuestion(symbol="BTC", signal_score=Decimal(85), expected_return_pct=Decimal(5))
    found = await read_complete_analysis(spot.sources, spot.name, "BTC", question)
    assert (found.state.total_equity, found.kelly.size, found.scaling.risk_amount) == (0, 0, 0)
    assert (await read_recommendation(spot.sources, spot.name, question)).reason_codes == (ReasonCode.NO_BALANCE,)
    assert sampled(spot, start).sample.record.drawdown.peak == 0
