"""Computes an account's value, and whether it is still known, from its last snapshot and its failed readings.

    total = available + locked;  locked = positions at market + what open orders hold

Money is in US dollars. When a reading fails, the last known balance stays and is marked stale. A failure is never zero.
"""

from datetime import datetime, timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict

from shared.domain.accounts.snapshot import AccountSnapshot
from shared.domain.amounts import Amount, Instant
from shared.domain.identity import Broker

READINGS_UNTIL_UNAVAILABLE: Final = 3
"""Failed readings in a row after which an account opens no more positions, until a reading succeeds."""


class AccountTrouble(BaseModel):
    """A series of failed readings of an account."""

    model_config = ConfigDict(frozen=True)

    failed_reads: int
    error: str
    """The broker's words in the newest failure."""
    since: Instant
    at: Instant
    """The time of the newest failure."""


class BalanceSnapshot(BaseModel):
    """An account's balance as last read."""

    model_config = ConfigDict(frozen=True)

    total_equity_usd: Amount
    available_usd: Amount
    """Free cash; stablecoins count at par."""
    locked_in_positions_usd: Amount
    """Everything else: free coins at market value, and what open orders hold."""
    held_usd: Amount
    """The part of the locked amount that is cash and coins in open orders."""
    unpriced: tuple[str, ...] = ()
    """Held currencies without a price from the broker. They are in none of the sums."""
    taken_at: Instant
    stale: bool
    """A later reading failed, or no reading has succeeded for too long."""


class OpenPosition(BaseModel):
    """A position that copied fills have built up in an asset."""

    model_config = ConfigDict(frozen=True)

    asset: str
    quantity: Amount


class UserBrokerState(BaseModel):
    """One user's account at one broker."""

    model_config = ConfigDict(frozen=True)

    broker: Broker
    user_id: str
    role: str
    """`master` or `follower`."""
    status: str
    """The follower's status, or the state of watching the master."""
    connected: bool
    """Whether the newest reading succeeded."""
    available_for_opens: bool
    balance: BalanceSnapshot | None
    """None when the account was never read."""
    open_positions: tuple[OpenPosition, ...] = ()
    last_updated: Instant | None
    failed_reads: int = 0
    error: str | None = None


def balance_of(account: AccountSnapshot, now: datetime, maximum_age: timedelta) -> BalanceSnapshot:
    """The balance in an account's snapshot. It is stale after a failed reading, or when older than `maximum_age`."""
    return BalanceSnapshot(
        total_equity_usd=account.equity,
        available_usd=account.cash,
        locked_in_positions_usd=account.equity - account.cash,
        held_usd=account.held,
        unpriced=account.unpriced,
        taken_at=account.taken_at,
        stale=account.failed_reads > 0 or now - account.taken_at > maximum_age,
    )
