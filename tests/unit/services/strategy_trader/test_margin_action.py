"""Tests what the trader sells when margin runs short: how much, how often, and what a restart changes."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from services.strategy_trader.dealer import Dealer
from services.strategy_trader.emergency import sale_account
from services.strategy_trader.margin import MarginWatch
from shared.domain.capital.facts import HeldPosition, MarginFacts
from shared.domain.capital.margin import MarginAction, MarginActionState, PositionCut, ZoneAction
from shared.domain.fill import Side
from shared.domain.identity import Broker, DecisionId
from shared.domain.stop import StopMode
from shared.domain.strategy.decide import decide_again
from shared.domain.strategy.decision import Enter, Exit, ExitReason
from shared.domain.strategy.exits import whole_exit
from shared.domain.strategy.explanation import explain
from shared.domain.strategy.position import StrategyPosition
from shared.domain.symbol import Symbol
from shared.persistence.errors import DatabaseUnavailable
from tests.support.capital import instrument_of
from tests.support.strategy import INSTRUMENT, position, with_last
from tests.support.trading_world import CANDLES, CLOSE, WorldTrader, running
from tests.support.virtual_time import BEGINS_AT, VirtualTime, directly

D = Decimal
CHECK_SECONDS = 30
CYCLE_SECONDS = 150


@pytest.fixture
def time() -> VirtualTime:
    """It stands at noon."""
    return VirtualTime()


def bought(base: str, quantity: str = "1", price: Decimal = CLOSE) -> StrategyPosition:
    """A position of the strategy, with a stop that is far away."""
    held = position(quantity, str(price), str(CLOSE - 100))
    return replace(held, instrument=instrument_of(base, broker=Broker.ALPACA, lot="0.01"))


def used(pct: str) -> MarginFacts:
    """This percentage of a wallet of 10,000 is used."""
    return MarginFacts(wallet=D(10_000), used=D(pct) * 100, most_leverage=D(2))


def a_trader(time: VirtualTime, pct: str, *held: StrategyPosition, **facts: Any) -> WorldTrader:
    """A trader of a margin account that holds these positions of the strategy."""
    trader = WorldTrader.at(Broker.ALPACA, time, margin=used(pct), **facts)
    for each in held or (bought("BTC"), bought("ETH", "0.5")):
        trader.books.positions[f"opening-{each.instrument.base}"] = each
    return trader


def sold(trader: WorldTrader) -> list[tuple[str, Decimal]]:
    """What was sold, in its order."""
    sales = [each for each in trader.executor.results.values() if each.side is Side.SELL]
    return [(each.symbol.base, each.quantity) for each in sales]


async def test_orange_sells_30_percent_of_each_position_once_and_again_after_five_minutes(time: VirtualTime) -> None:
    """It is sold within one check. The second round takes 30 % of what is left."""
    trader = a_trader(time, "80")
    async with running(trader.loop()):
        await time.run_for(CHECK_SECONDS + 1)
        assert sold(trader) == [("BTC", D("0.3")), ("ETH", D("0.15"))]
        await time.run_for(4 * 60)
        assert len(sold(trader)) == 2
        await time.run_for(60 + CHECK_SECONDS)
    assert sold(trader)[2:] == [("BTC", D("0.21")), ("ETH", D("0.1"))]
    sales = [each for each in trader.decisions() if isinstance(each, Exit)]
    assert {each.reason for each in sales} == {ExitReason.MARGIN_REDUCE}
    assert all(each.outcome for each in trader.books.records.values() if isinstance(each.decision, Exit))


async def test_what_a_person_bought_of_the_same_coin_stays(time: VirtualTime) -> None:
    """The account holds six bitcoins, and the strategy opened one of them."""
    person = HeldPosition(instrument=bought("BTC").instrument, quantity=D(6), price=CLOSE)
    trader = a_trader(time, "80", bought("BTC"), foreign=(person,))
    async with running(trader.loop()):
        await time.run_for(CHECK_SECONDS + 1)
    assert sold(trader) == [("BTC", D("0.3"))]


async def test_red_closes_the_worst_position_one_at_a_time_until_below_75(time: VirtualTime) -> None:
    """Between 75 and 90 it goes on. Below 75 the last position stays."""
    positions = bought("BTC"), bought("ETH", price=CLOSE * D("1.005")), bought("SOL", price=CLOSE * D("1.002"))
    trader = a_trader(time, "90", *positions)
    async with running(trader.loop()):
        await time.run_for(1)
        assert sold(trader) == [("ETH", D(1))]
        trader.venue.margin = used("80")
        await time.run_for(CHECK_SECONDS)
        assert sold(trader) == [("ETH", D(1)), ("SOL", D(1))]
        trader.venue.margin = used("74.99")
        await time.run_for(10 * CHECK_SECONDS)
    assert len(sold(trader)) == 2
    assert trader.books.margin_action is not None
    assert not trader.books.margin_action.is_closing


async def test_red_waits_for_a_reading_that_shows_the_last_sale(time: VirtualTime) -> None:
    """The margin of an older reading is too high, so a second position would be closed without need."""
    trader = a_trader(time, "95", read_at=BEGINS_AT)
    async with running(trader.loop()):
        await time.run_for(4 * CHECK_SECONDS)
        assert len(sold(trader)) == 1
        trader.venue.read_at = None
        await time.run_for(CHECK_SECONDS)
    assert len(sold(trader)) == 2


async def test_a_position_that_nobody_buys_does_not_hold_up_the_others(time: VirtualTime) -> None:
    """Every sale executes nothing. The positions take turns, each once in a minute."""
    trader = a_trader(time, "95", bought("BTC"), bought("ETH", price=CLOSE * D("1.005")))
    trader.executor.fails = True
    async with running(trader.loop()):
        await time.run_for(3 * CHECK_SECONDS + 1)
    assert [base for base, _ in sold(trader)] == ["ETH", "BTC", "ETH", "BTC"]


async def test_a_position_that_an_emergency_could_not_sell_holds_up_no_round(time: VirtualTime) -> None:
    """The worst position is an emergency, and its sales fill nothing. Until it is tried again, the other one is closed."""
    trader = a_trader(time, "95", bought("BTC"), bought("ETH", price=CLOSE * D("1.02")))
    trader.executor.fails = True
    async with running(trader.loop()):
        await time.run_for(CHECK_SECONDS - 1)
        trader.executor.fails = False
        await time.run_for(2)
        assert [each.symbol.base for each in trader.executor.results.values() if each.fills] == ["BTC"]


async def test_a_sale_that_hangs_holds_up_the_other_positions_of_red_for_five_minutes(time: VirtualTime) -> None:
    """The worst position is ether, whose sale does not end. Its pair gets no second order, and bitcoin is closed."""
    trader = a_trader(time, "95", bought("BTC"), bought("ETH", price=CLOSE * D("1.005")))
    trader.executor.hanging = ("ETH",)
    async with running(trader.loop()):
        await time.run_for(4 * 60)
        assert sold(trader) == []
        await time.run_for(2 * 60)
        assert sold(trader) == [("BTC", D(1))]
        await time.run_for(20 * 60)
    assert trader.executor.sent == [(Side.SELL, D(1)), (Side.SELL, D(1))]


async def test_a_sale_that_hangs_ends_no_reduction_of_the_other_positions(time: VirtualTime) -> None:
    """The account stays in ORANGE. Bitcoin is reduced again, while the order for ether of the first round hangs."""
    trader = a_trader(time, "80")
    trader.executor.hanging = ("ETH",)
    async with running(trader.loop()):
        await time.run_for(7 * 60)
        assert sold(trader) == [("BTC", D("0.3")), ("BTC", D("0.21"))]
    assert [quantity for _, quantity in trader.executor.sent].count(D("0.15")) == 1


async def test_a_round_that_was_stored_and_not_sent_is_sent_once_by_the_next_process(time: VirtualTime) -> None:
    """The first process was killed between the two. A third process finds nothing to do."""
    trader = a_trader(time, "80")
    cuts = (
        PositionCut(symbol=INSTRUMENT.symbol, side=Side.SELL, quantity=D("0.3")),
        PositionCut(symbol=bought("ETH").instrument.symbol, side=Side.SELL, quantity=D("0.15")),
    )
    stored = MarginAction(kind=ZoneAction.REDUCE, started_at=BEGINS_AT, cuts=cuts)
    trader.books.margin_action = MarginActionState(last=stored, reduced_at=BEGINS_AT)
    for process in ("second", "third"):
        async with running(trader.loop(process)):
            await time.run_for(2 * CHECK_SECONDS)
    assert sold(trader) == [("BTC", D("0.3")), ("ETH", D("0.15"))]
    assert len(trader.executor.sent) == 2
    assert trader.books.margin_action.last == stored.model_copy(update={"is_final": True})


async def test_a_half_sent_reduction_is_carried_out_whole_by_the_next_process(time: VirtualTime) -> None:
    """The order of the first position alone has led out of the zone. The other one is sold too, as without a crash."""
    trader = a_trader(time, "70", bought("ETH", "0.5"))
    cut = PositionCut(symbol=bought("ETH").instrument.symbol, side=Side.SELL, quantity=D("0.15"))
    last = MarginAction(kind=ZoneAction.REDUCE, started_at=BEGINS_AT, cuts=(cut,))
    trader.books.margin_action = MarginActionState(last=last, reduced_at=BEGINS_AT)
    async with running(trader.loop()):
        await time.run_for(2 * CHECK_SECONDS)
    assert sold(trader) == [("ETH", D("0.15"))]


async def test_a_stored_round_is_not_sent_after_the_account_has_left_the_zone(time: VirtualTime) -> None:
    """A person paid money in while no process ran for six minutes. Nothing has to be sold any more."""
    trader = a_trader(time, "74.99")
    started_at = BEGINS_AT - timedelta(minutes=6)
    cut = PositionCut(symbol=INSTRUMENT.symbol, side=Side.SELL, quantity=D("0.3"))
    trader.books.margin_action = MarginActionState(
        last=MarginAction(kind=ZoneAction.REDUCE, started_at=started_at, cuts=(cut,))
    )
    async with running(trader.loop()):
        await time.run_for(2 * CHECK_SECONDS)
    assert trader.executor.sent == []
    assert trader.books.margin_action is not None
    assert trader.books.margin_action.last is not None
    assert trader.books.margin_action.last.is_final


async def test_a_halt_sells_nothing_and_close_only_does(time: VirtualTime) -> None:
    """A halt is an operator's word that nothing is sent."""
    trader = a_trader(time, "80", stopped=StopMode.HALT)
    async with running(trader.loop()):
        await time.run_for(2 * CHECK_SECONDS)
        assert trader.executor.sent == []
        trader.venue.stopped = StopMode.CLOSE_ONLY
        await time.run_for(CHECK_SECONDS)
    assert len(sold(trader)) == 2


async def test_a_sale_that_ends_during_the_check_puts_the_margin_action_off(
    time: VirtualTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The account was read before bitcoin was sold. Its margin is too high now, and ether would be sold without need."""
    trader = a_trader(time, "95", read_at=BEGINS_AT)
    bitcoin = trader.books.positions["opening-BTC"]
    sale = whole_exit(bitcoin, sale_account(bitcoin, CLOSE, time.now()), ExitReason.FLATTEN)
    assert sale is not None
    async with asyncio.TaskGroup() as tasks:
        dealer = Dealer(trader.venue, trader.books, trader.executor, trader.executor, tasks, directly, pause=time.pause)
        dealer.begin()
        await dealer.until_ready()

        async def sell_meanwhile(symbols: Sequence[Symbol]) -> Mapping[Symbol, Decimal]:
            assert await dealer.sell_at_once(DecisionId("meanwhile"), sale)
            assert await dealer.ended(INSTRUMENT.symbol, 1)
            return dict.fromkeys(symbols, CLOSE)

        monkeypatch.setattr(trader.venue, "last_prices", sell_meanwhile)
        memory = trader.books.change_margin_action
        await MarginWatch(trader.venue, dealer, trader.executor, memory, in_thread=directly).check()
    assert sold(trader) == [("BTC", D(1))]
    assert trader.books.margin_action == MarginActionState()


async def test_no_margin_sale_is_decided_while_the_market_is_closed(time: VirtualTime) -> None:
    """Nothing would be sent, so no decision is stored, and the round comes as soon as the market opens."""
    trader = a_trader(time, "80", opens_at=BEGINS_AT + timedelta(seconds=100))
    async with running(trader.loop()):
        await time.run_for(99)
        assert [each for each in trader.decisions() if isinstance(each, Exit)] == []
        assert trader.books.margin_action == MarginActionState()
        await time.run_for(CHECK_SECONDS)
    assert sold(trader) == [("BTC", D("0.3")), ("ETH", D("0.15"))]


async def test_an_account_that_was_never_sampled_is_not_acted_on(time: VirtualTime) -> None:
    """Without a stored round, a killed process would sell twice."""
    trader = a_trader(time, "95")
    trader.books.margin_action = None
    async with running(trader.loop()):
        await time.run_for(3 * CHECK_SECONDS)
    assert trader.executor.sent == []


@pytest.mark.parametrize("error", [DatabaseUnavailable("no answer"), ValueError("a defect")])
async def test_no_failure_of_the_check_reaches_the_cycles(
    time: VirtualTime, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The state of the action cannot be read. Nothing is sold by it, and the cycles are good ones."""
    trader = a_trader(time, "80")

    def fail(_: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(trader.books, "change_margin_action", fail)
        loop = trader.loop()
    async with running(loop):
        await time.run_for(2 * CYCLE_SECONDS)
        assert trader.executor.sent == []
    assert len(trader.books.states) == 2
    assert all(state.health.consecutive_errors == 0 for state in trader.books.states)


async def test_explain_says_that_the_margin_was_the_reason(time: VirtualTime) -> None:
    """The record of the decision has the use of margin, and computing it again leads to the same sale."""
    trader = a_trader(time, "80", bought("BTC"))
    async with running(trader.loop()):
        await time.run_for(CHECK_SECONDS + 1)
    (name,) = [name for name, each in trader.books.records.items() if isinstance(each.decision, Exit)]
    decision = trader.books.records[name].decision
    shown = explain(decision)
    values = {each.name: each for part in shown.parts for each in part.values}
    assert shown.reasons == ("the margin zone is ORANGE, so a part of every position of the strategy is sold",)
    assert (values["margin used"].value, values["margin used"].wanted) == ("80 %", "< 75 %")
    assert shown.outcome.startswith("Sell 30 % of the position, 0.3 BTC of BTC/USD: margin_reduce at")
    assert decide_again(decision) == decision
    assert name.startswith("alpaca-margin-reduce-")


async def test_yellow_stops_entries_and_sells_nothing(time: VirtualTime) -> None:
    """At 49.99 % the same signal buys."""
    for pct, sides in (("50", []), ("49.99", [Side.BUY])):
        trader = WorldTrader.at(Broker.ALPACA, time, margin=used(pct))
        async with running(trader.loop()):
            await time.run_for(CYCLE_SECONDS)
        assert [side for side, _ in trader.executor.sent] == sides
        (entry,) = [each for each in trader.books.records.values() if isinstance(each.decision, Enter)]
        assert entry.gate is not None
        assert entry.gate["reason_codes"] == ([] if sides else ["margin_zone"])


async def test_what_was_bought_since_the_reading_counts_as_used_margin(time: VirtualTime) -> None:
    """The reading shows 49.9 %. A purchase of 100 dollars binds at least 50 of them, so the next entry would be in YELLOW."""
    trader = a_trader(time, "49.9", bought("ETH", "0.1"), read_at=BEGINS_AT)
    opened_at = BEGINS_AT.replace(minute=1)
    trader.books.positions["opening-ETH"] = replace(trader.books.positions["opening-ETH"], opened_at=opened_at)
    async with running(trader.loop()):
        await time.run_for(CYCLE_SECONDS)
    assert trader.executor.sent == []
    (entry,) = [each for each in trader.books.records.values() if isinstance(each.decision, Enter)]
    assert entry.gate is not None
    assert entry.gate["reason_codes"] == ["margin_zone"]


async def test_the_worst_position_is_closed_first_and_the_account_is_read_before_the_gate_is_asked_again(
    time: VirtualTime,
) -> None:
    """A tenth of the account is cash until the sale shows in a reading. With that, the gate would skip the entry."""
    thin = with_last(CANDLES, base_volume=D(1))
    trader = WorldTrader.at(Broker.ALPACA, time, cash=D(1000), other_candles=thin, read_at=BEGINS_AT)
    trader.books.positions["opening-ETH"] = bought("ETH", "0.1")
    async with running(trader.loop()):
        await time.run_for(140)
        assert sold(trader) == [("ETH", D("0.1"))]
        assert len(trader.executor.sent) == 1
        trader.venue.cash, trader.venue.read_at = D(10_000), time.now()
        await time.run_for(2)
    assert [side for side, _ in trader.executor.sent] == [Side.SELL, Side.BUY]
    (entry,) = [each for each in trader.books.records.values() if isinstance(each.decision, Enter)]
    assert entry.gate is not None
    assert entry.gate["recommendation"] == "ENTER"
