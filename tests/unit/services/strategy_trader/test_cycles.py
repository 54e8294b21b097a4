"""Tests the traders of several brokers in virtual time: each keeps its cycles, whatever happens to another one."""

from decimal import Decimal

import pytest

from services.strategy_trader.venue import VenueAccount, with_positions
from shared.domain.accounts.broker_health import Health
from shared.domain.amounts import ZERO
from shared.domain.capital.drawdown import BREAKER_LASTS, DrawdownRecord, first_record
from shared.domain.capital.facts import AccountFacts, HeldPosition
from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.domain.stop import StopMode
from shared.domain.strategy.decision import Enter, Hold, HoldReason
from shared.domain.strategy.routing import RoutedTo
from shared.domain.strategy.schedule import schedule_of
from shared.domain.symbol import Symbol
from tests.support.strategy import INSTRUMENT
from tests.support.trading_books import MemoryBooks
from tests.support.trading_world import CLOSE, WorldTrader, running
from tests.support.virtual_time import BEGINS_AT, VirtualTime

CYCLE_SECONDS = 150


@pytest.fixture
def time() -> VirtualTime:
    """It stands at noon."""
    return VirtualTime()


async def test_a_broker_that_is_down_for_ten_cycles_costs_the_others_no_cycle(time: VirtualTime) -> None:
    """Kraken degrades, fails, is probed and recovers in two steps. The others begin each cycle at its very moment."""
    traders = {broker: WorldTrader.at(broker, time) for broker in Broker}
    kraken = traders[Broker.KRAKEN]
    kraken.venue.down = True
    async with running(*(trader.loop() for trader in traders.values())):
        await time.run_for(10 * CYCLE_SECONDS)
        kraken.venue.down = False
        await time.run_for(4 * CYCLE_SECONDS)
    statuses = [state.health.status for state in kraken.books.states]
    assert statuses[:4] == [Health.DEGRADED] * 4
    assert statuses[4:11] == [Health.FAILED] * 7
    assert statuses[11:] == [Health.DEGRADED, Health.HEALTHY, Health.HEALTHY]
    health = kraken.books.state.health
    assert (health.cycles, health.successful_cycles) == (10, 3)
    assert len(kraken.books.state.errors) == 5
    for broker, trader in traders.items():
        schedule = schedule_of(broker)
        numbers = [cycle for cycle, _, _ in trader.books.taken]
        assert numbers == list(range(numbers[0], numbers[0] + 14)), broker
        assert [at for _, _, at in trader.books.taken] == [schedule.starts_at(number) for number in numbers]
        if broker is not Broker.KRAKEN:
            assert {state.health.status for state in trader.books.states} == {Health.HEALTHY}, broker
            assert trader.executor.sent, broker


async def test_the_brokers_begin_one_after_the_other(time: VirtualTime) -> None:
    """Five brokers share the 150 seconds evenly, and none begins in the first seconds of a candle."""
    traders = [WorldTrader.at(broker, time) for broker in Broker]
    async with running(*(trader.loop() for trader in traders)):
        await time.run_for(CYCLE_SECONDS)
    first = [trader.books.taken[0][2].second + 60 * trader.books.taken[0][2].minute for trader in traders]
    assert first == [10, 40, 70, 100, 130]


@pytest.mark.parametrize(
    ("equity", "cycles_read_candles", "reasons"),
    [("9.99", False, ()), ("10.00", True, (HoldReason.BELOW_MINIMUM,))],
)
async def test_an_account_is_traded_from_ten_dollars_on(
    time: VirtualTime, equity: str, cycles_read_candles: bool, reasons: tuple[HoldReason, ...]
) -> None:
    """With 9.99 nothing is decided. With 10.00 cycles run, and the entry is below the minimum of the broker."""
    trader = WorldTrader.at(Broker.KRAKEN, time, equity=Decimal(equity), cash=Decimal(equity))
    async with running(trader.loop()):
        await time.run_for(CYCLE_SECONDS)
    assert (trader.venue.candles_read > 0) is cycles_read_candles
    assert [decision.reasons for decision in trader.decisions() if isinstance(decision, Hold)] == (
        [reasons] if reasons else []
    )
    assert trader.executor.sent == []
    assert trader.books.state.trades is cycles_read_candles
    assert trader.books.state.health.status is Health.HEALTHY


async def test_a_small_account_at_coinbase_opens_nothing_while_kraken_is_connected(time: VirtualTime) -> None:
    """The decision records where the money should go, why, and what the owner can do."""
    small = Decimal(30)
    trader = WorldTrader.at(Broker.COINBASE, time, equity=small, cash=small, connected=(Broker.ALPACA, Broker.KRAKEN))
    async with running(trader.loop()):
        await time.run_for(CYCLE_SECONDS)
    (decision,) = trader.decisions()
    route = decision.inputs.account.route
    assert isinstance(decision, Hold)
    assert HoldReason.ROUTED in decision.reasons
    assert isinstance(route, RoutedTo)
    assert route.broker is Broker.KRAKEN
    assert "30 USD is below 50 USD" in route.reason
    assert "trade this money at kraken" in route.solution
    assert trader.executor.sent == []
    assert "routed to kraken" in trader.books.state.opens_stopped
    assert not trader.books.state.trades


async def test_a_candle_is_decided_once_although_two_cycles_see_it(time: VirtualTime) -> None:
    """The first cycle buys. The second one sees the same candle and has exits to decide only."""
    trader = WorldTrader.at(Broker.KRAKEN, time)
    async with running(trader.loop()):
        await time.run_for(2 * CYCLE_SECONDS - 1)
    assert [decision.decision for decision in trader.decisions()] == ["enter", "hold"]
    assert [side for side, _ in trader.executor.sent] == [Side.BUY]
    entry = next(iter(trader.books.records.values()))
    assert isinstance(entry.decision, Enter)
    assert entry.gate is not None
    assert entry.gate["recommendation"] == "ENTER"
    quantity = trader.executor.sent[0][1]
    assert entry.outcome == f"bought {quantity} BTC at {CLOSE}"
    # The class of 10,000 USD risks 1.5 % in one trade, which is less than the 6 % of the trend.
    assert Decimal(100) < quantity * CLOSE <= Decimal(150)


async def test_two_processes_never_trade_the_same_cycle(time: VirtualTime) -> None:
    """Even without any lease, each cycle has one owner, and one order is sent."""
    trader = WorldTrader.at(Broker.KRAKEN, time)
    async with running(trader.loop("first"), trader.loop("second")):
        await time.run_for(3 * CYCLE_SECONDS)
    numbers = [cycle for cycle, _, _ in trader.books.taken]
    assert len(numbers) == len(set(numbers)) == 3
    assert [side for side, _ in trader.executor.sent].count(Side.BUY) == 1


async def test_a_refused_key_fails_the_broker_at_once(time: VirtualTime) -> None:
    """A person has to act, so there is no series of five tries."""
    trader = WorldTrader.at(Broker.KRAKEN, time, refused=True)
    async with running(trader.loop()):
        await time.run_for(CYCLE_SECONDS)
    assert trader.books.state.health.status is Health.FAILED
    assert "invalid key" in trader.books.state.health.last_error


async def test_candles_that_cannot_be_read_fail_the_cycle(time: VirtualTime) -> None:
    """No pair of the account can be read, so the broker counts as not answering."""
    trader = WorldTrader.at(Broker.KRAKEN, time, market_down=True)
    async with running(trader.loop()):
        await time.run_for(CYCLE_SECONDS)
    assert trader.books.state.health.status is Health.DEGRADED
    assert "no connection" in trader.books.state.errors[0].text
    assert trader.decisions() == []


@pytest.mark.parametrize("mode", list(StopMode))
async def test_a_stop_keeps_the_trader_from_buying(time: VirtualTime, mode: StopMode) -> None:
    """The decision says that opens are stopped, and the account is not counted as traded."""
    trader = WorldTrader.at(Broker.KRAKEN, time, stopped=mode)
    async with running(trader.loop()):
        await time.run_for(CYCLE_SECONDS)
    (decision,) = trader.decisions()
    assert isinstance(decision, Hold)
    assert HoldReason.OPENS_STOPPED in decision.reasons
    assert trader.executor.sent == []
    assert not trader.books.state.trades


async def test_a_summary_that_fails_ends_no_trading(time: VirtualTime) -> None:
    """It is shown after ten cycles. A defect in it is logged, and the next cycle begins on time."""
    trader = WorldTrader.at(Broker.KRAKEN, time)
    loop = trader.loop()
    shown: list[int] = []

    async def broken() -> None:
        shown.append(trader.books.state.health.cycles)
        raise ValueError("a defect")

    loop._summarize = broken  # the world has no servers of which a summary could be made
    async with running(loop):
        await time.run_for(13 * CYCLE_SECONDS)
    assert shown == [10]
    assert trader.books.state.health.cycles > 10


async def test_a_process_that_stops_leaves_no_half_cycle(time: VirtualTime) -> None:
    """SIGTERM in the middle of a pause ends the process at once; the books have the state of the last cycle."""
    trader = WorldTrader.at(Broker.KRAKEN, time)
    async with running(trader.loop()):
        await time.run_for(CYCLE_SECONDS + 5)
    assert len(trader.books.states) == len(trader.books.taken) == 1
    assert isinstance(trader.books, MemoryBooks)


async def test_an_asset_that_is_being_bought_is_not_bought_in_another_pair(time: VirtualTime) -> None:
    """The order of BTC/USD stays open for minutes. Neither the same cycle nor a later one buys BTC/USDT."""
    trader = WorldTrader.at(Broker.KRAKEN, time, quotes=("USD", "USDT"))
    trader.executor.hangs = True
    async with running(trader.loop()):
        await time.run_for(4 * CYCLE_SECONDS)
    assert len(trader.executor.sent) == 1
    assert {each.symbol for each in trader.books.records.values()} == {Symbol("BTC", "USD")}


def test_the_quantities_of_an_asset_in_several_pairs_are_summed() -> None:
    """The account has 3 BTC. The strategy bought 1 of them with dollars and 2 with tethers, so no other one is left."""
    whole = HeldPosition(instrument=INSTRUMENT, quantity=Decimal(3), price=Decimal(1000))
    own = [
        HeldPosition(
            instrument=INSTRUMENT.model_copy(update={"symbol": Symbol("BTC", quote)}),
            quantity=Decimal(quantity),
            price=Decimal(1000),
            opened_by_nija=True,
        )
        for quote, quantity in (("USD", 1), ("USDT", 2))
    ]
    facts = AccountFacts(equity=Decimal(3000), free_cash=ZERO, read_at=BEGINS_AT, positions=(whole,))
    marked = with_positions(VenueAccount(facts=facts, free={}, offers=()), own)
    assert sum(each.quantity for each in marked.facts.positions) == 3
    assert [each.quantity for each in marked.facts.positions if each.opened_by_nija] == [1, 2]


async def test_an_open_breaker_stops_entries_for_24_hours(time: VirtualTime) -> None:
    """The drawdown record comes from PostgreSQL, so a restart changes nothing."""
    record: DrawdownRecord = first_record(Decimal(10_000)).model_copy(
        update={"breaker_until": BEGINS_AT + BREAKER_LASTS}
    )
    trader = WorldTrader.at(Broker.ALPACA, time, drawdown=record)
    async with running(trader.loop()):
        await time.run_for(CYCLE_SECONDS)
    assert trader.executor.sent == []
    (entry,) = [each for each in trader.books.records.values() if isinstance(each.decision, Enter)]
    assert entry.outcome is not None
    assert "The drawdown breaker forbids entries until 2026-01-06 12:00 UTC." in entry.outcome
