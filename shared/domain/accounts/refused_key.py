"""Decides what refusals of a key mean: whether the key is bad, or the address and the broker are. Pure.

A broker refuses a good key too, when the address of nija has changed or when the broker is in trouble. Then it refuses
all accounts of that address. So only a key that is refused while another account of the same address is accepted is a
bad key.
"""

from datetime import datetime, timedelta
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import Instant

RETRY_AFTER: Final = timedelta(seconds=60)
"""A refused key is tried again after this time."""
DISABLED_AFTER: Final = timedelta(minutes=10)
"""An account is disabled only if its key was refused for so long."""
DISABLED_AFTER_REFUSALS: Final = 3
WITNESS_AFTER: Final = timedelta(seconds=60)
"""An acceptance counts only so long after the first refusal.

When the address changes, requests that were sent just before the change are still accepted.
"""


class Acceptance(BaseModel):
    """The last request of an account at one address that the broker accepted."""

    model_config = ConfigDict(frozen=True)

    account: str
    at: Instant


class RefusedKey(BaseModel):
    """One run of refusals of a key, without an acceptance between them."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    account: str
    key_hash: str
    since: Instant
    last_at: Instant
    refusals: int = 1
    message: str
    """The broker's words at the last refusal."""
    reading: bool
    """A reading request was refused. False: only trading is refused, and readings are accepted."""
    trading: bool
    """A trading request was refused. Only an accepted order ends the run then."""

    @classmethod
    def first(cls, account: str, key_hash: str, now: datetime, message: str, *, trading: bool) -> Self:
        """The run that begins with this refusal."""
        return cls(
            account=account,
            key_hash=key_hash,
            since=now,
            last_at=now,
            message=message,
            reading=not trading,
            trading=trading,
        )

    def again(self, now: datetime, message: str, *, trading: bool) -> "RefusedKey":
        """The run with one more refusal."""
        return self.model_copy(
            update={
                "last_at": now,
                "refusals": self.refusals + 1,
                "message": message,
                "reading": self.reading or not trading,
                "trading": self.trading or trading,
            }
        )

    def accepted(self, *, trading: bool) -> "RefusedKey | None":
        """The run after an acceptance. None: it is over.

        A key may be allowed to read and not to trade. So an accepted reading does not end a run in which an order was
        refused.
        """
        if trading or not self.trading:
            return None
        return self.model_copy(update={"reading": False})

    def waits(self, now: datetime) -> timedelta:
        """The time until the key is tried again. Zero or less: it may be tried now."""
        return self.last_at + RETRY_AFTER - now

    def has_witness(self, reading: Acceptance | None, trading: Acceptance | None) -> bool:
        """Whether another account of the address was accepted meanwhile, so that the key itself is at fault.

        `reading`, `trading`: the last acceptances at the address, by what was asked. If only trading is refused, only
        an accepted order is a witness.
        """
        witnesses = (reading, trading) if self.reading else (trading,)
        return any(
            each is not None and each.account != self.account and self.since + WITNESS_AFTER <= each.at <= self.last_at
            for each in witnesses
        )

    @property
    def is_long(self) -> bool:
        """Whether the refusals are enough to disable an account, if there is a witness."""
        return self.refusals >= DISABLED_AFTER_REFUSALS and self.last_at - self.since >= DISABLED_AFTER
