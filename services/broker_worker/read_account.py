"""Reads a follower's account in the background, and publishes what the planner uses of it.

A reading is stored as a whole, with a small summary. Own fills move the summary, and the next reading confirms them.
"""

import random
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import structlog
from pydantic import ValidationError
from redis.asyncio import Redis

from shared.brokers.errors import BrokerError, Throttled
from shared.brokers.port.account import BrokerAccount
from shared.domain.accounts.balance import READINGS_UNTIL_UNAVAILABLE, AccountTrouble
from shared.domain.accounts.equity import DOLLARS, snapshot
from shared.domain.accounts.reading_schedule import due_after_order, due_after_reading, reading_priority
from shared.domain.accounts.snapshot import AccountSnapshot, AccountSummary
from shared.domain.amounts import ZERO, plain
from shared.domain.copying.reasons import FailReason
from shared.domain.events import OrderEvent, SnapshotEvent
from shared.domain.identity import Broker, FollowerId
from shared.messaging.accounts import add_account
from shared.messaging.event_stream import add_event
from shared.messaging.keys import BrokerKeys, connected_member
from shared.messaging.price_list import PresentPrices

READ_AGAIN_SECONDS = 10.0
"""How long after a failure an account is read again."""
NO_PRICES_RETRY_SECONDS = 2.0
HISTORY_EVERY = timedelta(minutes=10)
"""The ledger keeps a snapshot of an account this often; Redis always has the newest."""

log = structlog.get_logger()


class AccountReader:
    """Reads accounts under their claim, one request at a time for each key."""

    def __init__(
        self, redis: Redis, keys: BrokerKeys, broker: Broker, prices: PresentPrices, refresh_seconds: float
    ) -> None:
        """`refresh_seconds`: the age at which an account is read again if nothing else asks for it."""
        self._redis = redis
        self._keys = keys
        self._broker = broker
        self._prices = prices
        self._refresh_seconds = refresh_seconds

    async def read(self, follower_id: FollowerId, account: BrokerAccount, key_hash: str) -> AccountSnapshot:
        """Read the account, publish its snapshot, and plan the next reading. Raises BrokerError, RedisError.

        It costs the request for the balances. Their value comes from the price list. `key_hash`: of the key that opens
        the account. The first reading with a key writes a line into the log.
        """
        before = await self._summary(follower_id)
        prices = await self._prices.now()
        if prices is None:
            # Without a price list, the account would look as if it held only cash.
            raise Throttled("there is no price list of the broker yet", NO_PRICES_RETRY_SECONDS)
        age_seconds = None if before is None else (datetime.now(UTC) - before.taken_at).total_seconds()
        balances = await account.at(reading_priority(age_seconds)).balances()
        assets = [currency for currency in balances if currency not in DOLLARS]
        await self._prices.need(assets)
        taken = snapshot(balances, prices.among(assets), datetime.now(UTC))
        chance = random.random()  # noqa: S311  no secret depends on it
        due_at = due_after_reading(taken.taken_at.timestamp(), chance, self._refresh_seconds)
        async with self._redis.pipeline(transaction=True) as pipeline:
            # First, because its reply is used below.
            pipeline.sadd(self._keys.connected, connected_member(follower_id, key_hash))
            add_account(pipeline, self._keys, follower_id, taken)
            pipeline.hdel(self._keys.account_trouble, follower_id)
            pipeline.zadd(self._keys.refresh, {follower_id: int(due_at * 1000)})
            if before is None or before.failed_reads >= READINGS_UNTIL_UNAVAILABLE or _is_new_period(before, taken):
                add_event(pipeline, self._keys, self._event(follower_id, taken))
            replies = await pipeline.execute()
        # Redis adds a member once, so only one of several workers writes the line.
        if replies[0] == 1:
            log.info(
                "follower connected",
                broker=self._broker.value,
                follower=follower_id,
                equity_usd=plain(taken.equity),
                positions=sum(1 for currency in taken.total if currency not in DOLLARS),
            )
        return taken

    async def failed(self, follower_id: FollowerId, error: BrokerError) -> None:
        """A reading failed: the last snapshot stands, marked; after three the follower opens nothing more."""
        summary = await self._summary(follower_id)
        earlier = await self._redis.hget(self._keys.account_trouble, follower_id)
        before = _stored(await self._redis.hget(self._keys.accounts, follower_id))
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
            if summary is not None:
                marked = summary.model_copy(update={"failed_reads": trouble.failed_reads})
                pipeline.hset(self._keys.account_summaries, follower_id, marked.model_dump_json())
            if before is not None and trouble.failed_reads == READINGS_UNTIL_UNAVAILABLE:
                event = self._event(follower_id, before).model_copy(update={"stale": True, "occurred_at": now})
                add_event(pipeline, self._keys, event)
            if trouble.failed_reads < READINGS_UNTIL_UNAVAILABLE:
                # Soon again: a single failure should not keep an account stale for a whole round.
                soon_ms = int((time.time() + READ_AGAIN_SECONDS) * 1000)
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
        if account is None or not account.total:
            return None
        summary = await self._summary(follower_id)
        moved = ZERO if summary is None else summary.moved.get(currency, ZERO)
        return max(account.free_quantity(currency) + moved, ZERO)

    async def settled(self, event: OrderEvent) -> int | None:
        """Move the last reading by an own fill, until the next reading confirms it.

        Return in how many milliseconds the account is due to be read; None: as planned.
        """
        summary = await self._summary(event.follower_id)
        is_unexplained = event.reason is FailReason.INSUFFICIENT_FUNDS
        if event.filled_quantity and summary is not None and _is_shown_later(event, summary):
            moved = summary.after_fill(
                event.side, event.symbol, event.filled_quantity, event.cost, event.fee, event.fee_currency
            )
            await self._redis.hset(self._keys.account_summaries, event.follower_id, moved.model_dump_json())
        if not (event.filled_quantity or is_unexplained):
            return None
        now = time.time()
        read_at = None if summary is None else summary.taken_at.timestamp()
        due_at = due_after_order(read_at, now, is_unexplained=is_unexplained)
        return int((due_at - now) * 1000)

    async def forget(self, follower_id: FollowerId) -> None:
        """Stop reading an account that has no key any more."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.zrem(self._keys.refresh, follower_id)
            pipeline.zrem(self._keys.account_ages, follower_id)
            await pipeline.execute()

    async def _summary(self, follower_id: FollowerId) -> AccountSummary | None:
        """The last summary; None if there is none, or one of another version, which the next reading replaces."""
        value = await self._redis.hget(self._keys.account_summaries, follower_id)
        try:
            return None if value is None else AccountSummary.model_validate_json(value)
        except ValidationError as error:
            log.warning("the summary of an account cannot be read", error=str(error))
            return None

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


def _stored(value: bytes | str | None) -> AccountSnapshot | None:
    """The last snapshot; None where there is none, or one of another version: the next reading replaces it."""
    try:
        return None if value is None else AccountSnapshot.model_validate_json(value)
    except ValidationError as error:
        log.warning("the last snapshot of an account cannot be read", error=str(error))
        return None


def _is_shown_later(event: OrderEvent, summary: AccountSummary) -> bool:
    """Whether the last reading cannot show the fill. A reading taken after the order was sent may show it."""
    return event.submitted_at is not None and summary.taken_at <= event.submitted_at


def _is_new_period(previous: AccountSummary, taken: AccountSnapshot) -> bool:
    period_seconds = HISTORY_EVERY.total_seconds()
    return previous.taken_at.timestamp() // period_seconds != taken.taken_at.timestamp() // period_seconds
