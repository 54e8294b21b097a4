"""What an account is worth and whether that is still known: a snapshot and its failed readings in, a balance out.

    total = available + locked;  locked = positions at market + what open orders hold

Money is US dollars. When a reading fails the last known balance stands, marked stale: a failure is never zero.
"""

from datetime import datetime, timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict

from shared.domain.accounts.snapshot import AccountSnapshot
from shared.domain.amounts import Amount, Instant
from shared.domain.identity import Broker
from shared.domain.symbol import Symbol

READINGS_UNTIL_UNAVAILABLE: Final = 3
"""Failed readings in a row after which an account opens nothing more, until one succeeds."""


class AccountTrouble(BaseModel):
    """Readings of an account that failed, in a row."""

    model_config = ConfigDict(frozen=True)

    failed_reads: int
    error: str
    """The broker's words, of the newest one."""
    since: Instant
    at: Instant
    """Of the newest one."""


class BalanceSnapshot(BaseModel):
    """An account's balance as last read."""

    model_config = ConfigDict(frozen=True)

    total_equity_usd: Amount
    available_usd: Amount
    """Cash that is free (stablecoins at par)."""
    locked_in_positions_usd: Amount
    """Everything else: free coins at market, and what open orders hold."""
    held_usd: Amount
    """Of the locked: cash and coins in open orders."""
    unpriced: tuple[str, ...] = ()
    """Held, but the broker tells no price: not in any of the sums."""
    taken_at: Instant
    stale: bool
    """A later reading failed, or none succeeded for too long."""


class OpenPosition(BaseModel):
    """A position that copied fills built up; quantity in base currency."""

    model_config = ConfigDict(frozen=True)

    symbol: Symbol
    quantity: Amount


class UserBrokerState(BaseModel):
    """One user's account at one broker."""

    model_config = ConfigDict(frozen=True)

    broker: Broker
    user_id: str
    role: str
    """`master` or `follower`."""
    status: str
    """The follower's status, or how watching the master goes."""
    connected: bool
    """The newest reading succeeded."""
    available_for_opens: bool
    balance: BalanceSnapshot | None
    """None: the account was never read."""
    open_positions: tuple[OpenPosition, ...] = ()
    last_update: Instant | None
    failed_reads: int = 0
    error: str | None = None


def balance_of(account: AccountSnapshot, now: datetime, maximum_age: timedelta) -> BalanceSnapshot:
    """The balance that an account's snapshot shows; stale after a failed reading, or when older than that."""
    return BalanceSnapshot(
        total_equity_usd=account.equity,
        available_usd=account.cash,
        locked_in_positions_usd=account.equity - account.cash,
        held_usd=account.held,
        unpriced=account.unpriced,
        taken_at=account.taken_at,
        stale=account.failed_reads > 0 or now - account.taken_at > maximum_age,
    )
