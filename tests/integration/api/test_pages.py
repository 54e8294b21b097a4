"""Walking through the pages of a list returns each of its rows once and in order, whatever is added meanwhile."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from cryptography.fernet import Fernet
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from services.local_system.embedded_postgres import PostgresServer
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker, FollowerId
from shared.persistence.database import open_engine
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from shared.persistence.ledger.ledger import Ledger
from shared.persistence.ledger.master_fills import MasterFills, ObservedFill
from shared.queries.accounts import read_accounts
from shared.queries.connections import Connections
from shared.queries.followers import read_followers
from shared.queries.ledger import read_fills, read_orders, read_positions
from shared.queries.masters import read_subscriptions
from shared.queries.pages import (
    Page,
    page_of_accounts,
    page_of_fills,
    page_of_followers,
    page_of_orders,
    page_of_positions,
    page_of_subscriptions,
)
from tests.support.examples import NOW, an_account_fill
from tests.support.ledger_examples import a_batch, a_decision, a_filled_event

BROKERS = (Broker.KRAKEN, Broker.OKX, Broker.ALPACA)
NAMES = ("alice", "bob", "b.ob", "b_ob", "b-ob", "zoe")
_NUMBERS = count(1)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def connections(postgres_server: PostgresServer, _template_database: str) -> Iterator[Connections]:
    """Three brokers with six followers each, whose names differ in signs that a collation may ignore, and some fills."""
    engine = open_engine(postgres_server.create_database("pages", template=_template_database))
    found = Connections(engine, {}, SecretBox(SecretStr(Fernet.generate_key().decode())))
    for broker in BROKERS:
        for name in NAMES:
            key = Credentials(api_key=SecretStr(f"key-of-{name}"), api_secret=SecretStr("c2VjcmV0"))
            FollowerStore(engine, found.secret_box).add(broker, FollowerId(name), key, actor="test")
        for _ in range(4):
            add_fill(found, broker)
    yield found
    engine.dispose()
    postgres_server.drop_database("pages")


def add_fill(connections: Connections, broker: Broker) -> None:
    """A fill that each follower of the broker has copied. Some are published at one moment."""
    number = next(_NUMBERS)
    seen = ObservedFill(an_account_fill(fill_id=f"T-{number}"), Decimal(1_000))
    [fill] = MasterFills(connections.engine).record(broker, "master", [seen], NOW + timedelta(seconds=number // 3))
    events: list[Any] = []
    for name in NAMES:
        same = {"copy_order_id": f"{broker.value}-{fill.sequence}-{name}"}
        symbol = "BTC/USD" if number % 2 else "ETH/USD"
        decision = a_decision(name, fill.sequence, **same)
        events.append(a_batch(decision, broker=broker, sequence=fill.sequence, symbol=symbol))
        events.append(a_filled_event(name, fill.sequence, broker=broker, symbol=symbol, **same))
    Ledger(connections.engine).write(events)


def walk(read: Callable[[Any, int], Page[Any]], limits: list[int], between: Callable[[], None]) -> list[Any]:
    """All rows, page by page, with `between` after each page."""
    found: list[Any] = []
    after, turn = None, 0
    while True:
        page = read(after, limits[turn % len(limits)])
        assert len(page.items) <= limits[turn % len(limits)]
        found += page.items
        if page.next_key is None:
            return found
        after, turn = page.next_key, turn + 1
        between()


def lists_of(
    connections: Connections, broker: Broker | None
) -> list[tuple[list[Any], Callable[[Any, int], Page[Any]]]]:
    """Each list as a whole, and the function that reads a page of it."""
    orders: dict[str, Any] = {"follower_id": None, "fill": None, "state": None}
    positions: dict[str, Any] = {"follower_id": None, "asset": None, "closed": False}
    accounts: dict[str, Any] = {"follower_id": None, "maximum_age": HOUR}
    whole = read_accounts(connections, BROKERS, broker=broker, maximum_age=HOUR)
    return [
        (
            read_fills(connections, broker, limit=1_000),
            lambda after, limit: page_of_fills(connections, broker, after=after, limit=limit),
        ),
        (
            read_orders(connections, broker, limit=1_000),
            lambda after, limit: page_of_orders(connections, broker, **orders, after=after, limit=limit),
        ),
        (
            list(read_followers(connections, broker).present),
            lambda after, limit: page_of_followers(connections, broker, after=after, limit=limit),
        ),
        (
            list(read_subscriptions(connections, broker)),
            lambda after, limit: page_of_subscriptions(connections, broker, after=after, limit=limit),
        ),
        (
            read_positions(connections, broker),
            lambda after, limit: page_of_positions(connections, broker, **positions, after=after, limit=limit),
        ),
        (
            sorted(whole, key=lambda state: state.broker),
            lambda after, limit: page_of_accounts(connections, BROKERS, broker, **accounts, after=after, limit=limit),
        ),
    ]


@settings(max_examples=25)
@given(
    limits=st.lists(st.integers(min_value=1, max_value=40), min_size=1, max_size=4),
    broker=st.sampled_from([None, *BROKERS]),
)
def test_all_pages_together_are_the_list(connections: Connections, limits: list[int], broker: Broker | None) -> None:
    """Whatever the sizes of the pages are."""
    for whole, read in lists_of(connections, broker):
        assert whole
        assert walk(read, limits, lambda: None) == whole


@settings(max_examples=5)
@given(limit=st.integers(min_value=1, max_value=9), broker=st.sampled_from(BROKERS))
def test_fills_that_arrive_meanwhile_move_no_row(connections: Connections, limit: int, broker: Broker) -> None:
    """The rows that were there at the first page are returned once each. New fills are in front of it."""
    added = iter(range(3))

    def add_some() -> None:
        if next(added, None) is not None:
            add_fill(connections, broker)

    for place in (0, 1):
        whole, read = lists_of(connections, None)[place]
        keys = [(row.broker, row.sequence, getattr(row, "follower_id", "")) for row in whole]
        walked = [(row.broker, row.sequence, getattr(row, "follower_id", "")) for row in walk(read, [limit], add_some)]
        assert [key for key in walked if key in set(keys)] == keys
        assert len(set(walked)) == len(walked)
