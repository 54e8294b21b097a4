"""A copy on the master's own account is not copied again, and its follower is disabled."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy import Engine

from shared.domain.copying.follower import FollowerStatus
from shared.domain.copying.master_fill import MasterFill
from shared.domain.events import EVENT, FollowerDisabled
from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.messaging.keys import EVENT_FIELD
from shared.persistence.database import open_engine
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from shared.persistence.ledger.ledger import Ledger
from tests.integration.master_trader.processes import KEYS, START, Bench, check_equity, end
from tests.support.ledger_examples import a_filled_event


@dataclass
class OwnFollower:
    """A follower that was given the master's second key. The test takes the place of its worker and bookkeeper."""

    bench: Bench
    engine: Engine

    def __post_init__(self) -> None:
        self.store = FollowerStore(self.engine, SecretBox(SecretStr(Fernet.generate_key().decode())))
        self.store.add(Broker.KRAKEN, "self", self.bench.paper.credentials(1), actor="test")

    @property
    def status(self) -> FollowerStatus:
        return self.store.all()[0].status

    def book(self, sequence: int, broker_order_id: str) -> None:
        """Record that the copy of fill `sequence` was executed."""
        now = datetime.now(UTC)
        event = a_filled_event("self", sequence, broker_order_id=broker_order_id, occurred_at=now)
        assert Ledger(self.engine).write([event]).order_events == 1

    async def take_events(self) -> list[FollowerDisabled]:
        """Write the events of the master trader to the ledger and delete them from Redis; return them."""
        entries = await self.bench.redis.xrange(KEYS.events)
        events = [EVENT.validate_json(fields[EVENT_FIELD.encode()]) for _, fields in entries]
        await self.bench.redis.delete(KEYS.events)
        Ledger(self.engine).write(events)
        assert all(isinstance(event, FollowerDisabled) for event in events)
        return [event for event in events if isinstance(event, FollowerDisabled)]


@pytest.fixture
def own_follower(bench: Bench) -> Iterator[OwnFollower]:
    """A follower whose account is the master's account."""
    engine = open_engine(bench.database_url)
    yield OwnFollower(bench, engine)
    engine.dispose()


def check_equities(fills: list[MasterFill], truth: list[dict[str, Any]]) -> None:
    """Check that each published equity is the value of the account before its fill, with all executions counted."""
    usd, btc = Decimal(START["USD"]), Decimal(START["BTC"])
    by_id = {fill.fill_id: fill for fill in fills}
    for each in truth:
        price, quantity, cost, fee = (Decimal(each[name]) for name in ("price", "quantity", "cost", "fee"))
        if each["fill_id"] in by_id:
            check_equity(by_id[each["fill_id"]], usd + btc * price)
        sign = 1 if each["side"] == "buy" else -1
        usd -= sign * cost + fee
        btc += sign * quantity


async def test_a_copy_on_the_masters_own_account_is_not_copied_again(bench: Bench, own_follower: OwnFollower) -> None:
    """A copy on the master's account is not published, even after a restart, and its follower is disabled.

    The trades before and after it are published as usual.
    """

    def own_fills() -> list[str]:
        return [fill["fill_id"] for fill in bench.paper.fills() if fill not in copied]

    async def complete() -> bool:
        return len(await bench.published()) >= len(own_fills())

    copied: list[dict[str, Any]] = []
    process = bench.start_master()
    await bench.until_state("watching")
    await bench.trade(Side.BUY, "0.1")
    await bench.until_all_published()

    # One poll reads all of these: a trade before the copy, the copy, and a trade after it.
    assert end(process) == 0
    await bench.trade(Side.BUY, "0.1")
    before = len(bench.paper.fills())
    own_follower.book(1, await bench.trade(Side.BUY, "0.05"))
    copied = bench.paper.fills()[before:]
    await bench.trade(Side.SELL, "0.1")
    process = bench.start_master()
    await bench.until("published its own", complete)
    assert {event.follower_id for event in await own_follower.take_events()} == {"self"}
    assert own_follower.status is FollowerStatus.DISABLED

    # The operator has given the follower its own key. The process that reads the copy again does not know that.
    assert end(process) == 0
    own_follower.store.set_status(Broker.KRAKEN, "self", FollowerStatus.ACTIVE, actor="test")
    bench.start_master()
    await bench.until_state("watching")
    await bench.trade(Side.SELL, "0.1")
    await bench.until("published its own", complete)
    assert await own_follower.take_events()
    assert own_follower.status is FollowerStatus.ACTIVE

    fills = await bench.published()
    assert [fill.fill_id for fill in fills] == own_fills()
    assert [fill.fraction_closed for fill in fills] == [0, 0, Decimal("0.5"), 1]
    check_equities(fills, bench.paper.fills())


async def test_a_copy_that_was_seen_before_the_ledger_knew_it_disables_its_follower_at_the_next_fill(
    bench: Bench, own_follower: OwnFollower
) -> None:
    """The copy was published as a fill.

    The next new fill makes the master trader find out that nija placed the copy.
    """
    bench.start_master()
    await bench.until_state("watching")
    copy = await bench.trade(Side.BUY, "0.1")
    await bench.until_all_published()
    assert await own_follower.take_events() == []
    own_follower.book(1, copy)
    await bench.trade(Side.BUY, "0.1")
    check_equities(await bench.until_all_published(), bench.paper.fills())
    assert {event.follower_id for event in await own_follower.take_events()} == {"self"}
    assert own_follower.status is FollowerStatus.DISABLED
