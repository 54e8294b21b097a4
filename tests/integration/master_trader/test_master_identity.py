"""A master's new key may open another account. That account is followed from now on, and its past is not copied.

Redis and PostgreSQL are real, and the broker is in memory.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import Engine, text
from sqlalchemy.exc import ProgrammingError

from services.master_trader.report import Report
from services.master_trader.watch import Master, Watch
from shared.brokers.errors import OutcomeUnknown, Rejected
from shared.brokers.port.account import KeyPermissions
from shared.brokers.port.orders import OrderReport
from shared.domain.accounts.credentials import Credentials
from shared.domain.copying.master_fill import MasterFill
from shared.domain.fill import Side
from shared.domain.identity import Broker, BrokerOrderId, MasterAccount
from shared.messaging.alerts import Alert, AlertKind
from shared.messaging.fills import read_fills
from shared.messaging.keys import BrokerKeys
from shared.persistence.database import open_engine
from shared.persistence.ledger.master_fills import MasterFills
from tests.support.broker import FakeAccount, FakeConnection
from tests.support.prices import LivePrices

KEYS = BrokerKeys(Broker.BINANCE)
NAME = MasterAccount("master")
PRICES = {"BTC": Decimal(50_000)}


class Account(FakeAccount):
    """An account that may have an identity, and that knows its own orders only."""

    identity: str | None = None
    answered: bool = True

    async def key_permissions(self) -> KeyPermissions:
        return KeyPermissions(may_trade=True, may_withdraw=False, identity=self.identity, answered=self.answered)

    async def order(self, broker_order_id: BrokerOrderId, symbol: str) -> OrderReport:
        if broker_order_id not in {fill.order_id for fill in self.fills}:
            raise Rejected("no such order")
        return OrderReport.model_construct(broker_order_id=broker_order_id)


def an_account(prefix: str, identity: str | None) -> Account:
    account = Account({"USD": Decimal(100_000), "BTC": Decimal(10)}, dict(PRICES), fill_prefix=prefix)
    account.identity = identity
    return account


@dataclass
class World:
    """The watch of one master whose key is exchanged."""

    redis: Redis
    engine: Engine

    async def watch(self, account: Account, api_key: str, polls: int = 1) -> None:
        """Watch the account with this key, as a process does that starts, polls and ends."""
        master = Master(
            name=NAME,
            credentials=Credentials(api_key=SecretStr(api_key), api_secret=SecretStr("s")),
            connect=lambda: FakeConnection(account, PRICES, broker=KEYS.broker),
            ledger=MasterFills(self.engine),
            redis=self.redis,
            keys=KEYS,
            report=Report(self.redis, KEYS, NAME, "process", lambda: account.clock),
            price_lists=LivePrices(PRICES, lambda: account.clock),
            late_purchase_seconds=0,
            now=lambda: account.clock,
        )
        watch = Watch(master)
        try:
            await watch.begin()
            for _ in range(polls):
                await watch.poll()
        finally:
            await watch.close()

    async def published(self) -> list[MasterFill]:
        entries = await read_fills(self.redis, KEYS, 0, 100)
        return [entry.fill for entry in entries if isinstance(entry.fill, MasterFill)]

    async def alerts(self) -> list[str]:
        return [Alert.model_validate_json(each).kind for each in await self.redis.hvals(KEYS.alerts)]

    def changes(self) -> list[tuple[str, str | None, str | None]]:
        with self.engine.connect() as connection:
            rows = connection.execute(text("SELECT change, before, after FROM master_changes ORDER BY id"))
            return [(row.change, row.before, row.after) for row in rows]


@pytest.fixture
async def world(fresh_redis_url: str, fresh_database_url: str) -> AsyncIterator[World]:
    engine = open_engine(fresh_database_url)
    async with Redis.from_url(fresh_redis_url) as redis:
        yield World(redis, engine)
    engine.dispose()


@pytest.mark.parametrize("identities", [("17", "18"), (None, None)], ids=["reported", "not reported"])
async def test_another_account_under_the_same_name_is_followed_from_now_on(
    world: World, identities: tuple[str | None, str | None]
) -> None:
    """Its past fills are not copied. A sale of what it had before closes nothing that the old account bought."""
    old, new = (an_account(prefix, identity) for prefix, identity in zip(("old-", "new-"), identities, strict=True))
    await world.watch(old, "key of old")
    old.trade(Side.BUY, "BTC/USD", "0.5")
    await world.watch(old, "key of old")
    new.clock = old.clock
    for _ in range(3):
        new.trade(Side.BUY, "BTC/USD", "0.1")
    new.clock += timedelta(seconds=1)
    await world.watch(new, "key of new")
    assert [fill.fill_id.partition("-")[0] for fill in await world.published()] == ["old"]
    assert await world.alerts() == [AlertKind.MASTER_CHANGED]
    assert world.changes() == [("account", *identities)]
    new.trade(Side.SELL, "BTC/USD", "0.2")
    await world.watch(new, "key of new")
    _, sale = await world.published()
    assert (sale.side, sale.traded_position_before, sale.fraction_closed) == (Side.SELL, 0, 0)


@pytest.mark.parametrize("identity", ["17", None], ids=["reported", "not reported"])
async def test_another_key_of_the_same_account_misses_no_fill(world: World, identity: str | None) -> None:
    """Without an identity, the key shows it by reading an order of the account."""
    account = an_account("", identity)
    await world.watch(account, "first key")
    account.trade(Side.BUY, "BTC/USD", "0.5")
    await world.watch(account, "first key")
    account.trade(Side.BUY, "BTC/USD", "0.1")
    await world.watch(account, "second key")
    assert len(await world.published()) == 2
    assert await world.alerts() == []
    assert world.changes() == [("keys", identity, identity)]


async def test_nothing_is_copied_while_it_is_not_known_whose_account_a_new_key_opens(world: World) -> None:
    """The broker answers with errors. The next try continues where the watch ended."""
    account = an_account("", "17")
    await world.watch(account, "first key")
    account.trade(Side.BUY, "BTC/USD", "0.5")
    account.answered, account.identity = False, None
    with pytest.raises(OutcomeUnknown, match="does not report whose account"):
        await world.watch(account, "second key")
    assert await world.published() == []
    account.answered, account.identity = True, "17"
    await world.watch(account, "second key")
    assert len(await world.published()) == 1


async def test_a_first_start_does_not_wait_for_a_broker_that_reports_nothing_about_the_key(world: World) -> None:
    """There is no earlier account, so the fills are copied. The account is stored when the broker reports it."""
    account = an_account("", None)
    account.answered = False
    identities = MasterFills(world.engine).identities
    await world.watch(account, "first key")
    account.trade(Side.BUY, "BTC/USD", "0.5")
    await world.watch(account, "first key")
    assert len(await world.published()) == 1
    known = identities.known(KEYS.broker, NAME)
    assert known is not None
    assert (known.identity, known.key_hash) == (None, None)
    account.answered, account.identity = True, "17"
    await world.watch(account, "first key")
    known = identities.known(KEYS.broker, NAME)
    assert known is not None
    assert known.identity == "17"


async def test_an_account_that_the_broker_names_is_known_without_the_keys_permissions(world: World) -> None:
    """The test network of Binance reports no restrictions of keys. The id of the account is enough."""
    account = an_account("", "17")
    account.answered = False
    await world.watch(account, "first key")
    account.trade(Side.BUY, "BTC/USD", "0.5")
    await world.watch(account, "second key")
    assert len(await world.published()) == 1
    assert world.changes() == [("keys", "17", "17")]


async def test_the_alert_about_another_account_comes_before_the_change_is_stored(world: World) -> None:
    """PostgreSQL refuses to store the change. The next start finds the other account again, and stores it."""
    old, new = an_account("old-", "17"), an_account("new-", "18")
    await world.watch(old, "key of old")
    with world.engine.begin() as connection:
        connection.execute(text("ALTER TABLE master_changes RENAME TO away"))
    with pytest.raises(ProgrammingError, match="master_changes"):
        await world.watch(new, "key of new")
    assert await world.alerts() == [AlertKind.MASTER_CHANGED]
    with world.engine.begin() as connection:
        connection.execute(text("ALTER TABLE away RENAME TO master_changes"))
    await world.watch(new, "key of new")
    assert world.changes() == [("account", "17", "18")]
