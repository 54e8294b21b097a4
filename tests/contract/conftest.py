"""Connects the real gateway over HTTP to the paper broker, once for each broker in `brokers.BROKERS`.

Nonces come from a real Redis through the script that production uses.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from shared.brokers.errors import OutcomeUnknown
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.connection import BrokerConnection, NonceSource
from shared.brokers.port.orders import LimitOrder, MarketOrder, OrderReport, OrderStatus
from shared.brokers.registry import connect
from shared.domain.accounts.credentials import Credentials
from shared.domain.fill import Side
from shared.domain.identity import BrokerOrderId, CopyOrderId
from shared.domain.instrument import TimeInForce
from shared.domain.symbol import Symbol
from shared.messaging.keys import BrokerKeys
from shared.messaging.nonces import RedisNonceSource
from shared.messaging.scripts import ScriptRunner
from tests.contract.brokers import BROKERS, Terms
from tests.contract.paper import PaperServer
from tests.contract.person import AlpacaPerson, CcxtPerson, a_person

PRICE = Decimal(50_000)
FAR_BELOW, FAR_ABOVE = "40000", "60000"
FINAL_SECONDS = 10
POLL_SECONDS = 0.15
ORDERS_BETWEEN_PAUSES = 20
_NUMBERS = count(1)


@pytest.fixture(scope="session", params=BROKERS, ids=lambda terms: terms.broker.value)
def terms(request: pytest.FixtureRequest) -> Terms:
    result: Terms = request.param
    return result


@pytest.fixture(scope="session")
def shared_paper(terms: Terms, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaperServer]:
    server = PaperServer(terms.broker, tmp_path_factory.mktemp("paper"))
    yield server
    server.stop()


@pytest.fixture
def paper(shared_paper: PaperServer, terms: Terms) -> Iterator[PaperServer]:
    """The paper server of the broker, with bitcoin at 50,000 dollars and without faults.

    Its rate limits are in force. A test begins as after a long pause, with nothing counted yet.
    """
    shared_paper.pause()
    shared_paper.pin_price(terms.symbol, str(PRICE))
    yield shared_paper
    shared_paper.ask("DELETE", "faults")


@pytest.fixture
async def nonces(terms: Terms, fresh_redis_url: str) -> AsyncIterator[NonceSource]:
    async with Redis.from_url(fresh_redis_url) as redis:
        yield RedisNonceSource(ScriptRunner(redis), BrokerKeys(terms.broker))


@pytest.fixture
async def connection(terms: Terms, paper: PaperServer, nonces: NonceSource) -> AsyncIterator[BrokerConnection]:
    opened = connect(terms.broker, base_url=paper.url, nonces=nonces, request_timeout_seconds=5)
    await opened.open()
    yield opened
    await opened.close()


@dataclass
class Trader:
    """An account of the paper broker, and the same account as the gateway sees it."""

    name: str
    credentials: Credentials
    account: BrokerAccount
    connection: BrokerConnection
    paper: PaperServer
    symbol: Symbol

    def order(self, quantity: str = "0.01", side: Side = Side.BUY, **changes: Any) -> MarketOrder:
        validity = changes.get("valid_for_seconds", self.connection.request_validity_seconds)
        return MarketOrder(
            client_order_id=CopyOrderId(changes.get("client_order_id", uuid4().hex)),
            symbol=Symbol.parse(changes.get("symbol", self.symbol)),
            side=side,
            quantity=Decimal(quantity),
            valid_until=datetime.now(UTC) + timedelta(seconds=validity),
        )

    def limit(self, price: Decimal | str, quantity: str = "0.01", side: Side = Side.BUY, **changes: Any) -> LimitOrder:
        """A limit order that may rest, unless `time_in_force` says otherwise."""
        return LimitOrder(
            **self.order(quantity, side, **changes).model_dump(),
            limit_price=Decimal(price),
            time_in_force=changes.get("time_in_force", TimeInForce.GOOD_TIL_CANCELED),
        )

    async def found(self, order: LimitOrder) -> OrderReport:
        """Look up the order by its client order id; fail if it is not found."""
        since = datetime.now(UTC) - timedelta(minutes=1)
        report = await self.account.look_up(order.client_order_id, order.symbol, since)
        assert report is not None
        return report

    async def until_final(self, order_id: BrokerOrderId) -> OrderReport:
        """Read the order until it is final."""
        deadline = datetime.now(UTC) + timedelta(seconds=FINAL_SECONDS)
        while datetime.now(UTC) < deadline:
            with contextlib.suppress(OutcomeUnknown):
                report = await self.account.order(order_id, self.symbol)
                if report.status is OrderStatus.DONE:
                    return report
            await asyncio.sleep(POLL_SECONDS)
        raise AssertionError(f"order {order_id} did not become final in {FINAL_SECONDS} s")

    def fault(self, kind: str, **parameters: Any) -> None:
        self.paper.fault(kind, account=self.name, **parameters)

    def logged(self) -> list[dict[str, Any]]:
        """The orders of this account in the broker's own log."""
        return self.paper.orders_of(self.name)


@pytest.fixture
def trader(terms: Terms, paper: PaperServer, connection: BrokerConnection) -> Trader:
    """An account with 10,000 dollars and half a bitcoin."""
    return new_trader(terms, paper, connection, {terms.quote: "10000", "BTC": "0.5"})


@pytest.fixture
def two_keys(terms: Terms, paper: PaperServer) -> tuple[str, Credentials, Credentials]:
    """The name of an account with 10,000 dollars, half a bitcoin and ten ether, and its two keys."""
    name = f"account-{next(_NUMBERS)}"
    return name, *paper.new_shared_account(name, {terms.quote: "10000", "BTC": "0.5", "ETH": "10"})


@pytest.fixture
def shared_trader(
    terms: Terms, two_keys: tuple[str, Credentials, Credentials], paper: PaperServer, connection: BrokerConnection
) -> Trader:
    """An account that `person` uses too, as nija sees it."""
    name, ours, _ = two_keys
    return Trader(name, ours, connection.account(ours), connection, paper, terms.symbol)


@pytest.fixture
async def person(
    terms: Terms, two_keys: tuple[str, Credentials, Credentials], paper: PaperServer
) -> AsyncIterator[AlpacaPerson | CcxtPerson]:
    """The owner of the account, who trades with the second key."""
    async with a_person(terms.broker, paper.url, two_keys[2]) as owner:
        yield owner


def new_trader(
    terms: Terms,
    paper: PaperServer,
    connection: BrokerConnection,
    balances: dict[str, str],
    permissions: tuple[str, ...] = (),
) -> Trader:
    name = f"account-{next(_NUMBERS)}"
    credentials = paper.new_account(name, balances, permissions)
    return Trader(name, credentials, connection.account(credentials), connection, paper, terms.symbol)
