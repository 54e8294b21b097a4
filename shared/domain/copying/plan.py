"""Turns a master fill, a follower, its account and an instrument into an order or a reason to skip.

Pure. Opens are sized here. An exit is planned as a fraction; `exit_quantity` computes its quantity when it reaches the
head of the follower's mailbox.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from shared.domain.accounts.balance import READINGS_UNTIL_UNAVAILABLE
from shared.domain.accounts.snapshot import AccountSnapshot
from shared.domain.amounts import ONE, ZERO, Amount
from shared.domain.copying.copy_order import CopiedPosition
from shared.domain.copying.follower import Follower, FollowerStatus
from shared.domain.copying.master_fill import MasterFill
from shared.domain.copying.reasons import SkipReason
from shared.domain.fill import Side
from shared.domain.instrument import Instrument

SELLABLE_SHARE = Decimal("0.9")
"""A fee taken in the coin, and a fall of the price, may leave a tenth less to sell."""

CLOCKS_DIFFER = timedelta(seconds=5)


class Plan(NamedTuple):
    """Exactly one of `quantity` (an open), `fraction` (an exit) and `skip_reason` is set.

    `quantity` 0 (also for an exit): send nothing, but look up an order that may have been sent.
    """

    quantity: Decimal | None
    fraction: Decimal | None
    skip_reason: SkipReason | None
    carried_after: Decimal
    """Opens still owed to this follower in this symbol, in base currency."""


class ExitPlan(NamedTuple):
    """The quantity that an exit sells. With `quantity` 0 there is a reason, and the whole exit stays carried."""

    quantity: Decimal
    carried_exit_after: Decimal
    """The part of the position left after a full execution that the next exit still has to sell, in base currency."""
    skip_reason: SkipReason | None


def plan(
    fill: MasterFill,
    follower: Follower,
    account: AccountSnapshot | None,
    instrument: Instrument | SkipReason,
    carried: Decimal,
    *,
    now: datetime,
    snapshot_max_age: timedelta,
) -> Plan:
    """Decide what `follower` does for `fill`. `instrument` is a skip reason when there is no instrument.

    `carried` is what earlier opens still owe (base currency). An exit scales it down by the closed fraction, because
    that part of the owed position would have been closed too.

    A replayed open may have been planned, and its order sent, before Redis lost data. So it is not skipped for a reason
    that may be newer than the order. For a follower that was disabled since then, the same applies to exits.
    """
    if follower.status is FollowerStatus.DISABLED or follower.status is FollowerStatus.REMOVED:
        if fill.replayed and _was_disabled_after(follower, fill):
            before = follower.model_copy(update={"status": FollowerStatus.ACTIVE})
            ordered = plan(fill, before, account, instrument, carried, now=now, snapshot_max_age=snapshot_max_age)
            if ordered.skip_reason is None:
                return _look_for(carried)
        return _skip(SkipReason.DISABLED, carried)
    if fill.side is Side.SELL:
        if fill.fraction_closed == 0:
            return _skip(SkipReason.NO_POSITION, carried)
        return Plan(None, fill.fraction_closed, None, carried * (ONE - fill.fraction_closed))
    if instrument is SkipReason.UNSUPPORTED_SYMBOL:
        return _skip(instrument, carried)
    if isinstance(instrument, SkipReason):
        planned = _skip(instrument, carried)
    else:
        planned = _plan_open(fill, follower, account, instrument, carried, now, snapshot_max_age)
    if fill.replayed and planned.skip_reason is not None:
        return _look_for(planned.carried_after)
    return planned


def _was_disabled_after(follower: Follower, fill: MasterFill) -> bool:
    """Whether the follower may have had an order of the fill before it was disabled."""
    return follower.status_changed_at is not None and follower.status_changed_at >= fill.executed_at - CLOCKS_DIFFER


def _look_for(carried: Decimal) -> Plan:
    return Plan(ZERO, None, None, carried)


def _plan_open(
    fill: MasterFill,
    follower: Follower,
    account: AccountSnapshot | None,
    instrument: Instrument,
    carried: Decimal,
    now: datetime,
    snapshot_max_age: timedelta,
) -> Plan:
    if follower.policy_error is not None:
        return _skip(SkipReason.POLICY_UNREADABLE, carried)
    if follower.status is FollowerStatus.PAUSED:
        return _skip(SkipReason.PAUSED, carried)
    if account is None:
        return _skip(SkipReason.ACCOUNT_UNKNOWN, carried)
    if account.failed_reads >= READINGS_UNTIL_UNAVAILABLE:
        return _skip(SkipReason.ACCOUNT_UNAVAILABLE, carried)
    if now - account.taken_at > snapshot_max_age:
        return _skip(SkipReason.ACCOUNT_STALE, carried)
    if account.equity <= 0 or fill.master_equity_before <= 0:
        return _skip(SkipReason.NO_EQUITY, carried)
    owed = carried + fill.quantity * account.equity / fill.master_equity_before
    quantity = instrument.rounded(owed)
    # What is bought must be large enough to be sold again by itself.
    if not instrument.is_orderable(quantity * SELLABLE_SHARE, fill.price, follower.policy.minimum_notional):
        return _skip(SkipReason.BELOW_MINIMUM, owed)
    return Plan(quantity, None, None, owed - quantity)


def _skip(reason: SkipReason, carried: Decimal) -> Plan:
    return Plan(None, None, reason, carried)


def exit_quantity(
    fraction: Decimal,
    position: CopiedPosition,
    instrument: Instrument,
    price: Decimal,
    minimum_notional: Amount,
) -> ExitPlan:
    """Return the quantity of a copied position that an exit sells, and the quantity carried to the next exit.

    The fraction applies to what earlier exits left (`quantity − carried_exit`). A full close sells the whole position.
    A partial exit never leaves a rest that the broker would refuse to sell later: that much is kept and carried.
    """
    if position.quantity == 0:
        return ExitPlan(ZERO, ZERO, SkipReason.NO_POSITION)
    if fraction == 1:
        due = position.quantity
    else:
        due = position.carried_exit + fraction * (position.quantity - position.carried_exit)
    quantity = instrument.rounded(due)
    left = position.quantity - quantity
    if fraction != 1 and left > 0 and not instrument.is_orderable(left, price, minimum_notional):
        quantity = instrument.rounded(position.quantity - _smallest_orderable(instrument, price, minimum_notional))
    if not instrument.is_orderable(quantity, price, minimum_notional):
        return ExitPlan(ZERO, due, SkipReason.BELOW_MINIMUM)
    return ExitPlan(quantity, due - quantity, None)


def _smallest_orderable(instrument: Instrument, price: Decimal, minimum_notional: Decimal) -> Decimal:
    by_cost = max(instrument.minimum_cost, minimum_notional) / price
    # The cost limit gets a tenth more, because the price may fall before the rest is sold.
    smallest = max(instrument.minimum_quantity, by_cost * Decimal("1.1"), instrument.lot)
    lots = instrument.rounded(smallest)
    return lots if lots == smallest else lots + instrument.lot
