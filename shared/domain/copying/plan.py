"""Turns a master fill, a follower, its account and an instrument into an order or a reason to skip.

Pure. Opens are sized here. An exit is planned as a fraction; `exit_quantity` computes its quantity when it reaches the
head of the follower's mailbox.
"""

from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Context, Decimal
from typing import NamedTuple

from shared.domain.accounts.balance import READINGS_UNTIL_UNAVAILABLE
from shared.domain.accounts.snapshot import AccountSnapshot
from shared.domain.amounts import ONE, ZERO
from shared.domain.cash import is_cash_conversion, may_close
from shared.domain.copying.copy_order import CopiedPosition
from shared.domain.copying.follower import Follower, FollowerStatus
from shared.domain.copying.free_cash import is_worth_opening
from shared.domain.copying.master_fill import MasterFill
from shared.domain.copying.planned import LookOnly, Plan, PlannedExit, PlannedOpen, Skip
from shared.domain.copying.reasons import SkipReason, skip_reason_of
from shared.domain.instrument import Instrument
from shared.domain.stop import StopMode

CLOCKS_DIFFER = timedelta(seconds=5)

# Rounded down, so that a follower never opens more than its scaled share, not even by a rounding.
_DOWN = Context(prec=28, rounding=ROUND_DOWN)
_EXACT = Context(prec=100, rounding=ROUND_DOWN)
_SHOWN = Context(prec=12, rounding=ROUND_DOWN)


def unplannable(fill: MasterFill, carried: Decimal) -> Plan:
    """The plan for a follower for which `plan` raised an error.

    It concerns one follower, and stops no other. An exit is planned without what is carried, because it needs no other
    input than its fraction.
    """
    if may_close(fill.symbol, fill.side) and fill.fraction_closed > 0:
        return PlannedExit(fill.fraction_closed, ZERO)
    return Skip(SkipReason.CANNOT_BE_PLANNED, carried)


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
    stop: StopMode | None = None,
) -> Plan:
    """Decide what `follower` does for `fill`. `instrument` is a skip reason when there is no instrument.

    `stop` is the mode that applies to the follower. It skips opens only: a halt lets exits wait in the mailbox.

    `carried` is what earlier opens of the fill's asset still owe. An exit scales it down by the closed fraction, because
    that part of the owed position would have been closed too. A purchase that is paid with a coin is an exit of that coin.

    A replayed open may have been planned, and its order sent, before Redis lost data. So it is not skipped for a reason
    that may be newer than the order. For a follower that was disabled since then, the same applies to exits.
    """
    if follower.status is FollowerStatus.DISABLED or follower.status is FollowerStatus.REMOVED:
        if fill.replayed and _was_disabled_after(follower, fill):
            before = follower.model_copy(update={"status": FollowerStatus.ACTIVE})
            ordered = plan(
                fill, before, account, instrument, carried, now=now, snapshot_max_age=snapshot_max_age, stop=stop
            )
            if not isinstance(ordered, Skip):
                return LookOnly(carried)
        return Skip(SkipReason.DISABLED, carried)
    if is_cash_conversion(fill.symbol):
        return Skip(SkipReason.CASH_CONVERSION, carried)
    if may_close(fill.symbol, fill.side):
        if fill.fraction_closed == 0:
            return Skip(SkipReason.NO_POSITION, carried)
        return PlannedExit(fill.fraction_closed, _DOWN.multiply(carried, ONE - fill.fraction_closed))
    if instrument is SkipReason.UNSUPPORTED_SYMBOL:
        return Skip(instrument, carried)
    planned: PlannedOpen | Skip
    if stop is not None:
        planned = Skip(skip_reason_of(stop), carried)
    elif isinstance(instrument, SkipReason):
        planned = Skip(instrument, carried)
    else:
        planned = _plan_open(fill, follower, account, instrument, carried, now, snapshot_max_age)
    if fill.replayed and isinstance(planned, Skip):
        return LookOnly(planned.carried_after)
    return planned


def _was_disabled_after(follower: Follower, fill: MasterFill) -> bool:
    """Whether the follower may have had an order of the fill before it was disabled."""
    return follower.status_changed_at is not None and follower.status_changed_at >= fill.executed_at - CLOCKS_DIFFER


def _plan_open(
    fill: MasterFill,
    follower: Follower,
    account: AccountSnapshot | None,
    instrument: Instrument,
    carried: Decimal,
    now: datetime,
    snapshot_max_age: timedelta,
) -> PlannedOpen | Skip:
    if follower.policy_error is not None:
        return Skip(SkipReason.POLICY_UNREADABLE, carried)
    if follower.status is FollowerStatus.PAUSED:
        return Skip(SkipReason.PAUSED, carried)
    if account is None:
        return Skip(SkipReason.ACCOUNT_UNKNOWN, carried)
    if account.failed_reads >= READINGS_UNTIL_UNAVAILABLE:
        return Skip(SkipReason.ACCOUNT_UNAVAILABLE, carried)
    if now - account.taken_at > snapshot_max_age:
        return Skip(SkipReason.ACCOUNT_STALE, carried)
    if fill.master_equity_before is None or fill.quote_price is None:
        return Skip(SkipReason.MASTER_EQUITY_UNKNOWN, carried)
    if account.equity <= 0 or fill.master_equity_before <= 0:
        return Skip(SkipReason.NO_EQUITY, carried)
    owed = _DOWN.add(carried, scaled_quantity(fill, account.equity, fill.master_equity_before, fill.quote_price))
    quantity = instrument.rounded(owed)
    if not is_worth_opening(instrument, quantity, fill.price, policy_minimum(fill, follower)):
        return Skip(SkipReason.BELOW_MINIMUM, owed)
    return PlannedOpen(quantity, _DOWN.subtract(owed, quantity))


def scaled_quantity(fill: MasterFill, equity: Decimal, master_equity: Decimal, quote_price: Decimal) -> Decimal:
    """The part of the fill that belongs to a follower with `equity`, before rounding to lots.

    A spot purchase costs at most the equity of its master. A smaller `master_equity` is wrong, and the cost replaces it.
    So no fill lets a follower buy for more than its own equity.
    """
    sizing = _sizing_equity(master_equity, fill.quantity, fill.price, quote_price)
    return _DOWN.divide(_EXACT.multiply(fill.quantity, equity), sizing)


def scale_factor(
    equity: Decimal, master_equity: Decimal, master_quantity: Decimal, price: Decimal, quote_price: Decimal
) -> Decimal | None:
    """What `scaled_quantity` multiplies the master's quantity with, to 12 digits. None: an account has no equity."""
    if equity <= 0 or master_equity <= 0:
        return None
    return _SHOWN.divide(equity, _sizing_equity(master_equity, master_quantity, price, quote_price))


def _sizing_equity(master_equity: Decimal, quantity: Decimal, price: Decimal, quote_price: Decimal) -> Decimal:
    return max(master_equity, _EXACT.multiply(_EXACT.multiply(quantity, price), quote_price))


def policy_minimum(fill: MasterFill, follower: Follower) -> Decimal:
    """The policy's minimum for an open, converted from US dollars into the quote currency of the fill."""
    return follower.policy.minimum_notional / fill.quote_price if fill.quote_price else ZERO


def exit_due(fraction: Decimal, position: CopiedPosition) -> Decimal:
    """Return how much of a copied position an exit should sell, with what earlier exits carried.

    The fraction applies to what earlier exits left (`quantity − carried_exit`). A full close means the whole position.
    """
    if fraction == 1:
        return position.quantity
    return position.carried_exit + fraction * (position.quantity - position.carried_exit)


def exit_quantity(
    fraction: Decimal,
    position: CopiedPosition,
    instrument: Instrument,
    price: Decimal,
) -> ExitPlan:
    """Return the quantity of a copied position that an exit sells, and the quantity carried to the next exit.

    A partial exit never leaves a rest that the broker would refuse to sell later: that much is kept and carried.
    """
    if position.quantity == 0:
        return ExitPlan(ZERO, ZERO, SkipReason.NO_POSITION)
    due = exit_due(fraction, position)
    quantity = instrument.rounded(due)
    left = position.quantity - quantity
    if fraction != 1 and left > 0 and not instrument.is_orderable(left, price):
        quantity = instrument.rounded(position.quantity - _smallest_orderable(instrument, price))
    if not instrument.is_orderable(quantity, price):
        return ExitPlan(ZERO, due, SkipReason.BELOW_MINIMUM)
    return ExitPlan(quantity, due - quantity, None)


def _smallest_orderable(instrument: Instrument, price: Decimal) -> Decimal:
    by_cost = instrument.minimum_cost / price
    # The cost limit gets a tenth more, because the price may fall before the rest is sold.
    smallest = max(instrument.minimum_quantity, by_cost * Decimal("1.1"), instrument.lot)
    lots = instrument.rounded(smallest)
    return lots if lots == smallest else lots + instrument.lot
