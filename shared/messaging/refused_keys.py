"""Keeps the runs of refused keys of a broker in Redis, raises their alerts, and says when an account is to be disabled.

All processes of a broker share what they see: the workers of followers and the process of the master. The rule is in
`shared/domain/accounts/refused_key.py`.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final, NamedTuple, TypeVar

import structlog
from pydantic import BaseModel, ValidationError
from redis.asyncio import Redis

from shared.domain.accounts.refused_key import DISABLED_AFTER, RETRY_AFTER, Acceptance, RefusedKey
from shared.messaging.alerts import AlertKind, Alerts
from shared.messaging.keys import BrokerKeys

WITNESS_EVERY_SECONDS: Final = 5.0
"""A process notes an accepted request this often. The rule needs witnesses of minutes, not of each request."""
ALERT_LASTS: Final = timedelta(minutes=3)
"""Longer than two tries of a key, so that the alert stays while a key is refused."""

log = structlog.get_logger()


def utc_now() -> datetime:
    return datetime.now(UTC)


_Record = TypeVar("_Record", bound=BaseModel)


def _parsed(record: type[_Record], stored: bytes | str | None) -> _Record | None:
    """The stored record; None if there is none, or one of another version. Only the count of refusals is lost then."""
    try:
        return None if stored is None else record.model_validate_json(stored)
    except ValidationError as error:
        log.warning("a record of refused keys cannot be read", error=str(error))
        return None


class Refusal(NamedTuple):
    """What one more refusal means."""

    run: RefusedKey
    is_to_be_disabled: bool


class RefusedKeys:
    """One broker's refused keys, as seen from one egress address. All methods raise RedisError."""

    def __init__(
        self, redis: Redis, keys: BrokerKeys, address: str = "direct", now: Callable[[], datetime] = utc_now
    ) -> None:
        """`address`: the name of the egress address, without a password."""
        self._redis = redis
        self._keys = keys
        self._address = address
        self.now = now
        self._alerts = Alerts(redis, keys)
        self._noted_seconds: dict[bool, float] = {}

    async def of(self, account: str, key_hash: str) -> RefusedKey | None:
        """The run of refusals of this key. None: it was accepted last, or never used."""
        stored = await self._redis.hget(self._keys.refused_keys, account)
        run = _parsed(RefusedKey, stored)
        if run is None and stored is not None:
            await self._redis.hdel(self._keys.refused_keys, account)
        # Another key of the account starts without the refusals of the old one.
        return run if run is not None and run.key_hash == key_hash else None

    async def accepted(self, account: str, run: RefusedKey | None, *, trading: bool) -> None:
        """Note that the broker accepted a request of the account. `run`: the refusals before it, as `of` returned them.

        `trading`: the request was an order, and not a reading.
        """
        await self._note_witness(account, trading=trading)
        if run is None:
            return
        after = run.accepted(trading=trading)
        if after == run:
            return
        if after is not None:
            await self._redis.hset(self._keys.refused_keys, account, after.model_dump_json())
            return
        await self._redis.hdel(self._keys.refused_keys, account)
        await self._alerts.clear(AlertKind.KEY_REFUSED, account)
        if not await self._redis.hlen(self._keys.refused_keys):
            await self._alerts.clear(AlertKind.KEY_REFUSED, self._address)
        log.info("key accepted again", account=account, refusals=run.refusals)

    async def refused(self, account: str, key_hash: str, message: str, *, trading: bool) -> Refusal:
        """Note a refusal, raise its alert, and return whether the account is to be disabled now."""
        now = self.now()
        before = await self.of(account, key_hash)
        # A key that is really bad is tried again every minute while something is to be done. Older refusals are over.
        run = (
            RefusedKey.first(account, key_hash, now, message, trading=trading)
            if before is None or now - before.last_at > DISABLED_AFTER
            else before.again(now, message, trading=trading)
        )
        has_witness = run.has_witness(await self._witness(trading=False), await self._witness(trading=True))
        is_bad = has_witness and run.is_long
        # After a disabling, a new run begins: an account that an operator resumes gets the whole time again.
        kept = RefusedKey.first(account, key_hash, now, message, trading=trading) if is_bad else run
        await self._redis.hset(self._keys.refused_keys, account, kept.model_dump_json())
        await self._alert(run, has_witness=has_witness)
        return Refusal(kept, is_bad)

    async def _alert(self, run: RefusedKey, *, has_witness: bool) -> None:
        """Raise one alert for the address, or one for the account if the key itself is at fault."""
        until = self.now() + ALERT_LASTS
        wait = f"Opens are skipped, exits wait, and the key is tried again every {int(RETRY_AFTER.total_seconds())} s"
        if has_witness:
            what = f"the broker refuses this key, and accepts other accounts: {run.message}. {wait}. Replace the key"
            await self._alerts.sound(AlertKind.KEY_REFUSED, run.account, what, run.since, until)
            if await self._redis.hlen(self._keys.refused_keys) == 1:
                await self._alerts.clear(AlertKind.KEY_REFUSED, self._address)
        elif not await self._alerts.renew(AlertKind.KEY_REFUSED, self._address, until):
            what = (
                f"the broker refuses keys from the address {self._address!r}, first that of {run.account}, and accepts no "
                f"other account: {run.message}. {wait}. No account is disabled. Compare the address of this host with "
                "the address lists of the keys"
            )
            await self._alerts.sound(AlertKind.KEY_REFUSED, self._address, what, run.since, until)

    async def _note_witness(self, account: str, *, trading: bool) -> None:
        if monotonic() - self._noted_seconds.get(trading, -WITNESS_EVERY_SECONDS) < WITNESS_EVERY_SECONDS:
            return
        self._noted_seconds[trading] = monotonic()
        noted = Acceptance(account=account, at=self.now())
        await self._redis.hset(self._keys.accepted_keys, self._field(trading=trading), noted.model_dump_json())

    async def _witness(self, *, trading: bool) -> Acceptance | None:
        stored = await self._redis.hget(self._keys.accepted_keys, self._field(trading=trading))
        return _parsed(Acceptance, stored)

    def _field(self, *, trading: bool) -> str:
        return f"{self._address}|{'order' if trading else 'reading'}"
