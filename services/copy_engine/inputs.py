"""Reads the inputs of the planner from Redis: accounts, carried opens and instruments."""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from redis.asyncio import Redis

from shared.domain.accounts.snapshot import AccountSnapshot
from shared.domain.copying.reasons import SkipReason
from shared.domain.errors import NijaError, problems_of
from shared.domain.identity import FollowerId
from shared.domain.instrument import Instrument
from shared.domain.symbol import Symbol
from shared.messaging.keys import LAST_POLL_FIELD, BrokerKeys, carry_field


class ListingUnknown(NijaError):
    """The instruments were not listed since Redis was emptied, so a symbol that is missing may still be listed."""


class PlanningInputs:
    """Reads one broker's planning inputs. An account that did not change is parsed only once."""

    def __init__(self, redis: Redis, keys: BrokerKeys) -> None:
        self._redis = redis
        self._keys = keys
        self._parsed: dict[str, tuple[bytes, AccountSnapshot]] = {}
        self.account_errors: dict[FollowerId, str] = {}
        """By follower, why its account cannot be read."""
        self.instrument_errors: dict[Symbol, str] = {}
        """By symbol, why its listing cannot be read."""

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
        self, follower_ids: Sequence[FollowerId], symbol: Symbol
    ) -> tuple[list[AccountSnapshot | None], list[bytes | None]]:
        """Snapshots (None: never read or unreadable) and carried opens (None: nothing carried), in the order of the
        ids.
        """
        if not follower_ids:
            return [], []
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hmget(self._keys.accounts, list(follower_ids))
            pipeline.hmget(self._keys.carries, [carry_field(follower_id, symbol) for follower_id in follower_ids])
            stored, carried = await pipeline.execute()
        return [self._parse(f, raw) for f, raw in zip(follower_ids, stored, strict=True)], carried

    async def read_unreadable_again(self) -> None:
        """Remove errors that are over. Raises RedisError."""
        for symbol in list(self.instrument_errors):
            self._parse_instrument(symbol, await self._redis.hget(self._keys.instruments, symbol))
        if self.account_errors:
            names = list(self.account_errors)
            stored: list[Any] = await self._redis.hmget(self._keys.accounts, names)
            for follower_id, raw in zip(names, stored, strict=True):
                self._parse(follower_id, raw)

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

    def _parse(self, follower_id: FollowerId, raw: bytes | None) -> AccountSnapshot | None:
        if raw is None:
            self.account_errors.pop(follower_id, None)
            return None
        known = self._parsed.get(follower_id)
        if known is not None and known[0] == raw:
            return known[1]
        try:
            account = AccountSnapshot.model_validate_json(raw)
        except ValidationError as error:
            # One unreadable account must not affect the others.
            self.account_errors[follower_id] = f"its account cannot be read: {problems_of(error, 'account')}"
            return None
        self.account_errors.pop(follower_id, None)
        self._parsed[follower_id] = (raw, account)
        return account
