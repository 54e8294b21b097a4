"""Tests the connections of a process that answers questions about markets for a long time."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby

import pytest

from services.strategy_trader.venue import BrokerVenue
from shared.brokers.errors import BrokerError
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import CountsRequests, connect
from shared.domain.identity import Broker
from shared.domain.request_limits import Charge, Priority
from shared.domain.symbol import Symbol
from shared.messaging.keys import BrokerKeys
from shared.messaging.nonces import RedisNonceSource
from shared.messaging.scripts import ScriptRunner
from shared.queries.capital.markets import LISTING_SECONDS, OpenMarkets
from tests.support.running.capital_bench import CapitalBench

BTC = Symbol("BTC", "USD")


def recorded(
    bench: CapitalBench, url: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[Callable[[], BrokerConnection], list[str]]:
    """Connections to a paper Kraken at a URL, and which of their functions were called."""
    calls: list[str] = []

    def new_connection() -> BrokerConnection:
        nonces = RedisNonceSource(ScriptRunner(bench.redis), BrokerKeys(Broker.KRAKEN))
        connection = connect(Broker.KRAKEN, base_url=url, nonces=nonces, request_timeout_seconds=5)
        for name in ("open", "reload", "close"):
            monkeypatch.setattr(connection, name, noted(name, getattr(connection, name)))
        return connection

    def noted(name: str, function: Callable[[], object]) -> Callable[[], object]:
        def call() -> object:
            calls.append(name)
            return function()

        return call

    return new_connection, calls


async def test_listings_are_read_again_after_an_hour(spot: CapitalBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection stays the same, and its listings are read once for each hour in which there is a question."""
    seconds = [0.0]
    new_connection, calls = recorded(spot, spot.paper.url, monkeypatch)
    markets = OpenMarkets(lambda _: new_connection(), lambda: seconds[0])
    for now in (0.0, LISTING_SECONDS - 1, LISTING_SECONDS, LISTING_SECONDS + 1):
        seconds[0] = now
        assert (await (await markets.of(Broker.KRAKEN)).order_book(BTC, 5)).bids
    assert calls == ["open", "reload"]
    await markets.close()
    assert calls == ["open", "reload", "close"]


class NotedPriorities:
    """Grants every request, and notes how urgent it was."""

    def __init__(self) -> None:
        self.taken: list[Priority] = []

    async def take(self, charges: Sequence[Charge], priority: Priority) -> float:
        self.taken.append(priority)
        return 0.0

    async def give_back(self, charges: Sequence[Charge]) -> None:
        return

    async def count(self, charges: Sequence[Charge]) -> None:
        return

    async def exhaust(self, charges: Sequence[Charge], seconds: float) -> None:
        return


async def test_the_book_of_a_position_is_more_urgent_than_other_questions(spot: CapitalBench) -> None:
    """The trader reads it to decide on a sale. Other questions of the same connection stay in the background."""
    limits = NotedPriorities()

    def new_connection(_: Broker) -> BrokerConnection:
        nonces = RedisNonceSource(ScriptRunner(spot.redis), BrokerKeys(Broker.KRAKEN))
        connection = connect(Broker.KRAKEN, base_url=spot.paper.url, nonces=nonces, limits=limits)
        assert isinstance(connection, CountsRequests)
        assert connection.budget is not None
        connection.budget = connection.budget.at(Priority.BACKGROUND)
        return connection

    markets = OpenMarkets(new_connection)
    venue = BrokerVenue(replace(spot.sources, markets=markets), spot.name)
    data = await markets.of(Broker.KRAKEN)
    limits.taken.clear()
    await data.order_book(BTC)
    assert await venue.best_bid(spot.connection.instruments()[BTC])
    await data.order_book(BTC)
    await markets.close()
    assert limits.taken == [Priority.BACKGROUND, Priority.WATCH, Priority.BACKGROUND]


async def test_a_connection_that_cannot_be_opened_is_closed(
    spot: CapitalBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each question tries again, so a broker that is away for a day leaves nothing open."""
    new_connection, calls = recorded(spot, "http://127.0.0.1:1", monkeypatch)
    markets = OpenMarkets(lambda _: new_connection())
    for _ in range(2):
        with pytest.raises(BrokerError):
            await markets.of(Broker.KRAKEN)
    # A connection of Kraken closes itself too, and one of Alpaca does not.
    assert [name for name, _ in groupby(calls)] == ["open", "close"] * 2
