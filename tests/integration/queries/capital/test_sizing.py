"""Tests leverage, Kelly size, liquidity, risk parity and the gate with the market data of real paper brokers."""

from decimal import Decimal

import pytest

from shared.brokers.errors import NotSent
from shared.brokers.port.market_data import MarketData
from shared.domain.capital.arithmetic import cut_percent
from shared.domain.capital.execution import ExecutionMethod
from shared.domain.capital.facts import RequestedOdds
from shared.domain.capital.kelly import OddsSource
from shared.domain.capital.opportunity import OpportunityAction
from shared.domain.capital.recommendation import ReasonCode, Verdict
from shared.domain.capital.regime import MarketRegime
from shared.domain.errors import InvalidAmount
from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.domain.stop import StopMode, StopScope
from shared.persistence.stops import StopStore
from shared.queries.capital.errors import UnknownPair
from shared.queries.capital.models import EntryQuestion
from shared.queries.capital.recommendation import read_complete_analysis, read_recommendation
from shared.queries.capital.sizing import (
    parity_of_volatilities,
    read_kelly,
    read_leverage,
    read_liquidity,
    read_opportunity,
    read_risk_parity,
)
from shared.queries.capital.sources import CapitalSources, Memory
from tests.support.running.capital_bench import CapitalBench

GOOD = EntryQuestion(
    symbol="BTC",
    signal_score=Decimal(85),
    expected_return_pct=Decimal(5),
    odds=RequestedOdds(win_rate=Decimal("0.6"), average_win=Decimal(2), average_loss=Decimal(1)),
)


class NoMarkets:
    """A broker that does not answer."""

    async def of(self, broker: Broker) -> MarketData:
        raise NotSent(f"{broker.value} does not answer")


def without_markets(bench: CapitalBench) -> CapitalSources:
    """The sources of a bench while its broker shows no market data."""
    return CapitalSources(connections=bench.sources.connections, markets=NoMarkets(), stocks=bench.sources.stocks)


@pytest.mark.parametrize("text", ["BTC", "BTC-USD", "BTC/USD", "btcusdt"])
async def test_the_leverage_of_a_spot_account_is_computed_and_has_no_effect(spot: CapitalBench, text: str) -> None:
    """Every factor is there, whatever way the pair is written. The account cannot use more than 1."""
    found = await read_leverage(spot.sources, spot.name, text)
    assert (found.symbol, found.missing) == ("BTC/USD", None)
    assert found.atr_pct is not None
    assert found.leverage.factors is not None
    assert 2 <= found.leverage.optimal <= 5
    assert (found.leverage.effective, found.leverage.lowest, found.leverage.highest) == (1, 2, 5)


async def test_a_leverage_is_remembered_for_a_minute(spot: CapitalBench) -> None:
    """The same question gets the same answer, another one its own, and after a minute it is computed again."""
    seconds = [0.0]
    connections, markets, stocks = spot.sources.connections, spot.sources.markets, spot.sources.stocks
    sources = CapitalSources(connections, markets, stocks, leverages=Memory(lambda: seconds[0]))
    first = await read_leverage(sources, spot.name, "BTC")
    assert await read_leverage(sources, spot.name, "BTC-USD") is first
    other = await read_leverage(sources, spot.name, "BTC", win_rate=Decimal("0.6"), regime=MarketRegime.VOLATILE)
    assert other.leverage.factors is not None
    assert (other.leverage.factors.win, other.leverage.factors.regime) == (Decimal("1.2"), Decimal("0.6"))
    seconds[0] = 61.0
    assert (await read_leverage(sources, spot.name, "BTC")).computed_at > first.computed_at


async def test_an_atr_is_remembered_for_a_minute(spot: CapitalBench) -> None:
    """Different questions about one symbol read its 4-hour candles once."""
    seconds = [0.0]
    connections, markets, stocks = spot.sources.connections, spot.sources.markets, spot.sources.stocks
    sources = CapitalSources(connections, markets, stocks, ranges=Memory(lambda: seconds[0]))
    first = await read_leverage(sources, spot.name, "BTC")
    assert sources.ranges.get((Broker.KRAKEN, first.symbol)) == first.atr_pct
    sources.ranges.put((Broker.KRAKEN, first.symbol), Decimal(4))
    assert (await read_leverage(sources, spot.name, "BTC", win_rate=Decimal("0.6"))).atr_pct == 4
    seconds[0] = 61.0
    again = await read_leverage(sources, spot.name, "BTC", win_rate=Decimal("0.7"))
    assert again.atr_pct == first.atr_pct


async def test_a_margin_account_can_use_two(margin: CapitalBench) -> None:
    """A stock has no book: its quote and its usual volume give one. Coins are paid in full, also by the gate."""
    stock = await read_leverage(margin.sources, margin.name, "AAPL")
    assert (stock.symbol, stock.missing, stock.leverage.effective) == ("AAPL/USD", None, 2)
    coin = await read_leverage(margin.sources, margin.name, "BTC")
    assert (coin.symbol, coin.missing, coin.leverage.effective) == ("BTC/USD", None, 1)
    asked = await read_recommendation(margin.sources, margin.name, GOOD)
    assert (asked.recommendation, asked.effective_leverage) == (Verdict.ENTER, 1)
    assert asked.margin_required == asked.position_size_usd


async def test_without_market_data_the_leverage_is_3_with_a_low_confidence(spot: CapitalBench) -> None:
    """It is not remembered, so the answer is right as soon as the broker answers."""
    sources = without_markets(spot)
    found = await read_leverage(sources, spot.name, "BTC")
    assert (found.leverage.optimal, found.leverage.factors, found.leverage.confidence) == (3, None, 30)
    assert found.missing == "no ATR of 4-hour candles"
    assert sources.leverages.get((spot.name, found.symbol, None, None)) is None


async def test_the_kelly_size_uses_the_odds_of_the_request_or_the_defaults(spot: CapitalBench) -> None:
    """The answer says which. 0.6 and 2 are 20 % by half, which is clamped to 5 % and to the risk of 100 dollars."""
    asked = await read_kelly(spot.sources, spot.name, "BTC", odds=GOOD.odds)
    assert (asked.kelly.odds.win_rate_from, asked.kelly.half_kelly_pct) == (OddsSource.REQUEST, 20)
    assert (asked.kelly.clamped_pct, asked.size, asked.liquidity_factor) == (5, 100, 1)
    default = await read_kelly(spot.sources, spot.name, "BTC")
    assert (default.kelly.odds.win_rate, default.kelly.odds.ratio) == (Decimal("0.5"), Decimal("1.5"))
    assert default.kelly.odds.win_rate_from is default.kelly.odds.ratio_from is OddsSource.DEFAULT


async def test_without_an_order_book_the_kelly_size_is_0(spot: CapitalBench) -> None:
    """The other figures are there, and the answer says what is missing."""
    found = await read_kelly(without_markets(spot), spot.name, "BTC", odds=GOOD.odds)
    assert (found.size, found.liquidity_factor, found.kelly.size) == (0, None, 100)
    assert found.missing is not None


async def test_a_small_order_moves_no_price_and_a_huge_one_is_cut(spot: CapitalBench) -> None:
    """The cut order has an impact of at most 0.2 %."""
    small = await read_liquidity(spot.sources, spot.name, "BTC", Decimal(100))
    assert small.check is not None
    assert (small.check.impact_pct, small.check.factor, small.method) == (0, 1, ExecutionMethod.LIMIT)
    huge = await read_liquidity(spot.sources, spot.name, "BTC", Decimal(10**9), Side.SELL)
    assert huge.check is not None
    assert (huge.check.factor, huge.check.is_caution) == (Decimal("0.3"), True)
    assert cut_percent(huge.check.final_impact_pct) <= Decimal("0.2")
    missing = await read_liquidity(without_markets(spot), spot.name, "BTC", Decimal(100))
    assert (missing.check, missing.method) == (None, None)


async def test_risk_parity_divides_by_the_volatility_of_candles(spot: CapitalBench) -> None:
    """The shares add up to 100. A symbol that is named twice counts once."""
    found = await read_risk_parity(spot.sources, spot.name, ["ETH", "SOL-USD", "ETHUSDT"])
    assert sum(found.shares.values()) == 100
    assert set(found.shares) == {"ETH/USD", "SOL/USD"}
    less, more = sorted(found.volatilities, key=lambda each: found.volatilities[each])
    assert found.shares[less] >= found.shares[more]
    nothing = await read_risk_parity(without_markets(spot), spot.name, ["ETH"])
    assert (nothing.shares, nothing.missing) == ({}, ("ETH/USD",))


def test_risk_parity_of_given_volatilities() -> None:
    """The example: 2.5, 3.2 and 5.8."""
    volatilities = {"BTC": Decimal("2.5"), "ETH": Decimal("3.2"), "SOL": Decimal("5.8")}
    shares = parity_of_volatilities(volatilities).shares
    assert shares == {"BTC": Decimal("45.2"), "ETH": Decimal("35.3"), "SOL": Decimal("19.5")}
    with pytest.raises(InvalidAmount):
        parity_of_volatilities({"BTC": Decimal(0)})


async def test_a_pair_that_is_not_listed_is_named(spot: CapitalBench) -> None:
    """So is a pair that is not paid with cash."""
    with pytest.raises(UnknownPair, match="lists no pair 'NOPE-USD'"):
        await read_leverage(spot.sources, spot.name, "NOPE-USD")
    with pytest.raises(UnknownPair, match="lists no pair"):
        await read_leverage(spot.sources, spot.name, "BTC" * 10_000)


async def test_a_good_signal_may_enter(spot: CapitalBench) -> None:
    """The size is the class's risk of 100 dollars, and only the process of the gate holds the approval."""
    found = await read_recommendation(spot.sources, spot.name, GOOD)
    assert (found.recommendation, found.action) == (Verdict.ENTER, OpportunityAction.ENTER_NEW)
    assert 90 < found.position_size_usd <= 100
    assert found.effective_leverage == 1
    assert found.approved is not None
    assert "approved" not in found.model_dump()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"expected_return_pct": Decimal("0.1")}, ReasonCode.RETURN_BELOW_COST),
        ({"symbol": "ETH", "side": Side.SELL}, ReasonCode.NO_MARGIN_ACCOUNT),
        ({"odds": RequestedOdds(win_rate=Decimal("0.1"))}, ReasonCode.NO_EDGE),
    ],
)
async def test_a_bad_signal_is_rejected_with_its_reason(
    spot: CapitalBench, changes: dict[str, object], code: ReasonCode
) -> None:
    """Each with one sentence."""
    found = await read_recommendation(spot.sources, spot.name, GOOD.model_copy(update=changes))
    assert (found.recommendation, found.reason_codes, found.approved) == (Verdict.REJECT, (code,), None)
    assert found.reason.endswith(".")


async def test_a_short_position_is_rejected_on_a_margin_account(margin: CapitalBench) -> None:
    """The account could hold it, and nija opens none. The same entry as a purchase may be placed."""
    question = GOOD.model_copy(update={"symbol": "AAPL"})
    assert (await read_recommendation(margin.sources, margin.name, question)).recommendation is Verdict.ENTER
    short = question.model_copy(update={"side": Side.SELL})
    found = await read_recommendation(margin.sources, margin.name, short)
    assert (found.recommendation, found.reason_codes) == (Verdict.REJECT, (ReasonCode.SHORT_NOT_EXECUTED,))


async def test_what_is_not_known_is_a_rejection_and_no_error(spot: CapitalBench) -> None:
    """Neither without market data, nor without a price of what the account holds."""
    found = await read_recommendation(without_markets(spot), spot.name, GOOD)
    assert found.reason_codes == (ReasonCode.MARKET_DATA_MISSING,)
    # ETH/BTC and ETH/USD together are a price of bitcoin, too.
    await spot.redis.hdel(spot.keys.prices, "BTC/USD", "ETH/BTC")
    found = await read_recommendation(spot.sources, spot.name, GOOD)
    assert (found.recommendation, found.reason_codes) == (Verdict.REJECT, (ReasonCode.ACCOUNT_DATA_OLD,))
    assert "no current price of BTC" in found.reason


async def test_a_stop_and_a_full_margin_reject(margin: CapitalBench) -> None:
    """A stop of the broker or of all comes first, and one of another broker does not count. YELLOW allows no entry."""
    question = GOOD.model_copy(update={"symbol": "AAPL"})
    stops = StopStore(margin.engine)
    stops.change(StopScope(broker=Broker.KRAKEN), StopMode.HALT, actor="test", reason="")
    assert (await read_recommendation(margin.sources, margin.name, question)).recommendation is Verdict.ENTER
    for scope in (StopScope(broker=Broker.ALPACA), StopScope()):
        stops.change(scope, StopMode.CLOSE_ONLY, actor="test", reason="")
        found = await read_recommendation(margin.sources, margin.name, question)
        assert found.reason_codes == (ReasonCode.STOPPED,)
        analysis = await read_complete_analysis(margin.sources, margin.name, "AAPL", question)
        assert analysis.recommendation is not None
        assert analysis.recommendation.reason_codes == (ReasonCode.STOPPED,)
        stops.change(scope, None, actor="test", reason="")
    await margin.trade(Side.BUY, "AAPL/USD", "60")
    await margin.read()
    found = await read_recommendation(margin.sources, margin.name, question)
    assert found.reason_codes == (ReasonCode.MARGIN_ZONE,)
    assert "YELLOW_ZONE" in found.reason


async def test_a_symbol_that_is_held_already_loses_points(spot: CapitalBench) -> None:
    """Its correlation with the held bitcoin is 1 where the price moves. Another score is refused."""
    spot.paper.ask("POST", "price", {"symbol": "BTC/USD", "price": None})
    found = await read_opportunity(spot.sources, spot.name, Decimal(85), "BTC")
    assert (found.score, found.action) == (75, OpportunityAction.ENTER_NEW)
    assert (await read_opportunity(spot.sources, spot.name, Decimal(85))).score == 85
    with pytest.raises(InvalidAmount):
        await read_opportunity(spot.sources, spot.name, Decimal(101))


async def test_an_analysis_holds_every_part(spot: CapitalBench) -> None:
    """The parts agree with each other. Without a signal there is neither an opportunity nor a recommendation."""
    found = await read_complete_analysis(spot.sources, spot.name)
    assert (found.symbol, found.state.total_equity, found.leverage.symbol) == ("BTC/USD", 5_000, "BTC/USD")
    assert sum(found.risk_parity.shares.values()) == 100
    assert found.liquidity.check is not None
    assert (found.opportunity, found.recommendation) == (None, None)
    asked = await read_complete_analysis(spot.sources, spot.name, "ETH", GOOD)
    assert asked.opportunity is not None
    assert asked.recommendation is not None
    assert asked.recommendation.odds == asked.kelly.kelly.odds
