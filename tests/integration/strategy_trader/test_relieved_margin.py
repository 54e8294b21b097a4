"""The margin of a master account at a paper Alpaca runs short: the trader sells, through the real worker and ledger.

A trader runs in the process of the test and dies where a test says so, or it is a process that is killed.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from services.strategy_trader.margin import MarginChange
from services.strategy_trader.venue import BrokerVenue
from shared.config import load_settings
from shared.domain.capital.margin import MarginActionState
from shared.domain.capital.recommendation import ReasonCode
from shared.domain.identity import Broker
from shared.domain.strategy.decision import Enter, from_values
from shared.domain.strategy.explanation import explain
from shared.indicators.decide import decide
from shared.indicators.window import Window
from shared.persistence.capital import CapitalStore
from shared.persistence.traders import TraderStore
from shared.queries.capital.overview import read_margin
from shared.queries.capital_findings import capital_findings, read_capital_facts
from tests.contract.paper import PaperServer
from tests.support.faulty_broker import ProcessDied
from tests.support.running.capital_bench import MASTER
from tests.support.running.margin_bench import AAPL, MSFT, MarginBench, open_margin_bench
from tests.support.strategy import INSTRUMENT, account
from tests.support.trading_world import CANDLES

pytestmark = pytest.mark.long
D = Decimal


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[PaperServer]:
    """A separate paper Alpaca, whose accounts may borrow as much as they have."""
    server = PaperServer(Broker.ALPACA, tmp_path, "--no-rate-limits")
    yield server
    server.stop()


@pytest.fixture
async def bench(
    paper: PaperServer, fresh_redis_url: str, fresh_database_url: str, tmp_path: Path
) -> AsyncIterator[MarginBench]:
    """The strategy holds 40 shares of Apple and 10 of Microsoft, which bind 60 % of the margin."""
    async with open_margin_bench(paper, fresh_redis_url, fresh_database_url, tmp_path) as found:
        yield found


async def test_each_zone_does_what_it_says_and_a_persons_shares_stay(bench: MarginBench) -> None:
    """60 % sells nothing, 80 % sells 30 % of each position once, and 92 % closes the worst one. Then it is over."""
    async with bench.trader() as watch:
        await bench.read()
        await watch.check()
        assert bench.sold() == []

        await bench.person_buys("20")
        await bench.read()
        assert 79 < await bench.used_pct() < 81
        await watch.check()
        await bench.until_sold()
        assert bench.sold() == [("AAPL", D(12)), ("MSFT", D(3))] or bench.sold() == [("MSFT", D(3)), ("AAPL", D(12))]
        await watch.check()
        await bench.read()
        assert 61 < await bench.used_pct() < 63
        await watch.check()
        assert len(bench.sold()) == 2

        bench.stages.paper.pin_price(str(AAPL), "199")
        await bench.person_buys("31")
        await bench.read()
        assert 90 <= await bench.used_pct() < 95
        await watch.check()
        await bench.until_sold()
        assert bench.held() == {"MSFT": D(7)}
        await bench.read()
        assert await bench.used_pct() < 75
        await watch.check()
        assert bench.held() == {"MSFT": D(7)}
    balances = await bench.capital.connection.account(bench.capital.credentials).balances()
    assert balances["AAPL"].total == 51
    found = await asyncio.to_thread(read_margin, bench.capital.sources, bench.capital.name)
    assert found.last_action is not None
    assert found.last_action.orders == ("sell 28 AAPL/USD",)
    assert found.last_action.is_final


@pytest.mark.parametrize("step", ["round stored", "begin", "add_order"])
async def test_a_trader_that_dies_at_any_step_neither_repeats_nor_forgets_a_sale(bench: MarginBench, step: str) -> None:
    """The next process sells 30 % of each position, once. `nija explain` has each sale with its outcome."""
    orders = bench.orders
    methods = {} if step == "round stored" else {step: _dying(getattr(orders, step))}
    memory = _dying_after_a_round(bench) if step == "round stored" else None
    await bench.read()
    await bench.person_buys("20")
    await bench.read()
    with pytest.raises((ProcessDied, BaseExceptionGroup)):
        await _check_until_death(bench, memory, methods)
    async with bench.trader() as watch:
        # What the dead process began may still be under way at the first check, which then waits for it.
        for _ in range(4):
            await bench.read()
            await watch.check()
            await bench.until_sold()
    assert sorted(bench.sold()) == [("AAPL", D(12)), ("MSFT", D(3))]
    sales = [order for order in bench.stages.paper.orders_of("master") if order["side"] == "sell"]
    assert len(sales) == 2
    state = bench.memory(lambda stored: stored)
    assert state is not None
    assert state.last is not None
    assert state.last.is_final
    milliseconds = int(state.last.started_at.timestamp() * 1000)
    for symbol in (AAPL, MSFT):
        name = f"alpaca-margin-reduce-{milliseconds}-{symbol.base}-USD"
        stored = TraderStore(bench.capital.engine).decision(name)
        assert stored is not None
        assert stored.outcome is not None
        assert stored.outcome.startswith("sold")
        assert explain(from_values(stored.decision)).reasons[0].startswith("the margin zone is ORANGE")


async def _check_until_death(bench: MarginBench, memory: Any, methods: dict[str, Any]) -> None:
    async with asyncio.timeout(20), bench.trader(memory=memory, **methods) as watch:
        await bench.read()
        await watch.check()
        await asyncio.sleep(10)


def _dying(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, whose first call kills the process after it has done its work."""

    def dies(*arguments: Any, **named: Any) -> Any:
        method(*arguments, **named)
        raise ProcessDied

    return dies


def _dying_after_a_round(bench: MarginBench) -> Callable[[MarginChange], MarginActionState | None]:
    """The memory of a process that dies right after it has stored a round of orders."""

    def memory(change: MarginChange) -> MarginActionState | None:
        after = bench.memory(change)
        if after is not None and after.last is not None:
            raise ProcessDied
        return after

    return memory


async def test_a_killed_process_of_the_trader_has_sold_30_percent_once_when_the_next_one_is_done(
    bench: MarginBench,
) -> None:
    """All stages are processes. SIGKILL hits the trader as soon as its log has the round. No cycle runs meanwhile."""
    changes = {
        "MULTI_BROKER_INDEPENDENT": "true",
        "NIJA_TRADER_CYCLE_SECONDS": "86400",
        # Alpaca does not report what a key may do.
        "NIJA_ALLOW_WITHDRAW_KEYS": "alpaca:master",
    }
    bench.stages.settings = load_settings({**bench.stages.settings.environment(), **changes})
    await bench.stages.start("master_trader-alpaca")
    trader = await bench.stages.start("strategy_trader-alpaca", 1)
    await bench.person_buys("20")

    async def round_is_stored() -> bool:
        return "margin action" in (bench.stages.folder / "strategy_trader-alpaca-1.log").read_text()

    await bench.stages.until("a round is stored", round_is_stored)
    trader.send(signal.SIGKILL)
    await trader.wait_end()
    await bench.stages.start("strategy_trader-alpaca", 2)

    async def all_sold() -> bool:
        return len(await asyncio.to_thread(bench.sold)) == 2

    await bench.stages.until("both are sold", all_sold)
    assert sorted(bench.sold()) == [("AAPL", D(12)), ("MSFT", D(3))]
    sales = [order for order in bench.stages.paper.orders_of("master") if order["side"] == "sell"]
    assert len(sales) == 2


async def test_a_drawdown_of_20_percent_stops_entries_for_24_hours_across_a_restart(bench: MarginBench) -> None:
    """The shares fall by a third. A new process reads the breaker from PostgreSQL, and its gate rejects every entry."""
    start = datetime.now(UTC)
    await bench.read(start + timedelta(seconds=30))
    for symbol, price in ((AAPL, "130"), (MSFT, "260")):
        bench.stages.paper.pin_price(str(symbol), price)
    tripped_at = start + timedelta(seconds=60)
    await bench.read(tripped_at)
    record = CapitalStore(bench.capital.engine).record(Broker.ALPACA, MASTER)
    assert record is not None
    assert record.drawdown.breaker_until == tripped_at + timedelta(hours=24)
    venue = BrokerVenue(bench.capital.sources, bench.capital.name)
    answer = await venue.ask(an_entry(), await venue.account(), (), has_made_room=False)
    assert answer.reason_codes == (ReasonCode.DRAWDOWN_BREAKER,)
    findings = capital_findings(read_capital_facts(bench.capital.engine, [Broker.ALPACA]), tripped_at)
    assert "breaker_open" in {each.kind for each in findings}


def an_entry() -> Enter:
    """A decision of the strategy to buy bitcoin at Alpaca."""
    instrument = INSTRUMENT.model_copy(update={"broker": Broker.ALPACA})
    entry = decide(Window.of(CANDLES), None, account(CANDLES, instrument=instrument))
    assert isinstance(entry, Enter)
    return entry
