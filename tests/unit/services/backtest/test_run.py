"""Tests what a backtest does with orders: prices, fees, lots, the order of events and gaps."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

import pytest

from services.backtest.candle_file import CandleHistory
from services.backtest.costs import UnknownBacktestSymbol, Venue, venue_of
from services.backtest.result import BacktestResult, largest_drawdown
from services.backtest.run import Backtest
from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.domain.market_data import Candle
from shared.domain.strategy.decision import Enter, ExitReason
from shared.domain.symbol import Symbol
from tests.support.strategy import BTC_USD, FIVE_MINUTES, STARTS_AT, Zigzag, candle_at

D = Decimal
VENUE = venue_of(Broker.KRAKEN, BTC_USD, slippage=D(0))
WARM = Zigzag().candles()
"""Its last candle closes at 3,152 and is entered with a stop at 3,125."""


def later(*shapes: tuple[str, str, str, str]) -> list[Candle]:
    """Candles after the warm-up: open, high, low and close of each."""
    return [
        candle_at(300 + number, opening=D(o), high=D(h), low=D(low), close=D(c))
        for number, (o, h, low, c) in enumerate(shapes)
    ]


def run(candles: Sequence[Candle], venue: Venue = VENUE, **options: object) -> BacktestResult:
    """A backtest whose first decision is on the last candle of the warm-up."""
    return Backtest(CandleHistory((*WARM, *candles), (), 299), venue, **options).run()  # type: ignore[arg-type]


def test_an_entry_is_executed_at_the_next_open_with_slippage_and_fee() -> None:
    """600 USD at 3,152 are 0.1903553 BTC, bought at 3,153 and 0.1 % more; Kraken takes 0.26 %."""
    result = run(later(("3153", "3154", "3152", "3153")), venue_of(Broker.KRAKEN, BTC_USD, slippage=D("0.001")))
    quantity = D("0.19035532")
    price = D(3153) * D("1.001")
    cost = (price * quantity).quantize(D("0.00001"))
    fee = (cost * D("0.0026")).quantize(D("0.00001"))
    assert result.position_open
    assert result.fees == fee
    assert result.equity_after == 10_000 - cost - fee + quantity * 3153


def test_the_stop_comes_before_the_target_within_a_candle() -> None:
    """A candle that reaches both is the worse of the two: everything is sold at the stop."""
    result = run(later(("3152", "3153", "3151", "3152"), ("3152", "3300", "3120.48", "3290")))
    (trade,) = result.trades
    assert [(sale.reason, sale.price) for sale in trade.exits] == [(ExitReason.STOP, D(3125))]
    assert trade.net_profit < 0
    assert not result.position_open


def test_a_gap_below_the_stop_is_sold_at_the_open() -> None:
    """The stop was at 3,125; the candle opens at 3,122, and nothing better is assumed."""
    result = run(later(("3152", "3153", "3151", "3152"), ("3122", "3200", "3121", "3190")))
    assert [(sale.reason, sale.price) for sale in result.trades[0].exits] == [(ExitReason.STOP, D(3122))]


def test_one_percent_below_the_entry_is_sold_before_a_lower_stop() -> None:
    """With the stop at 3,125 and an entry at 3,165, the emergency is at 3,133.35 and comes first."""
    result = run(later(("3165", "3166", "3164", "3165"), ("3160", "3161", "3100", "3150")))
    (sale,) = result.trades[0].exits
    assert sale.reason is ExitReason.EMERGENCY
    assert sale.price == pytest.approx(D("3133.35"), abs=D("0.0001"))  # the cost was rounded to five decimals


def test_targets_sell_their_parts_at_their_own_prices() -> None:
    """R is 27: half at 3,179, a quarter at 3,206 and the rest at 3,233, in one candle that only rises."""
    result = run(later(("3152", "3153", "3151", "3152"), ("3160", "3300", "3160", "3290")))
    (trade,) = result.trades
    assert {sale.reason for sale in trade.exits} == {ExitReason.TARGET}
    # The cost was rounded to five decimals, and the average price and R follow from it.
    assert [sale.price for sale in trade.exits] == [
        pytest.approx(D(price), abs=D("0.0001")) for price in (3179, 3206, 3233)
    ]
    assert sum(sale.quantity for sale in trade.exits) == trade.quantity
    assert result.equity_after - result.equity_before == trade.net_profit


def test_the_fee_of_a_purchase_may_be_taken_from_the_coin() -> None:
    """Binance takes it from the coin, so less is sold than was bought."""
    result = run(
        later(("3152", "3153", "3151", "3152"), ("3160", "3300", "3160", "3290")),
        venue_of(Broker.BINANCE, BTC_USD, slippage=D(0)),
    )
    (trade,) = result.trades
    sold = sum(sale.quantity for sale in trade.exits)
    assert sold == trade.quantity - (trade.quantity * D("0.001")).quantize(D("0.00000001"))
    assert trade.net_profit == result.equity_after - result.equity_before


def test_an_entry_is_dropped_after_a_gap() -> None:
    """Its price has gone; the 300 candles after the gap are decided on with faults only."""
    after = [
        candle.model_copy(update={"opened_at": candle.opened_at + timedelta(hours=1)})
        for candle in later(("3152", "3153", "3151", "3152"), ("3160", "3300", "3160", "3290"))
    ]
    result = run(after)
    assert (result.trades, result.position_open, result.equity_after) == ((), False, D(10_000))
    assert result.decisions == {"hold: window": 2, "enter": 1}


def test_after_a_gap_only_the_emergency_is_judged() -> None:
    """The candles cannot be decided on, so the stop at 3,125 waits; 1 % below the entry is sold nevertheless."""
    bought = later(("3152", "3153", "3151", "3152"))
    shapes = (("3152", "3153", "3151", "3152"), ("3130", "3131", "3122", "3130"), ("3130", "3131", "3100", "3110"))
    after = [c.model_copy(update={"opened_at": c.opened_at + timedelta(hours=1)}) for c in later(*shapes)]
    result = run([*bought, *after])
    (sale,) = result.trades[0].exits
    assert sale.reason is ExitReason.EMERGENCY
    assert sale.price == pytest.approx(D("3120.48"), abs=D("0.0001"))
    assert sale.at == after[-1].closes_at


def test_a_gate_may_lower_a_size_and_not_raise_it() -> None:
    """A tenth of the size costs a tenth; nothing costs nothing; more is an error of the gate."""
    candles = later(("3152", "3153", "3151", "3152"), ("3122", "3200", "3121", "3190"))
    whole = run(candles).trades[0].quantity
    tenth = run(candles, gate=lambda entry: entry.size_usd / 10).trades[0].quantity
    assert abs(tenth * 10 - whole) < D("0.0000002")
    nothing = run(candles, gate=lambda _: D(0))
    assert nothing.trades == ()
    assert nothing.decisions["not ordered: too small after gate and cash"] == 2  # each candle asks again
    with pytest.raises(ValueError, match="a gate may only lower a size"):
        run(candles, gate=lambda entry: entry.size_usd * 2)


def test_an_order_never_costs_more_than_the_cash() -> None:
    """The next open is twice as high: what can be paid with its fee is bought."""
    entries: list[Enter] = []
    result = run(
        later(("90000", "90001", "89999", "90000")),
        equity=D(100),
        gate=lambda entry: entries.append(entry) or entry.size_usd,  # type: ignore[func-returns-value]
    )
    assert result.position_open
    assert VENUE.affordable(D(100), D(3152)) * D(3152) * D("1.0026") <= 100
    assert entries[0].size_usd <= D(6)
    assert result.fees <= D("0.5")


def test_a_run_is_reproducible() -> None:
    """The same candles lead to the same report, apart from the time that it took."""
    candles = Zigzag(start=D(3152)).candles(60)
    moved = [c.model_copy(update={"opened_at": c.opened_at + 300 * FIVE_MINUTES}) for c in candles]
    first, second = (run(moved).model_dump(exclude={"seconds"}) for _ in range(2))
    assert first == second
    assert first["trades"] or first["position_open"]


def test_an_execution_pays_what_the_simulated_exchange_takes() -> None:
    """Cost and fee are rounded once, to the steps of the pair."""
    fill = VENUE.execute(Side.SELL, D("0.12345678"), D(40_000), STARTS_AT)
    assert (fill.cost, fill.fee, fill.fee_currency) == (D("4938.27120"), D("12.83951"), "USD")


def test_the_largest_drawdown_is_from_the_highest_peak_before() -> None:
    """From 120 to 90 are 25 %; the deeper fall from 100 to 80 before is 20 %."""
    values = [100, 80, 120, 90, 130]
    assert largest_drawdown([(STARTS_AT, D(value)) for value in values]) == D("0.25")
    assert largest_drawdown([]) == 0


def test_an_unknown_symbol_is_refused_with_the_known_ones() -> None:
    """The simulated exchange has the lots and minimums."""
    with pytest.raises(UnknownBacktestSymbol, match="XYZ/USD is not listed by the simulated exchange; it has: BTC/USD"):
        venue_of(Broker.KRAKEN, Symbol("XYZ", "USD"))
