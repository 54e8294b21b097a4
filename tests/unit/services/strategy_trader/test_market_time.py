"""Tests that cycles and decisions follow the market's time, and that only ages follow the machine's."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from services.strategy_trader.app import paper_market_url
from services.strategy_trader.market_time import MACHINE_TIME, MarketMoves
from shared.config import ConfigurationError, load_settings
from shared.domain.capital.facts import ClosedTrade
from shared.domain.identity import Broker
from shared.domain.strategy.decision import Hold, HoldReason
from shared.domain.strategy.schedule import schedule_of
from tests.support.trading_books import MemoryBooks
from tests.support.trading_world import WorldExecutor, WorldTrader, WorldVenue, running
from tests.support.virtual_time import BEGINS_AT, VirtualTime

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PAST = datetime(2022, 1, 4, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


@dataclass
class FastVenue(WorldVenue):
    """A venue whose machine has lived only for a hundredth of the time of its market."""

    def now(self) -> datetime:
        return NOON + (self.time.now() - BEGINS_AT) / 100

    def market_time(self, at: datetime) -> datetime:
        return BEGINS_AT + (at - NOON) * 100


def fast_trader(time: VirtualTime) -> WorldTrader:
    """A trader of Kraken at such a venue."""
    venue = FastVenue(Broker.KRAKEN, time)
    return WorldTrader(venue, MemoryBooks(), WorldExecutor(venue))


def test_the_market_stood_where_its_last_move_before_a_moment_left_it() -> None:
    """A moment before the first move counts as the first place. Where it stands again is no move."""
    moves = MarketMoves()
    moves.add(NOON, PAST)
    moves.add(NOON + 3 * SECOND, PAST + 5 * MINUTE)
    moves.add(NOON + 4 * SECOND, PAST + 5 * MINUTE)
    moves.add(NOON + 9 * SECOND, PAST + 10 * MINUTE)
    assert moves.now() == PAST + 10 * MINUTE
    for seconds, minutes in ((-1, 0), (0, 0), (2, 0), (3, 5), (8, 5), (9, 10), (60, 10)):
        assert moves.at(NOON + seconds * SECOND) == PAST + minutes * MINUTE


def test_a_real_market_has_the_time_of_the_machine() -> None:
    """At each moment, and now."""
    assert MACHINE_TIME.at(NOON) == NOON
    assert abs(MACHINE_TIME.now() - datetime.now(UTC)) < SECOND


async def test_each_candle_of_the_market_is_decided_while_the_machine_lives_for_seconds() -> None:
    """The cycles have the numbers and the moments of the market, and the state has the time of the machine."""
    time = VirtualTime()
    trader = fast_trader(time)
    async with running(trader.loop()):
        await time.run_for(3_000)
    numbers = [cycle for cycle, _, _ in trader.books.taken]
    assert numbers[0] == schedule_of(Broker.KRAKEN).number_at(BEGINS_AT) + 1
    assert numbers == list(range(numbers[0], numbers[0] + 20))
    taken_at = [at for _, _, at in trader.books.taken]
    assert all(NOON <= at < NOON + 30 * SECOND for at in taken_at)
    decided_at = [decision.inputs.account.at for decision in trader.decisions()]
    assert all(at >= BEGINS_AT for at in decided_at)


async def test_a_pause_after_losses_lasts_an_hour_of_the_market() -> None:
    """The positions were closed a moment ago by the machine, which is half an hour, or two hours, of the market."""
    for seconds, pauses in ((18, True), (72, False)):
        time = VirtualTime()
        trader = fast_trader(time)
        closed_at = NOON - seconds * SECOND
        trader.books.trades = [ClosedTrade(profit=Decimal(-1), closed_at=closed_at)] * 3
        async with running(trader.loop()):
            await time.run_for(150)
        reasons = [decision.reasons for decision in trader.decisions() if isinstance(decision, Hold)]
        assert any(HoldReason.COOLDOWN in each for each in reasons) is pauses


def test_the_time_of_a_paper_market_needs_the_address_of_a_paper_broker() -> None:
    """A real account has none, so the setting cannot reach it by mistake."""
    variables = {"NIJA_PAPER_MARKET_CLOCK": "true", "NIJA_ENV_FILE": "", "NIJA_CONFIG_FILE": ""}
    with pytest.raises(ConfigurationError, match="but KRAKEN_BASE_URL is not set: only the market of a paper broker"):
        paper_market_url(load_settings(variables), Broker.KRAKEN)
    url = "http://127.0.0.1:8123"
    assert paper_market_url(load_settings(variables | {"KRAKEN_BASE_URL": url}), Broker.KRAKEN) == url
