"""Tests what a backtest does with orders: prices, fees, lots, the order of events and gaps."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from services.backtest.account import BacktestAccount
from services.backtest.candle_file import CandleHistory
from services.backtest.capital import PaperCapital
from services.backtest.costs import UnknownBacktestSymbol, Venue, venue_of
from services.backtest.market import FourHourAtr, PaperMarket, four_hour_candles
from services.backtest.result import BacktestResult, largest_drawdown
from services.backtest.run import Backtest
from shared.brokers.registry import profile_of
from shared.domain.capital.recommendation import AdjustmentName, ReasonCode, Recommendation, Verdict
from shared.domain.capital.volatility import atr_pct
from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.domain.market_data import Candle
from shared.domain.strategy.decision import Enter, ExitReason, StrategyDecision
from shared.domain.symbol import Symbol
from shared.exchange.instruments import INSTRUMENTS
from shared.indicators.decide import decide
from shared.indicators.window import Window
from tests.support.strategy import BTC_USD, FIVE_MINUTES, STARTS_AT, Zigzag, account, candle_at

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


def run(candles: Sequence[Candle], venue: Venue = VENUE, **options: Any) -> BacktestResult:
    """A backtest whose first decision is on the last candle of the warm-up. The 4-hour ATR is known to be 2 %."""
    options = {"atr": lambda _: D(2)} | options
    return Backtest(CandleHistory((*WARM, *candles), (), 299), venue, **options).run()


def test_an_entry_is_executed_at_the_next_open_with_slippage_and_fee() -> None:
    """The gate approves 1.5 % of 10,000 USD at a limit of 3,153.9. It is bought at 3,153 and 0.1 % more; the fee is 0.26 %."""
    result = run(later(("3153", "3154", "3152", "3153")), venue_of(Broker.KRAKEN, BTC_USD, slippage=D("0.001")))
    quantity = D("0.04756016")
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
        pytest.approx(D(price), abs=D("0.001")) for price in (3179, 3206, 3233)
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
    assert result.decisions == {"no decision: gap": 2, "enter": 1}
    assert result.not_bought == {"a gap follows": 1}


def test_a_candle_without_volume_leads_to_no_decision_while_it_is_in_the_window() -> None:
    """The report counts such candles by their reason, and nothing is bought on them."""
    silent = WARM[-2].model_copy(update={"base_volume": D(0)})
    result = Backtest(CandleHistory((*WARM[:-2], silent, WARM[-1], *QUIET), (), 299), VENUE, atr=lambda _: D(2)).run()
    assert result.decisions == {"no decision: no_volume": 3}
    assert not result.position_open


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


def answers(candles: Sequence[Candle], **options: Any) -> list[Recommendation]:
    """What the capital gate answered to the entries of a backtest."""
    found: list[Recommendation] = []

    def note(_: StrategyDecision, answer: Recommendation | None) -> None:
        if answer is not None:
            found.append(answer)

    run(candles, on_decision=note, **options)
    return found


QUIET = later(("3152", "3153", "3151", "3152"), ("3152", "3153", "3151", "3152"))


def test_the_capital_gate_answers_for_every_entry() -> None:
    """The strategy wants 600 USD, 6 % of its equity; the class of the account allows 1.5 %, and only that is bought."""
    result = run(QUIET)
    (answer,) = answers(QUIET)
    assert (answer.recommendation, answer.position_size_usd) == (Verdict.ENTER, D(150))
    assert answer.decided_by is AdjustmentName.CLASS_RISK
    assert result.position_open
    assert result.equity_before - result.equity_after < 1


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"atr": lambda _: None}, ReasonCode.MARKET_DATA_MISSING),
        ({"venue": venue_of(Broker.COINBASE, BTC_USD), "equity": D(49)}, ReasonCode.RETURN_BELOW_COST),
        ({"equity": D(50)}, None),
    ],
)
def test_what_the_gate_rejects_is_not_bought(options: dict[str, Any], code: ReasonCode | None) -> None:
    """No 4-hour ATR is no market data; at Coinbase a small account needs 2 %, and the distance to 2R is 1.7 %."""
    result = run(QUIET, **options)
    codes = {code for answer in answers(QUIET, **options) for code in answer.reason_codes}
    assert codes == ({code} if code else set())
    assert result.position_open == (code is None)
    assert result.decisions.get(f"rejected: {code}", 0) == (2 if code else 0)


def test_a_drawdown_halves_what_the_gate_approves() -> None:
    """A crash takes 10 % of the equity of a run; the gate of the next entry knows it."""
    market = PaperMarket(INSTRUMENTS[BTC_USD], lambda _: D(2))
    capital = PaperCapital(profile_of(Broker.KRAKEN), market, D(10_000))
    entry = entry_of(equity_usd=D(9_000))
    assert capital.ask(entry, D(9_000)).position_size_usd == D(135)
    capital.read(D(9_000), STARTS_AT)
    assert capital.ask(entry, D(9_000)).position_size_usd == D("67.5")
    capital.read(D(9_101), STARTS_AT)
    capital.read(D(9_101), STARTS_AT)  # 8.99 %: a point inside the better state
    assert capital.ask(entry, D(9_101)).position_size_usd == D("94.5")


def test_thirty_losing_trades_leave_no_edge() -> None:
    """From then on the gate judges by the account's own trades, and rejects."""
    capital = PaperCapital(profile_of(Broker.KRAKEN), PaperMarket(INSTRUMENTS[BTC_USD], lambda _: D(2)), D(10_000))
    for _ in range(29):
        capital.close(D(-1), STARTS_AT)
    assert capital.ask(entry_of(), D(10_000)).approved is not None
    capital.close(D(-1), STARTS_AT)
    assert capital.ask(entry_of(), D(10_000)).reason_codes == (ReasonCode.NO_EDGE,)


def entry_of(**changes: Any) -> Enter:
    """The entry on the last candle of the warm-up."""
    entry = decide(Window.of(WARM), None, account(WARM, instrument=VENUE.instrument, fees=VENUE.fees, **changes))
    assert isinstance(entry, Enter)
    return entry


def test_candles_of_four_hours_are_complete_or_missing() -> None:
    """From 00:00 on, 48 of five minutes each; without the one at 05:00, the second candle is missing."""
    candles = Zigzag().candles(200)
    whole = list(four_hour_candles(candles))
    assert [candle.opened_at.hour for candle in whole] == [0, 4, 8, 12]
    first = whole[0]
    assert (first.open, first.close) == (candles[0].open, candles[47].close)
    assert (first.high, first.low) == (max(c.high for c in candles[:48]), min(c.low for c in candles[:48]))
    assert first.base_volume == 4800
    holed = [candle for candle in candles if (candle.opened_at.hour, candle.opened_at.minute) != (5, 0)]
    assert [candle.opened_at.hour for candle in four_hour_candles(holed)] == [0, 8, 12]


def test_the_four_hour_atr_needs_fifteen_candles_in_a_row() -> None:
    """It is known from the close of the fifteenth on, is the one of the gate, and a gap begins a new row."""
    candles = Zigzag().candles(48 * 33)
    atr = FourHourAtr(candles)
    closes = STARTS_AT + 15 * timedelta(hours=4)
    assert atr.at(closes - timedelta(seconds=1)) is None
    assert atr.at(closes) == atr_pct(list(four_hour_candles(candles))[:15])
    holed = FourHourAtr([candle for candle in candles if candle.opened_at != STARTS_AT + 16 * timedelta(hours=4)])
    assert holed.at(STARTS_AT + 16 * timedelta(hours=4)) is not None
    assert holed.at(STARTS_AT + 31 * timedelta(hours=4)) is None
    assert holed.at(STARTS_AT + 32 * timedelta(hours=4)) is not None
    assert holed.at(candles[-1].closes_at + timedelta(hours=8)) is None  # what is known is too old


def test_an_order_never_costs_more_than_the_cash() -> None:
    """The next open is twice as high: what can be paid with its fee is bought."""
    account = BacktestAccount(VENUE, D(100))
    answer = PaperCapital(profile_of(Broker.KRAKEN), PaperMarket(INSTRUMENTS[BTC_USD], lambda _: D(2)), D(10_000)).ask(
        entry_of(), D(10_000)
    )
    assert answer.approved is not None
    assert account.buy(entry_of(), answer.approved, D(6304), STARTS_AT)
    assert D(0) <= account.cash < D("0.01")
    assert not BacktestAccount(VENUE, D("0.4")).buy(entry_of(), answer.approved, D(6304), STARTS_AT)


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
    assert largest_drawdown([D(value) for value in values]) == D("0.25")
    assert largest_drawdown([]) == 0


def test_an_unknown_symbol_is_refused_with_the_known_ones() -> None:
    """The simulated exchange has the lots and minimums."""
    with pytest.raises(UnknownBacktestSymbol, match="XYZ/USD is not listed by the simulated exchange; it has: BTC/USD"):
        venue_of(Broker.KRAKEN, Symbol("XYZ", "USD"))
