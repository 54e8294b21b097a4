"""Runs a broker worker on a real Redis with one account in memory, and serves mail until none is left."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic import SecretStr
from redis.asyncio import Redis

from services.broker_worker.listing import Listing
from services.broker_worker.read_account import AccountReader
from services.broker_worker.serve import Serving
from services.broker_worker.stop_gate import StopGate
from shared.brokers.registry import profile_of
from shared.domain.accounts.credentials import Credentials
from shared.domain.accounts.reading_schedule import ROUTINE_SECONDS
from shared.domain.amounts import ZERO
from shared.domain.copying.copy_order import CopiedPosition, CopyOrder
from shared.domain.copying.open_limits import OpenLimits
from shared.domain.events import EVENT, Event, OrderEvent
from shared.domain.identity import Broker
from shared.domain.instrument import Instrument
from shared.messaging.keys import BrokerKeys
from shared.messaging.mailboxes import ClaimedFollower, Mailboxes, Submission
from shared.messaging.price_list import PresentPrices
from shared.messaging.refused_keys import RefusedKeys
from shared.messaging.scripts import ScriptRunner
from shared.messaging.stops import StopReader
from tests.support.broker import FakeConnection
from tests.support.examples import FIRST_ROSTER, NOW, an_instrument
from tests.support.faulty_broker import PRICE, FaultyAccount
from tests.support.prices import LivePrices
from tests.support.running.stops import nothing_stopped

KEYS = BrokerKeys(Broker.KRAKEN)
ROUTES = profile_of(Broker.KRAKEN).price_routes
CREDENTIALS = Credentials(api_key=SecretStr("key"), api_secret=SecretStr("secret"))
VALIDITY_SECONDS = 0.15
MARGIN_SECONDS = 0.05
GIVE_UP_AFTER = timedelta(seconds=20)


@dataclass
class WorkerBench:
    """Has one follower, `alice`, unless a test delivers orders for others."""

    redis: Redis
    account: FaultyAccount = field(default_factory=FaultyAccount)
    claim_ms: int = 60_000
    instruments: Mapping[str, Instrument] = field(default_factory=lambda: {"BTC/USD": an_instrument()})
    listed_next: Mapping[str, Instrument] | None = None
    """What the broker lists after a reload. None means: the same as before."""
    limits: OpenLimits = field(default_factory=OpenLimits)
    broker_clock: Callable[[], datetime] | None = None
    """None means: the clock of this machine."""
    has_stop_state: bool = True
    """False: Redis has only the stop state that a test puts there."""
    reloads: int = 0
    sequence: int = 0
    later: timedelta = timedelta()
    """How far ahead the clock of the refused keys is."""

    def __post_init__(self) -> None:
        self.connection = FakeConnection(self.account, {"BTC": PRICE})
        self.prices = LivePrices({"BTC": PRICE})
        self.connection.request_validity_seconds = VALIDITY_SECONDS
        self.connection.lookup_margin_seconds = MARGIN_SECONDS
        self.mailboxes = Mailboxes(ScriptRunner(self.redis), KEYS, self.claim_ms)
        self.serving = self.new_serving(limits=self.limits, broker_clock=self.broker_clock)

    def new_serving(
        self, *, limits: OpenLimits | None = None, broker_clock: Callable[[], datetime] | None = None
    ) -> Serving:
        """A worker's `Serving` with these limits of opens and this clock of the broker."""
        reader = AccountReader(self.redis, KEYS, Broker.KRAKEN, PresentPrices(self.prices, ROUTES), ROUTINE_SECONDS)
        listing = Listing(lambda: self.instruments, self._reload)
        self.refused_keys = RefusedKeys(self.redis, KEYS, now=lambda: datetime.now(UTC) + self.later)
        return Serving(
            self.redis,
            KEYS,
            self.mailboxes,
            self.connection,
            reader,
            listing,
            self.refused_keys,
            StopGate(StopReader(self.redis, KEYS)),
            limits=limits or OpenLimits(),
            broker_clock=broker_clock or (lambda: datetime.now(UTC)),
        )

    async def _reload(self) -> None:
        """Load the list of instruments again."""
        self.reloads += 1
        if self.listed_next is not None:
            self.instruments = self.listed_next

    async def deliver(self, *orders: CopyOrder) -> None:
        """Put the orders into their mailboxes as the engine does, with the present as their decision time."""
        if self.has_stop_state:
            await nothing_stopped(self.redis, KEYS)
        position = await self.redis.hget(KEYS.shards, "0") or b""
        self.sequence += 1
        mail = [part for order in orders for part in (order.follower_id, now_decided(order).model_dump_json())]
        roster_version = int(await self.redis.get(KEYS.roster) or FIRST_ROSTER)
        await self.mailboxes.deliver(0, position, b"%d:*" % self.sequence, b"", mail, (), roster_version)

    async def hold(self, quantity: Any, carried_exit: Any = ZERO, follower_id: str = "alice") -> None:
        """Give the follower a copied position in BTC."""
        position = CopiedPosition(quantity=quantity, carried_exit=carried_exit)
        await self.redis.hset(KEYS.positions(follower_id), "BTC", position.model_dump_json())

    async def claim(self) -> list[ClaimedFollower]:
        """Claim all ready followers, also those with a later due time. An early claim must be harmless."""
        if self.has_stop_state:
            await nothing_stopped(self.redis, KEYS)
        for follower in await self.redis.zrange(KEYS.ready, 0, -1):
            await self.redis.zadd(KEYS.ready, {follower: 0})
        return (await self.mailboxes.claim(10))[1]

    async def serve_once(self, credentials: Credentials | None = CREDENTIALS) -> int:
        """Serve each follower that has mail once, and return how many there were."""
        claimed = await self.claim()
        for follower in claimed:
            await self.serving.follower(follower, credentials)
        return len(claimed)

    async def serve(self, passing: timedelta = timedelta()) -> list[OrderEvent]:
        """Serve until no follower has mail, and return the final events.

        `passing`: the time that passes between two servings for the rule of refused keys.
        """
        deadline = datetime.now(UTC) + GIVE_UP_AFTER
        while await self.serve_once():
            if datetime.now(UTC) > deadline:
                raise TimeoutError("the mailbox does not empty")
            self.later += passing
        return await self.finals()

    async def events(self) -> list[Event]:
        return [EVENT.validate_json(fields[b"event"]) for _, fields in await self.redis.xrange(KEYS.events)]

    async def finals(self) -> list[OrderEvent]:
        return [e for e in await self.events() if isinstance(e, OrderEvent) and e.outcome is not None]

    async def position(self, follower_id: str = "alice") -> CopiedPosition:
        stored = await self.redis.hget(KEYS.positions(follower_id), "BTC")
        return (
            CopiedPosition.model_validate_json(stored) if stored else CopiedPosition(quantity=ZERO, carried_exit=ZERO)
        )

    async def submission(self, follower_id: str = "alice") -> Submission | None:
        stored = await self.redis.hget(KEYS.submitting, follower_id)
        return Submission.model_validate_json(stored) if stored else None


def now_decided(order: CopyOrder) -> CopyOrder:
    """The order with the present as the time of its decision, and of the master's execution if the test names none."""
    now = datetime.now(UTC)
    return order.model_copy(
        update={"decided_at": now, "executed_at": now if order.executed_at == NOW else order.executed_at}
    )


def held(quantity: str, carried_exit: str = "0") -> CopiedPosition:
    """A copied position."""
    return CopiedPosition(quantity=Decimal(quantity), carried_exit=Decimal(carried_exit))
