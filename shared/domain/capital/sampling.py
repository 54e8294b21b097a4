"""Decides what one sample of an account stores: the snapshot, the next drawdown record, and what has changed.

The caller reads the account, the stored record and the fills, and stores the result in one transaction.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ZERO, Amount, Instant
from shared.domain.capital.arithmetic import cut_cents
from shared.domain.capital.buckets import allocation
from shared.domain.capital.drawdown import DrawdownRecord, first_record, next_record
from shared.domain.capital.facts import AccountFacts
from shared.domain.capital.history import SNAPSHOT_EVERY, CapitalSnapshot, snapshot_of
from shared.domain.capital.holdings import AccountHoldings
from shared.domain.capital.margin import MarginActionState
from shared.domain.capital.transfers import transferred
from shared.domain.fill import AccountFill

EARLY: Final = timedelta(seconds=5)
"""A sample may come so much before its time, because processes do not wake up exactly."""
READING_MAX_AGE: Final = timedelta(minutes=5)
"""An older reading shows that the account is not watched at the moment. It is not sampled."""


class CapitalRecord(BaseModel):
    """What must survive a restart, for one broker account."""

    model_config = ConfigDict(frozen=True)

    watched_since: Instant
    """Since when this account is watched under its name."""
    drawdown: DrawdownRecord
    margin_action: MarginActionState = MarginActionState()
    holdings: dict[str, Amount]
    """Quantity per currency at `read_at`."""
    read_at: Instant
    sampled_at: Instant
    proposed_at: Instant | None = None
    """When orders that restore the buckets were reported last."""

    def is_due(self, now: datetime) -> bool:
        """Whether the next sample may be stored."""
        return now - self.sampled_at >= SNAPSHOT_EVERY - EARLY


class ChangeKind(StrEnum):
    """What a sample can report."""

    ZONE = "margin zone"
    STATUS = "capital status"
    DRAWDOWN = "drawdown state"
    BREAKER = "circuit breaker"
    TRANSFER = "transfer"
    BUCKETS = "buckets"


class CapitalChange(BaseModel):
    """One thing that is different from the sample before."""

    model_config = ConfigDict(frozen=True)

    kind: ChangeKind
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class ValuedAccount:
    """An account at one moment, with all that a sample needs of it."""

    account: AccountFacts
    holdings: AccountHoldings
    price_of: Callable[[str], Decimal | None]
    """US dollars per unit of an asset."""

    def is_old(self, now: datetime) -> bool:
        return now - self.holdings.read_at > READING_MAX_AGE


@dataclass(frozen=True, slots=True)
class Sample:
    """What is stored, and what has changed."""

    record: CapitalRecord
    snapshot: CapitalSnapshot
    changes: tuple[CapitalChange, ...]


def next_sample(
    record: CapitalRecord | None,
    last: CapitalSnapshot | None,
    reading: ValuedAccount,
    fills: Sequence[AccountFill],
    watched_since: datetime,
    now: datetime,
) -> Sample:
    """Return the next sample of an account.

    `record`, `last`: of the sample before; None for the first one. `fills`: those that were executed between the two
    readings. A record of another account that had the same name counts for nothing.
    """
    if record is not None and record.watched_since != watched_since:
        record = last = None
    account, holdings = reading.account, reading.holdings
    snapshot = snapshot_of(account).model_copy(update={"at": now})
    is_new_reading = record is not None and holdings.read_at > record.read_at
    moved = transferred(record.holdings, holdings.total, fills, reading.price_of) if record and is_new_reading else ZERO
    if record is None:
        drawdown = first_record(account.equity)
    else:
        drawdown = next_record(record.drawdown, account.equity, moved, now)
    proposal = allocation(account, None if record is None else record.proposed_at, now)
    keeps_reading = record is not None and not is_new_reading
    after = CapitalRecord(
        watched_since=watched_since,
        drawdown=drawdown,
        margin_action=MarginActionState() if record is None else record.margin_action,
        holdings=record.holdings if record and keeps_reading else holdings.total,
        read_at=record.read_at if record and keeps_reading else holdings.read_at,
        sampled_at=now,
        proposed_at=now if proposal.is_due else (None if record is None else record.proposed_at),
    )
    changes = _changes(record, last, after, snapshot, now)
    if moved:
        changes.append(CapitalChange(kind=ChangeKind.TRANSFER, before="", after=f"{cut_cents(moved):f} USD"))
    if proposal.is_due and proposal.orders:
        text = ", ".join(f"{each.side.value} {each.value:f} USD of {each.asset}" for each in proposal.orders)
        changes.append(CapitalChange(kind=ChangeKind.BUCKETS, before="", after=text))
    return Sample(record=after, snapshot=snapshot, changes=tuple(changes))


def _changes(
    record: CapitalRecord | None,
    last: CapitalSnapshot | None,
    after: CapitalRecord,
    snapshot: CapitalSnapshot,
    now: datetime,
) -> list[CapitalChange]:
    if record is None or last is None:
        return []
    pairs = [
        (ChangeKind.ZONE, last.zone.value, snapshot.zone.value),
        (ChangeKind.STATUS, last.status.value, snapshot.status.value),
        (ChangeKind.DRAWDOWN, record.drawdown.state.value, after.drawdown.state.value),
        (ChangeKind.BREAKER, _breaker(record.drawdown, last.at), _breaker(after.drawdown, now)),
    ]
    return [CapitalChange(kind=kind, before=before, after=now_is) for kind, before, now_is in pairs if before != now_is]


def _breaker(drawdown: DrawdownRecord, now: datetime) -> str:
    if drawdown.breaker_until is None or not drawdown.is_breaker_open(now):
        return "closed"
    return f"no entries until {drawdown.breaker_until:%Y-%m-%d %H:%M} UTC"
