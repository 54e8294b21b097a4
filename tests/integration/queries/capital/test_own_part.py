"""Tests that questions about capital know what the strategy holds and how its closed trades went."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from shared.domain.amounts import ZERO
from shared.domain.capital.kelly import OddsSource
from shared.domain.capital.opportunity import OpportunityAction
from shared.domain.capital.recommendation import ReasonCode, Verdict
from shared.domain.fill import Side
from shared.domain.identity import FillId
from shared.domain.strategy.decide import decide_from
from shared.persistence.traders import TraderBooks, TraderStore
from shared.queries.capital.accounts import read_account
from shared.queries.capital.models import EntryQuestion
from shared.queries.capital.overview import read_scaling
from shared.queries.capital.own import read_own_part
from shared.queries.capital.recommendation import read_recommendation
from shared.queries.capital.sizing import read_kelly, read_opportunity
from tests.support.running.capital_bench import CapitalBench
from tests.support.strategy import BTC_USD, fill, inputs, position

GOOD = EntryQuestion(symbol="ETH", signal_score=Decimal(85), expected_return_pct=Decimal(5))
EMPTY = replace(position(), bought=ZERO, cost=ZERO, quantity=ZERO, opened_at=None)
D = Decimal


def books_of(bench: CapitalBench) -> TraderBooks:
    return TraderStore(bench.engine).of(bench.name.broker, bench.name.account)


def trade(books: TraderBooks, name: str, at: datetime, sold_at: str | None = None) -> None:
    """Buy 0.01 BTC at 50,000 for the strategy; and sell it again, if there is a price."""
    prices = [(Side.BUY, "50000"), *([] if sold_at is None else [(Side.SELL, sold_at)])]
    fills = [
        fill(side, "0.01", price).model_copy(update={"executed_at": at, "fill_id": FillId(f"{name}-{side}")})
        for side, price in prices
    ]
    books.book_fills(name, EMPTY, fills)


async def test_a_position_of_the_strategy_counts_and_a_persons_does_not(spot: CapitalBench) -> None:
    """The account holds 0.02 BTC, and the strategy bought half of it. Its newest score of 0 makes it the worst one."""
    assert read_scaling(spot.sources, spot.name).open_positions == 0
    books, now = books_of(spot), spot.sources.now()
    trade(books, "opening", now)
    assert read_scaling(spot.sources, spot.name).open_positions == 1
    own = read_own_part(spot.sources, read_account(spot.sources.connections, spot.name, now)).account.facts
    assert [(each.quantity, each.opened_by_nija) for each in own.positions] == [(D("0.01"), True), (D("0.01"), False)]
    assert own.exposure == 500
    assert (await read_opportunity(spot.sources, spot.name, D(75))).action is OpportunityAction.HOLD
    books.record("old", 1, BTC_USD, decide_from(inputs()), None)
    books.record("new", 2, BTC_USD, decide_from(inputs(volume=D(1), at=now)), None)
    found = await read_opportunity(spot.sources, spot.name, D(75))
    assert (found.action, found.worst, found.worst_score) == (OpportunityAction.ENTER_AND_CLOSE_WORST, "BTC/USD", 0)
    answer = await read_recommendation(spot.sources, spot.name, GOOD)
    assert (answer.reason_codes, answer.close_first) == ((ReasonCode.CLOSE_WORST_FIRST,), "BTC/USD")


@pytest.mark.parametrize(("age_days", "source"), [(29, OddsSource.OWN_TRADES), (31, OddsSource.DEFAULT)])
async def test_thirty_trades_of_the_last_30_days_are_the_odds(
    spot: CapitalBench, age_days: int, source: OddsSource
) -> None:
    """They all lost, so there is no edge until they are too old. Then an entry is tried again."""
    books, at = books_of(spot), spot.sources.now() - timedelta(days=age_days)
    for number in range(30):
        trade(books, f"trade-{number}", at, sold_at="49000")
    kelly = (await read_kelly(spot.sources, spot.name, "ETH")).kelly
    assert kelly.odds.win_rate_from is kelly.odds.ratio_from is source
    answer = await read_recommendation(spot.sources, spot.name, GOOD)
    if source is OddsSource.OWN_TRADES:
        assert answer.reason_codes == (ReasonCode.NO_EDGE,)
        assert f"they count until {at + timedelta(days=30):%Y-%m-%d %H:%M} UTC" in answer.reason
    else:
        assert answer.recommendation is Verdict.ENTER
