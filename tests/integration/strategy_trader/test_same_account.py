"""The strategy trades with a new key only in the account in which it holds positions."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from redis import Redis
from sqlalchemy import Engine, insert

from services.strategy_trader import key_gate
from services.strategy_trader.same_account import KeyLoan, take_key_back
from shared.config import Settings
from shared.domain.accounts.credentials import Credentials
from shared.domain.accounts.key_check import CheckedKey, KeyVerdict
from shared.domain.fill import Side
from shared.domain.identity import Broker, MasterAccount, mailbox_of_master
from shared.domain.strategy.decide import decide_from
from shared.domain.strategy.decision import Enter
from shared.domain.strategy.entries import position_of
from shared.messaging.alerts import AlertKind, current_alerts
from shared.messaging.connection.connect import open_redis
from shared.messaging.keys import BrokerKeys
from shared.messaging.lent_keys import is_lent_key
from shared.observability.vitals import Duty
from shared.persistence.errors import DatabaseUnavailable
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.strategy.keys import MasterKeys
from shared.persistence.tables.strategy import StrategyOrderEventRow
from shared.persistence.traders import TraderStore
from tests.contract.paper import PaperServer
from tests.support.operators.operator import Operator
from tests.support.strategy import BTC_USD, STARTS_AT, fill, inputs

KRAKEN, MASTER = Broker.KRAKEN, MasterAccount("master")
MAILBOX = mailbox_of_master(MASTER)


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaperServer]:
    """A paper Kraken whose keys do not show whose account they open, as most keys at Kraken."""
    server = PaperServer(Broker.KRAKEN, tmp_path_factory.mktemp("paper"), shows_identity=False)
    yield server
    server.stop()


@pytest.fixture
def keys(engine: Engine) -> MasterKeys:
    return MasterKeys(engine, SecretBox(SecretStr(Fernet.generate_key().decode())))


@pytest.fixture
def operator(paper: PaperServer, fresh_redis_url: str, engine: Engine) -> Operator:
    """Its master's key was the first one that the strategy used."""
    return Operator(paper, fresh_redis_url, engine)


def loan(operator: Operator, engine: Engine, keys: MasterKeys, credentials: Credentials) -> KeyLoan:
    return KeyLoan(operator.context.access, engine, keys, KRAKEN, MASTER, credentials)


def hold_a_position(engine: Engine, broker_order_id: str | None) -> None:
    """The strategy has bought, with this order."""
    entry = decide_from(inputs())
    assert isinstance(entry, Enter)
    books = TraderStore(engine).of(KRAKEN, MASTER)
    books.record("d1", 7, BTC_USD, entry, STARTS_AT)
    books.note_outcome("d1", "bought")
    books.book_fills("d1", position_of(entry), [fill(Side.BUY, "0.15", "1000")])
    now = datetime.now(UTC)
    event = {
        "broker": "kraken", "order_id": "0" * 32, "master_account": MASTER, "decision_id": "d1", "number": 1,
        "symbol": BTC_USD, "side": "buy", "state": "filled", "outcome": "filled", "message": "", "attempt": 1,
        "broker_order_id": broker_order_id, "quantity": 1, "filled_quantity": 1, "cost": 1, "fee": 0,
        "fee_currency": "USD", "occurred_at": now,
    }  # fmt: skip
    with engine.begin() as connection:
        connection.execute(insert(StrategyOrderEventRow).values(event))


def stored(keys: MasterKeys) -> object:
    return keys.of_mailboxes(KRAKEN, [MAILBOX]).get(MAILBOX)


async def test_a_key_of_another_account_is_refused_while_a_position_is_open(
    operator: Operator, engine: Engine, keys: MasterKeys
) -> None:
    """The earlier key stays, nothing is traded, and there is a finding. The earlier key is accepted again."""
    order_id = await asyncio.to_thread(operator.order_with, operator.master)
    keys.keep(KRAKEN, MASTER, operator.master)
    hold_a_position(engine, order_id)
    stopping, duty = asyncio.Event(), Duty()
    refused = loan(operator, engine, keys, operator.new_key("other"))
    lending = asyncio.create_task(refused.lend(stopping, duty))
    with Redis.from_url(operator.redis_url) as redis:
        async with asyncio.timeout(10):
            while not (found := current_alerts(redis.hvals(BrokerKeys(KRAKEN).alerts), datetime.now(UTC))):
                await asyncio.sleep(0.02)
        stopping.set()
        assert not await lending
        assert [(each.kind, each.follower_id) for each in found] == [(AlertKind.TRADED_ACCOUNT, MASTER)]
        assert "set a key of the earlier account" in found[0].message
        assert stored(keys) == operator.master
        assert await loan(operator, engine, keys, operator.master).lend(asyncio.Event(), duty)
        assert current_alerts(redis.hvals(BrokerKeys(KRAKEN).alerts), datetime.now(UTC)) == []


async def test_a_key_that_finds_the_order_of_the_position_is_of_the_same_account(
    operator: Operator, engine: Engine, keys: MasterKeys
) -> None:
    """The earlier key is no longer known. Without an order that the broker accepted, nothing can be shown."""
    order_id = await asyncio.to_thread(operator.order_with, operator.master)
    hold_a_position(engine, None)
    assert await loan(operator, engine, keys, operator.master).why_not()
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE strategy_order_events DISABLE TRIGGER ALL")
        connection.exec_driver_sql("UPDATE strategy_order_events SET broker_order_id = %s", (order_id,))
    assert not await loan(operator, engine, keys, operator.master).why_not()
    assert await loan(operator, engine, keys, operator.new_key("other")).why_not()


async def test_workers_know_which_key_was_lent_last(operator: Operator, engine: Engine, keys: MasterKeys) -> None:
    """A worker that knows only the earlier key, and cannot read PostgreSQL, sends nothing with it."""
    names = BrokerKeys(KRAKEN)
    newer = operator.new_key("other")
    async with open_redis(operator.redis_url) as redis:
        assert not await is_lent_key(redis, names, MAILBOX, operator.master)
        for lent, earlier in ((operator.master, newer), (newer, operator.master)):
            assert await loan(operator, engine, keys, lent).lend(asyncio.Event(), Duty())
            assert await is_lent_key(redis, names, MAILBOX, lent)
            assert not await is_lent_key(redis, names, MAILBOX, earlier)


async def test_an_error_at_the_start_that_is_over_at_once_costs_seconds(
    operator: Operator, engine: Engine, keys: MasterKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL does not answer twice. The trader of the account does not wait a minute for the third answer."""
    failures, keep = [DatabaseUnavailable("no answer")] * 2, MasterKeys.keep

    def keep_later(*arguments: Any) -> None:
        if failures:
            raise failures.pop()
        keep(*arguments)

    monkeypatch.setattr(MasterKeys, "keep", keep_later)
    async with asyncio.timeout(10):
        assert await loan(operator, engine, keys, operator.master).lend(asyncio.Event(), Duty())
    assert stored(keys) == operator.master


async def test_a_key_is_checked_again_within_seconds_after_an_error(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis does not answer the first check. The second one finds the key in order."""
    answers: list[Exception | None] = [OSError("no answer"), None]

    async def ask(*_: object) -> list[CheckedKey]:
        if (error := answers.pop(0)) is not None:
            raise error
        found = CheckedKey(broker=KRAKEN, role="master", account=MASTER, verdict=KeyVerdict.FINE, message="")
        return [found]

    monkeypatch.setattr(key_gate, "ask_about_keys", ask)
    async with asyncio.timeout(10):
        assert await key_gate.wait_for_a_good_key(Settings(), engine, KRAKEN, asyncio.Event(), Duty())


async def test_the_key_of_an_account_that_is_not_traded_any_more_is_deleted(
    operator: Operator, engine: Engine, keys: MasterKeys
) -> None:
    """While the strategy has a position, the key stays, because a sale may be under way."""
    keys.keep(KRAKEN, MASTER, operator.master)
    keys.keep(Broker.OKX, MASTER, operator.master)
    take_key_back(engine, Broker.OKX, MASTER)
    assert keys.of_mailboxes(Broker.OKX, [MAILBOX]) == {}
    hold_a_position(engine, None)
    take_key_back(engine, KRAKEN, MASTER)
    assert stored(keys) == operator.master


async def test_without_positions_and_orders_another_account_is_traded(
    operator: Operator, engine: Engine, keys: MasterKeys
) -> None:
    """Its key replaces the earlier one, and the broker is not even asked."""
    keys.keep(KRAKEN, MASTER, operator.master)
    other = operator.new_key("other")
    assert await loan(operator, engine, keys, other).lend(asyncio.Event(), Duty())
    assert stored(keys) == other
