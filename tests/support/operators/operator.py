"""Builds the context of actions on real servers, with one paper broker, as a front end without settings would."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count

from cryptography.fernet import Fernet
from pydantic import SecretStr
from redis import Redis
from sqlalchemy import Engine

from shared.actions.context import ActionContext, BrokerAccess, RedisAddress
from shared.actions.key_check import connected
from shared.brokers.port.orders import MarketOrder
from shared.domain.accounts.credentials import Credentials
from shared.domain.amounts import parse_amount
from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.domain.symbol import Symbol
from shared.messaging.keys import BrokerKeys
from shared.persistence.api.requests import RequestStore
from shared.persistence.api.tokens import TokenStore
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from shared.persistence.ledger.targets import Targets
from shared.persistence.reports.reports import Reports
from shared.persistence.stops import StopStore
from tests.contract.paper import PaperServer

KRAKEN = Broker.KRAKEN
ACTOR = "test:ann"
WITHDRAWING = ("query-funds", "query-open-trades", "query-closed-trades", "modify-trades", "withdraw-funds")
READING = ("query-funds", "query-open-trades", "query-closed-trades")
NO_REDIS = "redis://127.0.0.1:1/0"

_NUMBERS = count(1)


class Operator:
    """An operator of a system whose only broker is a paper broker, by default Kraken."""

    def __init__(self, paper: PaperServer, redis_url: str, engine: Engine, broker: Broker = KRAKEN) -> None:
        self.paper = paper
        self.redis_url = redis_url
        self.store = FollowerStore(engine, SecretBox(SecretStr(Fernet.generate_key().decode())))
        self.master = self.new_key("master")
        self.context = ActionContext(
            store=self.store,
            reports=Reports(engine),
            targets=Targets(engine),
            stops=StopStore(engine),
            tokens=TokenStore(engine),
            requests=RequestStore(engine),
            access=BrokerAccess(
                redis_of=lambda _: RedisAddress("REDIS_URL", self.redis_url),
                base_urls={broker: paper.url},
                proxies={},
                request_timeout_seconds=5,
            ),
            masters={broker: self.master},
            enabled=(broker,),
            withdraw_allowed=frozenset(),
        )

    def new_key(self, name: str, *permissions: str) -> Credentials:
        """The key of a new account; without permissions it is one that may only trade."""
        return self.paper.new_account(self.new_name(name), {"USD": "1000"}, permissions)

    def new_name(self, name: str) -> str:
        """A name that no account at the broker has yet."""
        return f"{name}-{next(_NUMBERS)}"

    def order_with(self, key: Credentials) -> str:
        """Place an order at Kraken with the key, as a worker does, and return the broker's id."""

        async def place() -> str:
            async with connected(self.context.access, KRAKEN, key) as connection:
                order = MarketOrder(
                    client_order_id="0" * 32,
                    symbol=Symbol("BTC", "USD"),
                    side=Side.BUY,
                    quantity=parse_amount("0.001"),
                    valid_until=datetime.now(UTC).replace(year=2100),
                )
                return await connection.account(key).place(order)

        return asyncio.run(place())

    def with_masters(self, masters: Mapping[Broker, Credentials]) -> ActionContext:
        return replace(self.context, masters=masters)

    def allowing(self, *accounts: str) -> ActionContext:
        """A context whose settings allow these accounts at Kraken to have keys that may withdraw."""
        return replace(self.context, withdraw_allowed=frozenset((KRAKEN, account) for account in accounts))

    def without_redis(self) -> ActionContext:
        away = replace(self.context.access, redis_of=lambda _: RedisAddress("REDIS_URL", NO_REDIS))
        return replace(self.context, access=away)

    def without_broker(self) -> ActionContext:
        """A context that finds no broker at the address of Kraken."""
        away = replace(self.context.access, base_urls={KRAKEN: "http://127.0.0.1:1"})
        return replace(self.context, access=away)

    def refuse_announcements(self) -> None:
        """Make Redis answer every announcement with an error. It still passes the check before a change."""
        with Redis.from_url(self.redis_url) as redis:
            redis.set(BrokerKeys(KRAKEN).roster, "no number")

    def announcements(self) -> int:
        """How often engines and workers were asked to load the followers of Kraken again."""
        with Redis.from_url(self.redis_url) as redis:
            return int(redis.get(BrokerKeys(KRAKEN).roster) or 0)
