"""Reads a follower's account in the background, and publishes the snapshot that the planner uses."""

import random
import time
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import structlog
from pydantic import ValidationError
from redis.asyncio import Redis

from shared.brokers.errors import BrokerError
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.connection import BrokerConnection
from shared.domain.accounts.balance import READINGS_UNTIL_UNAVAILABLE, AccountTrouble
from shared.domain.accounts.equity import DOLLARS, snapshot
from shared.domain.accounts.reading_schedule import reading_priority
from shared.domain.accounts.snapshot import AccountSnapshot
from shared.domain.events import OrderEvent, SnapshotEvent
from shared.domain.identity import Broker, FollowerId
from shared.domain.request_limits import Priority
from shared.messaging.event_stream import add_event
from shared.messaging.keys import BrokerKeys

PRICES_MAX_AGE_SECONDS = 2.0
READ_AGAIN_PART = 6
"""After a failure an account is read again after this part of the usual interval."""
HISTORY_EVERY = timedelta(minutes=10)
"""The ledger keeps a snapshot of an account this often; Redis always has the newest."""

log = structlog.get_logger()


class Prices:
    """Last prices in US dollars, shared by all accounts that a worker reads."""

    def __init__(self, connection: BrokerConnection) -> None:
        self._connection = connection
        self._known: dict[str, tuple[float, Decimal | None]] = {}

    async def of(self, currencies: Collection[str]) -> dict[str, Decimal]:
        """Prices not older than two seconds; currencies without a price are left out."""
        now = time.monotonic()
        missing = [c for c in currencies if now - self._known.get(c, (-1e9, None))[0] > PRICES_MAX_AGE_SECONDS]
        if missing:
            # Not less urgent than any reading: without prices, the balances would have been read in vain.
            found = await self._connection.prices(missing, Priority.OVERDUE)
            self._known.update({currency: (now, found.get(currency)) for currency in missing})
        priced = ((currency, self._known[currency][1]) for currency in currencies)
        return {currency: price for currency, price in priced if price is not None}


class AccountReader:
    """Reads accounts under their claim, one request at a time for each key."""

    def __init__(self, redis: Redis, keys: BrokerKeys, broker: Broker, prices: Prices, refresh_seconds: float) -> None:
        self._redis = redis
        self._keys = keys
        self._broker = broker
        self._prices = prices
        self._refresh_seconds = refresh_seconds

    async def read(self, follower_id: FollowerId, account: BrokerAccount) -> AccountSnapshot:
        """Read the account, publish its snapshot, and plan the next reading. Raises BrokerError, RedisError."""
        previous = await self._redis.hget(self._keys.accounts, follower_id)
        before = _stored(previous)
        age_seconds = None if before is None else (datetime.now(UTC) - before.taken_at).total_seconds()
        balances = await account.at(reading_priority(age_seconds)).balances()
        prices = await self._prices.of([currency for currency in balances if currency not in DOLLARS])
        taken = snapshot(balances, prices, datetime.now(UTC))
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(self._keys.accounts, follower_id, taken.model_dump_json())
            pipeline.hdel(self._keys.account_trouble, follower_id)
            pipeline.zadd(self._keys.refresh, {follower_id: self._next_reading_ms()})
            if before is None or before.failed_reads >= READINGS_UNTIL_UNAVAILABLE or _is_new_period(before, taken):
                add_event(pipeline, self._keys, self._event(follower_id, taken))
            await pipeline.execute()
        return taken

    async def failed(self, follower_id: FollowerId, error: BrokerError) -> None:
        """A reading failed: the last snapshot stands, marked; after three the follower opens nothing more."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hget(self._keys.accounts, follower_id)
            pipeline.hget(self._keys.account_trouble, follower_id)
            stored, earlier = await pipeline.execute()
        now = datetime.now(UTC)
        known = None if earlier is None else AccountTrouble.model_validate_json(earlier)
        trouble = AccountTrouble(
            failed_reads=known.failed_reads + 1 if known else 1,
            error=str(error),
            since=known.since if known else now,
            at=now,
        )
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(self._keys.account_trouble, follower_id, trouble.model_dump_json())
            if (before := _stored(stored)) is not None:
                marked = before.model_copy(update={"failed_reads": trouble.failed_reads})
                pipeline.hset(self._keys.accounts, follower_id, marked.model_dump_json())
                if trouble.failed_reads == READINGS_UNTIL_UNAVAILABLE:
                    event = self._event(follower_id, marked).model_copy(update={"stale": True, "occurred_at": now})
                    add_event(pipeline, self._keys, event)
            if trouble.failed_reads < READINGS_UNTIL_UNAVAILABLE:
                # Soon again: a single failure should not keep an account stale for a whole round.
                soon_ms = int((time.time() + self._refresh_seconds / READ_AGAIN_PART) * 1000)
                pipeline.zadd(self._keys.refresh, {follower_id: soon_ms})
            await pipeline.execute()

    async def postpone(self, follower_id: FollowerId, seconds: float) -> None:
        """Plan the reading again after `seconds`, because the rate limits did not allow it now."""
        due_ms = int((time.time() + seconds) * 1000)
        await self._redis.zadd(self._keys.refresh, {follower_id: due_ms})

    async def free(self, follower_id: FollowerId, currency: str) -> Decimal | None:
        """What is free of a currency: the last reading less own fills. None if no reading is known. No request."""
        account = _stored(await self._redis.hget(self._keys.accounts, follower_id))
        # A restore brings back the sums of a reading, and not its currencies.
        return account.free_quantity(currency) if account is not None and account.total else None

    async def filled(self, event: OrderEvent) -> None:
        """Move the last reading by an own fill, until the next reading confirms it."""
        account = _stored(await self._redis.hget(self._keys.accounts, event.follower_id))
        # A reading that was taken after the order was sent may show the fill already.
        if account is None or event.submitted_at is None or account.taken_at > event.submitted_at:
            return
        moved = account.after_fill(
            event.side, event.symbol, event.filled_quantity, event.cost, event.fee, event.fee_currency
        )
        await self._redis.hset(self._keys.accounts, event.follower_id, moved.model_dump_json())

    async def forget(self, follower_id: FollowerId) -> None:
        """Stop reading an account that has no key any more."""
        await self._redis.zrem(self._keys.refresh, follower_id)

    def _event(self, follower_id: FollowerId, account: AccountSnapshot) -> SnapshotEvent:
        return SnapshotEvent(
            broker=self._broker,
            follower_id=follower_id,
            equity=account.equity,
            cash=account.cash,
            held=account.held,
            positions=account.positions,
            unpriced=account.unpriced,
            occurred_at=account.taken_at,
        )

    def _next_reading_ms(self) -> int:
        # Spread over a fifth of the interval, so that accounts added together drift apart.
        seconds = self._refresh_seconds * random.uniform(0.9, 1.1)  # noqa: S311  no secret depends on it
        return int((time.time() + seconds) * 1000)


def _stored(value: bytes | str | None) -> AccountSnapshot | None:
    """The last snapshot; None where there is none, or one of another version: the next reading replaces it."""
    try:
        return None if value is None else AccountSnapshot.model_validate_json(value)
    except ValidationError as error:
        log.warning("the last snapshot of an account cannot be read", error=str(error))
        return None


def _is_new_period(previous: AccountSnapshot, taken: AccountSnapshot) -> bool:
    period_seconds = HISTORY_EVERY.total_seconds()
    return previous.taken_at.timestamp() // period_seconds != taken.taken_at.timestamp() // period_seconds
