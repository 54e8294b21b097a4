"""The address of nija changes, and the broker refuses the keys of all 30 followers for half a minute.

The broker is a paper Kraken. A second paper Kraken knows none of the keys, and answers as the real one does then.
"""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from redis.asyncio import Redis

from services.broker_worker.listing import Listing
from services.broker_worker.read_account import AccountReader
from services.broker_worker.serve import Serving
from services.broker_worker.stop_gate import StopGate
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import connect, profile_of
from shared.domain.accounts.credentials import Credentials
from shared.domain.copying.copy_order import CopiedPosition, CopyOrder
from shared.domain.copying.reasons import SkipReason
from shared.domain.events import EVENT, FollowerDisabled, OrderEvent, Outcome
from shared.domain.identity import Broker
from shared.messaging.alerts import AlertKind, current_alerts
from shared.messaging.mailboxes import Mailboxes
from shared.messaging.nonces import RedisNonceSource
from shared.messaging.price_list import PresentPrices
from shared.messaging.refused_keys import RefusedKeys
from shared.messaging.scripts import ScriptRunner
from shared.messaging.stops import StopReader
from tests.contract.paper import PaperServer
from tests.support.examples import FIRST_ROSTER, an_order
from tests.support.prices import LivePrices
from tests.support.running.stops import nothing_stopped
from tests.support.running.worker_bench import KEYS, now_decided

FOLLOWERS = [f"follower-{number}" for number in range(30)]
QUANTITY = Decimal("0.01")


class World:
    """30 followers with accounts at one Kraken. `serving` reaches it, or the one that refuses all keys."""

    def __init__(self, redis: Redis, paper: PaperServer) -> None:
        self.redis = redis
        self.later = timedelta()
        self.sequence = 0
        balances = {"USD": "10000", "BTC": "1"}
        self.credentials: dict[str, Credentials] = {name: paper.new_account(name, balances) for name in FOLLOWERS}
        self.mailboxes = Mailboxes(ScriptRunner(redis), KEYS, 60_000)

    def connection(self, paper: PaperServer) -> BrokerConnection:
        nonces = RedisNonceSource(ScriptRunner(self.redis), KEYS)
        return connect(Broker.KRAKEN, base_url=paper.url, nonces=nonces)

    def serving(self, connection: BrokerConnection) -> Serving:
        prices = PresentPrices(LivePrices({"BTC": Decimal(50_000)}), profile_of(Broker.KRAKEN).price_routes)
        accounts = AccountReader(self.redis, KEYS, Broker.KRAKEN, prices, 60)
        refused_keys = RefusedKeys(self.redis, KEYS, now=lambda: datetime.now(UTC) + self.later)
        listing = Listing(connection.instruments, connection.reload)
        gate = StopGate(StopReader(self.redis, KEYS))
        return Serving(self.redis, KEYS, self.mailboxes, connection, accounts, listing, refused_keys, gate)

    async def deliver(self, **changes: str) -> None:
        """Deliver one order to each follower."""
        await nothing_stopped(self.redis, KEYS)
        self.sequence += 1
        orders: list[CopyOrder] = [now_decided(an_order(name, sequence=self.sequence, **changes)) for name in FOLLOWERS]
        mail = [part for order in orders for part in (order.follower_id, order.model_dump_json())]
        before = await self.redis.hget(KEYS.shards, "0") or b""
        await self.mailboxes.deliver(0, before, b"%d:*" % self.sequence, b"", mail, (), FIRST_ROSTER)

    async def serve(self, serving: Serving) -> None:
        """Serve each follower that has mail until none has any that can be carried out now."""
        for _ in range(10):
            for name in await self.redis.zrange(KEYS.ready, 0, -1):
                await self.redis.zadd(KEYS.ready, {name: 0})
            claimed = (await self.mailboxes.claim(len(FOLLOWERS)))[1]
            await asyncio.gather(
                *(serving.follower(each, self.credentials[each.claim.follower_id]) for each in claimed)
            )
            if not claimed or await self.redis.hlen(KEYS.refused_keys):
                return

    async def finals(self) -> list[OrderEvent]:
        events = [EVENT.validate_json(fields[b"event"]) for _, fields in await self.redis.xrange(KEYS.events)]
        assert not [event for event in events if isinstance(event, FollowerDisabled)]
        return [event for event in events if isinstance(event, OrderEvent) and event.outcome is not None]


@pytest.fixture
def papers(tmp_path: Path) -> Iterator[tuple[PaperServer, PaperServer]]:
    """The Kraken of the followers, and one that refuses their keys."""
    folders = [tmp_path / name for name in ("knows", "refuses")]
    servers: list[PaperServer] = []
    try:
        for folder in folders:
            folder.mkdir()
            servers.append(PaperServer(Broker.KRAKEN, folder))
        yield servers[0], servers[1]
    finally:
        for server in servers:
            server.stop()


async def test_no_exit_is_lost_and_no_follower_disabled_when_all_keys_are_refused_for_half_a_minute(
    redis: Redis, papers: tuple[PaperServer, PaperServer]
) -> None:
    """There is one alert. Opens of that time are skipped with the reason, and all exits are made up afterwards."""
    world = World(redis, papers[0])
    connections = [world.connection(paper) for paper in papers]
    for connection in connections:
        await connection.open()
    usual, refusing = (world.serving(connection) for connection in connections)
    position = CopiedPosition(quantity=QUANTITY, carried_exit=Decimal(0)).model_dump_json()
    for name in FOLLOWERS:
        await redis.hset(KEYS.positions(name), "BTC", position)
    # The open comes first and is skipped. The exit behind it waits.
    await world.deliver(quantity=str(QUANTITY))
    await world.deliver(fraction="1")
    for seconds in (0, 10, 20, 30):
        world.later = timedelta(seconds=seconds)
        await world.serve(refusing)
        for name in FOLLOWERS:
            await redis.zadd(KEYS.ready, {name: 0})
    skipped = await world.finals()
    assert {(each.outcome, each.reason) for each in skipped} == {(Outcome.SKIPPED, SkipReason.KEY_REFUSED)}
    assert {each.follower_id for each in skipped} == set(FOLLOWERS)
    assert "EAPI:Invalid key" in skipped[0].message
    alerts = current_alerts(await redis.hvals(KEYS.alerts), datetime.now(UTC))
    assert [(alert.kind, alert.follower_id) for alert in alerts] == [(AlertKind.KEY_REFUSED, "direct")]

    world.later = timedelta(seconds=90)
    for _ in range(3):
        await world.serve(usual)
    made_up = [each for each in await world.finals() if each.outcome is Outcome.COPIED]
    assert {each.follower_id: each.filled_quantity for each in made_up} == dict.fromkeys(FOLLOWERS, QUANTITY)
    assert current_alerts(await redis.hvals(KEYS.alerts), datetime.now(UTC)) == []
    for connection in connections:
        await connection.close()
