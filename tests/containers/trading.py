"""Simulates people who trade the masters' accounts at the paper brokers, with unmodified client libraries.

people = [Trader(Broker.KRAKEN, "http://127.0.0.1:8102", key), …]
trade_once(people)              # each person one round, one after another
with Trading(people):           # all of them at the same time, until the block ends
    ...
"""

import asyncio
import threading
from collections.abc import Sequence
from decimal import Decimal
from itertools import count
from types import TracebackType
from typing import NamedTuple, Self

from alpaca.common.exceptions import APIError
from ccxt.base.errors import BaseError as CcxtError
from requests.exceptions import RequestException

from services.demo.scenario import COINS, ScenarioStep, steps
from services.local_system.paper_accounts import quote_currency
from shared.domain.accounts.credentials import Credentials
from shared.domain.fill import Side
from shared.domain.identity import Broker
from tests.contract.person import AlpacaPerson, CcxtPerson, a_person

MASTER_DOLLARS = Decimal(100_000)
BETWEEN_ORDERS_SECONDS = 2.0
BETWEEN_KRAKEN_ORDERS_SECONDS = 6.0
"""Each copy order takes a follower's key one reading. Kraken allows a key one reading in three seconds, in the long run.
The other half of that is for look-ups, and for what has waited while a container was away.
"""
PART = Decimal("0.5")
"""How much of the scenario's sizes is traded. Fees eat equity, and a follower's equity is known as it was up to a minute ago."""
ROUND = 4
"""Orders of one round: buy, buy more, sell a part, sell all."""
AWAY = (CcxtError, APIError, RequestException, OSError)
"""What the libraries raise when the broker was killed a moment ago, or refuses."""


class Trader(NamedTuple):
    """A person at one broker: where the published port is, and the key that only this person uses."""

    broker: Broker
    url: str
    key: Credentials


def between_orders_seconds(broker: Broker) -> float:
    """How long a person waits between two orders. The followers' keys must be able to keep up for minutes."""
    return BETWEEN_KRAKEN_ORDERS_SECONDS if broker is Broker.KRAKEN else BETWEEN_ORDERS_SECONDS


async def trade_round(trader: Trader, person: CcxtPerson | AlpacaPerson, number: int) -> None:
    """Buy, buy more, sell a part, sell all; the coin changes from round to round. Raises one of AWAY."""
    for step in steps(ROUND, quote_currency(trader.broker), (COINS[number % len(COINS)],)):
        await _trade(person, step)
        await asyncio.sleep(between_orders_seconds(trader.broker))


async def _trade(person: CcxtPerson | AlpacaPerson, step: ScenarioStep) -> None:
    if step.side is Side.BUY:
        await person.buy(step.symbol, MASTER_DOLLARS * step.share * PART)
    else:
        await person.sell(step.symbol, step.share)


async def _trade_one_round(trader: Trader) -> None:
    async with a_person(trader.broker, trader.url, trader.key) as person:
        await trade_round(trader, person, 0)


async def _all(traders: Sequence[Trader]) -> None:
    await asyncio.gather(*map(_trade_one_round, traders))


def trade_once(traders: Sequence[Trader]) -> None:
    """Trade one round at each broker. Any error is an error of the test."""
    asyncio.run(_all(traders))


class Trading:
    """Trades in the background from `with` to its end. A person goes on to the next order when a broker is away.

    What was traded is what the brokers' logs say, so an order whose answer was lost is neither repeated nor looked up.
    """

    def __init__(self, traders: Sequence[Trader]) -> None:
        self._traders = traders
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="trading")
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error

    async def _run(self) -> None:
        try:
            await asyncio.gather(*map(self._trade_on, self._traders))
        except BaseException as error:  # noqa: BLE001  raised where the block ends
            self._error = error

    async def _trade_on(self, trader: Trader) -> None:
        async with a_person(trader.broker, trader.url, trader.key) as person:
            for number in count():
                for step in steps(ROUND, quote_currency(trader.broker), (COINS[number % len(COINS)],)):
                    if self._stopping.is_set():
                        return
                    try:
                        await _trade(person, step)
                    except AWAY:
                        continue
                    finally:
                        await asyncio.sleep(between_orders_seconds(trader.broker))
