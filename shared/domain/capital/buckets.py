"""Assigns every asset to a bucket of the account, and compares the buckets with their targets.

CORE 50 %, GROWTH 30 %, OPPORTUNITY 15 %, RESERVE 5 % (free cash). A target caps the new entries of its bucket. What
is proposed to restore the targets is never traded automatically.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ZERO
from shared.domain.capital.arithmetic import HUNDRED, cut_cents, fixed_precision, percent_of, total
from shared.domain.capital.facts import AccountFacts, HeldPosition
from shared.domain.fill import Side


class BucketName(StrEnum):
    """The parts into which an account is divided."""

    CORE = "CORE"
    GROWTH = "GROWTH"
    OPPORTUNITY = "OPPORTUNITY"
    RESERVE = "RESERVE"


class LeverageBand(NamedTuple):
    """A range of leverage, both ends included."""

    lowest: int
    highest: int


CORE_ASSETS: Final = ("BTC", "ETH")
GROWTH_ASSETS: Final = ("BNB", "SOL", "XRP", "ADA", "LINK", "AVAX", "DOT", "LTC", "DOGE", "BCH")
TARGETS: Final = {
    BucketName.CORE: Decimal(50),
    BucketName.GROWTH: Decimal(30),
    BucketName.OPPORTUNITY: Decimal(15),
    BucketName.RESERVE: Decimal(5),
}
REPORTED_LEVERAGE: Final = {
    BucketName.CORE: LeverageBand(3, 5),
    BucketName.GROWTH: LeverageBand(5, 10),
    BucketName.OPPORTUNITY: LeverageBand(3, 8),
}
"""Reported only. The limits come from the account's class."""
OFF_PCT: Final = Decimal(20)
"""A bucket further from its target, relative to the target, is off."""
_FIRST_ASSET = {BucketName.CORE: CORE_ASSETS[0], BucketName.GROWTH: GROWTH_ASSETS[0]}


class BucketStatus(BaseModel):
    """One bucket against its target."""

    model_config = ConfigDict(frozen=True)

    bucket: BucketName
    target_pct: Decimal
    target_value: Decimal
    current_pct: Decimal
    current_value: Decimal
    off_pct: Decimal
    """How far the value is from the target, in percent of the target; below zero when it is too small."""
    is_off: bool
    leverage: LeverageBand | None


class ProposedOrder(BaseModel):
    """An order that would move a bucket to its target. nija does not send it."""

    model_config = ConfigDict(frozen=True)

    bucket: BucketName
    asset: str
    side: Side
    value: Decimal
    """US dollars."""


class Allocation(BaseModel):
    """All buckets, and what is proposed when a comparison is due."""

    model_config = ConfigDict(frozen=True)

    buckets: tuple[BucketStatus, ...]
    every: timedelta
    """A day while a bucket is off, else a week."""
    is_due: bool
    orders: tuple[ProposedOrder, ...]


def bucket_of(asset: str) -> BucketName:
    """Return the bucket of a coin or share. What no list names is OPPORTUNITY."""
    if asset in CORE_ASSETS:
        return BucketName.CORE
    return BucketName.GROWTH if asset in GROWTH_ASSETS else BucketName.OPPORTUNITY


@fixed_precision
def value_of(account: AccountFacts, bucket: BucketName) -> Decimal:
    """Return what the account has in a bucket. RESERVE is the free cash."""
    if bucket is BucketName.RESERVE:
        return max(ZERO, account.free_cash)
    return total(each.value for each in account.positions if bucket_of(each.instrument.base) is bucket)


@fixed_precision
def target_value(account: AccountFacts, bucket: BucketName) -> Decimal:
    """Return what a bucket should hold; 0 for an account without equity."""
    return max(ZERO, account.equity) * TARGETS[bucket] / HUNDRED


@fixed_precision
def room_for_entry(account: AccountFacts, asset: str) -> Decimal:
    """Return the largest new entry that keeps the bucket of this asset at its target or below."""
    bucket = bucket_of(asset)
    return max(ZERO, target_value(account, bucket) - value_of(account, bucket))


@fixed_precision
def room_above_reserve(account: AccountFacts, leverage: Decimal) -> Decimal:
    """Return the largest new entry that leaves the RESERVE free.

    An entry binds size / leverage of the free cash, or of the free margin on a margin account. Without leverage it is
    paid in full, so it needs free cash on a margin account too.
    """
    margin = account.margin
    free = account.free_cash if margin is None else margin.wallet - margin.used
    if margin is not None and margin.most_leverage <= 1:
        free = min(free, account.free_cash)
    return max(ZERO, free - target_value(account, BucketName.RESERVE)) * leverage


@fixed_precision
def allocation(account: AccountFacts, last_proposed_at: datetime | None, now: datetime) -> Allocation:
    """Compare the buckets with their targets, and propose orders when the last proposal is old enough.

    `last_proposed_at`: when orders were proposed last; None: never, so a proposal is due.
    """
    statuses = tuple(_status(account, bucket) for bucket in BucketName)
    every = timedelta(days=1) if any(each.is_off for each in statuses) else timedelta(weeks=1)
    is_due = last_proposed_at is None or now - last_proposed_at >= every
    orders = [order for status in statuses for order in _orders(account, status)] if is_due else []
    return Allocation(buckets=statuses, every=every, is_due=is_due, orders=tuple(orders))


def _status(account: AccountFacts, bucket: BucketName) -> BucketStatus:
    target, current = target_value(account, bucket), value_of(account, bucket)
    off = (current - target) / target * HUNDRED if target > 0 else percent_of(current, target)
    return BucketStatus(
        bucket=bucket,
        target_pct=TARGETS[bucket],
        target_value=cut_cents(target),
        current_pct=percent_of(current, account.equity),
        current_value=cut_cents(current),
        off_pct=off,
        is_off=abs(off) > OFF_PCT,
        leverage=REPORTED_LEVERAGE.get(bucket),
    )


def _orders(account: AccountFacts, status: BucketStatus) -> list[ProposedOrder]:
    """Sell from all positions of a bucket that is too large, in proportion; buy the main asset of one too small."""
    missing = status.target_value - status.current_value
    if status.bucket is BucketName.RESERVE or missing == 0:
        return []
    held = [each for each in account.positions if bucket_of(each.instrument.base) is status.bucket and each.value > 0]
    if missing > 0:
        asset = _main_asset(status.bucket, held)
        return [] if asset is None else [_proposal(status.bucket, asset, Side.BUY, missing)]
    whole = total(each.value for each in held)
    proposals = [
        _proposal(status.bucket, each.instrument.base, each.closing_side, -missing * each.value / whole)
        for each in held
    ]
    return [each for each in proposals if each.value > 0]


def _main_asset(bucket: BucketName, held: Sequence[HeldPosition]) -> str | None:
    """Return the largest holding, else the first asset of the list; OPPORTUNITY has no list."""
    if held:
        return max(held, key=lambda each: each.value).instrument.base
    return _FIRST_ASSET.get(bucket)


def _proposal(bucket: BucketName, asset: str, side: Side, value: Decimal) -> ProposedOrder:
    return ProposedOrder(bucket=bucket, asset=asset, side=side, value=cut_cents(value))
