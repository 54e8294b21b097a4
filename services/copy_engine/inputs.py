"""Reads the inputs of the planner from Redis: accounts, carried opens, prices, instruments and stops.

For each fill it reads a small summary of each account. It reads the holdings of an account only after a new reading, and
keeps them. So it values every account at present prices, and moves some bytes for each follower instead of all coins.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError
from redis.asyncio import Redis

from shared.brokers.price_routes import DollarPrices
from shared.domain.accounts.equity import market_value
from shared.domain.accounts.snapshot import AccountSnapshot, AccountSummary
from shared.domain.amounts import ZERO
from shared.domain.copying.reasons import SkipReason
from shared.domain.errors import NijaError, problems_of
from shared.domain.identity import FollowerId
from shared.domain.instrument import Instrument
from shared.domain.stop import StopState
from shared.domain.symbol import Symbol
from shared.messaging.keys import LAST_POLL_FIELD, BrokerKeys, carry_field
from shared.messaging.price_list import PresentPrices
from shared.messaging.stops import StopReader

_Model = TypeVar("_Model", bound=BaseModel)


class ListingUnknown(NijaError):
    """The instruments were not listed since Redis was emptied, so a symbol that is missing may still be listed."""


class Holdings(NamedTuple):
    """What an account held when it was last read."""

    taken_at: datetime
    totals: Mapping[str, Decimal]
    """Free and locked quantity per currency."""


class PlanningInputs:
    """Reads one broker's planning inputs."""

    def __init__(self, redis: Redis, keys: BrokerKeys, prices: PresentPrices) -> None:
        self._redis = redis
        self._keys = keys
        self._prices = prices
        self._stops = StopReader(redis, keys)
        self._holdings: dict[FollowerId, Holdings] = {}
        self._summary_errors: dict[FollowerId, str] = {}
        self._holding_errors: dict[FollowerId, str] = {}
        self.instrument_errors: dict[Symbol, str] = {}
        """By symbol, why its listing cannot be read."""

    @property
    def account_errors(self) -> Mapping[FollowerId, str]:
        """By follower, why its account cannot be read."""
        return {**self._holding_errors, **self._summary_errors}

    async def stops(self) -> StopState:
        """What is stopped at the broker. Raises RedisError, also while that is not known."""
        return await self._stops.now()

    async def instrument(self, symbol: Symbol) -> Instrument | SkipReason:
        """Return the instrument that the master's process published last, or why there is none.

        Raises ListingUnknown: an emptied Redis is filled from the ledger, which has only the instruments that were
        traded.
        """
        # Read first: a master's process publishes the listing before its first poll.
        is_listed = await self._redis.hexists(self._keys.master, LAST_POLL_FIELD)
        stored = await self._redis.hget(self._keys.instruments, symbol)
        if not stored and not is_listed:
            raise ListingUnknown(f"{symbol} is not listed, and the master's process has not listed anything yet")
        return self._parse_instrument(symbol, stored)

    async def accounts_and_carries(
        self, follower_ids: Sequence[FollowerId], asset: str
    ) -> tuple[list[AccountSnapshot | None], list[bytes | None]]:
        """Accounts at present prices (None: never read or unreadable) and carried opens of the asset (None: none), in the
        order of the ids.
        """
        if not follower_ids:
            return [], []
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hmget(self._keys.account_summaries, list(follower_ids))
            pipeline.hmget(self._keys.carries, [carry_field(follower_id, asset) for follower_id in follower_ids])
            stored, carried = await pipeline.execute()
        summaries = {
            follower_id: summary
            for follower_id, raw in zip(follower_ids, stored, strict=True)
            if (summary := _parse(AccountSummary, follower_id, raw, self._summary_errors)) is not None
        }
        await self._read_holdings(summaries)
        prices = await self._prices.now()
        return [self._account(each, summaries.get(each), prices) for each in follower_ids], carried

    async def _read_holdings(self, summaries: Mapping[FollowerId, AccountSummary]) -> None:
        """Read the holdings of the accounts that were read since they were last fetched."""
        changed = [
            follower_id
            for follower_id, summary in summaries.items()
            if follower_id not in self._holdings or self._holdings[follower_id].taken_at != summary.taken_at
        ]
        if not changed:
            return
        stored: list[Any] = await self._redis.hmget(self._keys.accounts, list(changed))
        for follower_id, raw in zip(changed, stored, strict=True):
            self._holdings.pop(follower_id, None)
            account = _parse(AccountSnapshot, follower_id, raw, self._holding_errors)
            if account is not None:
                self._holdings[follower_id] = Holdings(account.taken_at, account.total)

    def _account(
        self, follower_id: FollowerId, summary: AccountSummary | None, prices: DollarPrices | None
    ) -> AccountSnapshot | None:
        if summary is None or follower_id in self._holding_errors:
            return None
        held = self._holdings.get(follower_id)
        equity, taken_at = summary.equity, summary.taken_at
        # A restore brings back the equity of a reading, and not what the account holds.
        if held is not None and held.totals and prices is not None:
            # A reading that came after the summary shows the own fills that the summary has.
            moved = summary.moved if held.taken_at == taken_at else {}
            equity, taken_at = market_value(held.totals, moved, prices.__getitem__), held.taken_at
        return AccountSnapshot.model_construct(
            equity=equity, cash=ZERO, taken_at=taken_at, failed_reads=summary.failed_reads
        )

    async def read_unreadable_again(self) -> None:
        """Remove errors that are over. Raises RedisError."""
        for symbol in list(self.instrument_errors):
            self._parse_instrument(symbol, await self._redis.hget(self._keys.instruments, symbol))
        if names := list(self.account_errors):
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.hmget(self._keys.account_summaries, names)
                pipeline.hmget(self._keys.accounts, names)
                summaries, accounts = await pipeline.execute()
            for follower_id, summary, account in zip(names, summaries, accounts, strict=True):
                _parse(AccountSummary, follower_id, summary, self._summary_errors)
                _parse(AccountSnapshot, follower_id, account, self._holding_errors)

    def _parse_instrument(self, symbol: Symbol, raw: bytes | str | None) -> Instrument | SkipReason:
        self.instrument_errors.pop(symbol, None)
        if not raw:
            return SkipReason.UNSUPPORTED_SYMBOL
        try:
            return Instrument.model_validate_json(raw)
        except ValidationError as error:
            # One unreadable symbol must not delay the others.
            self.instrument_errors[symbol] = f"its listing cannot be read: {problems_of(error, 'instrument')}"
            return SkipReason.INSTRUMENT_UNREADABLE


def _parse(
    model: type[_Model], follower_id: FollowerId, raw: bytes | None, errors: dict[FollowerId, str]
) -> _Model | None:
    """The stored value; None if there is none, or if it cannot be read, which is noted in `errors`."""
    errors.pop(follower_id, None)
    try:
        return None if raw is None else model.model_validate_json(raw)
    except ValidationError as error:
        # One unreadable account must not affect the others.
        errors[follower_id] = f"its account cannot be read: {problems_of(error, 'account')}"
        return None
