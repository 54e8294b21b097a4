"""Decides the quantity of the order at the head of a mailbox, from what the follower has now. Pure.

The engine planned an open by equity and an exit as a fraction. Only here is it known what cash is free and what position
is left. Quantities are in base currency.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from shared.domain.accounts.equity import Balance
from shared.domain.amounts import ONE, ZERO, plain
from shared.domain.copying.copy_order import CopiedPosition, CopyOrder
from shared.domain.copying.free_cash import affordable, cut_open, is_worth_opening
from shared.domain.copying.open_limits import OpenLimits
from shared.domain.copying.plan import exit_due, exit_quantity
from shared.domain.copying.planned import LookOnly, PlannedExit, PlannedOpen
from shared.domain.copying.reasons import SkipReason
from shared.domain.fill import Side
from shared.domain.instrument import Instrument


class Purse(NamedTuple):
    """What a follower can pay with."""

    cash_fee: Decimal
    """The usual fee that cash pays on top of the cost, as a fraction of the cost."""
    free_quote: Decimal | None = None
    """The free quote currency as far as nija knows it; None if the account was never read."""


class Sendable(NamedTuple):
    """The quantity to send."""

    quantity: Decimal
    exit_due: Decimal = ZERO
    """The quantity of its asset that an exit is to sell or spend, including what was carried; 0 for an open."""


class Unsendable(NamedTuple):
    """Why nothing is sent."""

    reason: SkipReason
    carried_exit: Decimal
    """The exit that is carried then."""
    message: str = ""
    exit_due: Decimal = ZERO
    """The quantity that an exit should sell, as above."""


OrderSize = Sendable | Unsendable


def order_size(
    order: CopyOrder, position: CopiedPosition, instrument: Instrument, purse: Purse, limits: OpenLimits
) -> OrderSize:
    """Return the size of an open that the free cash pays for, or of an exit that the position allows.

    `position` is the copied position in the order's asset. For a purchase that is paid with a coin, this is the coin.
    """
    try:
        match order.plan:
            case LookOnly():
                return Unsendable(SkipReason.NOT_REPEATED, position.carried_exit)
            case PlannedOpen(quantity):
                return _open_size(order, quantity, position, instrument, purse, limits)
            case PlannedExit(fraction) if order.side is Side.BUY:
                return _spending_size(order, exit_due(fraction, position), instrument, purse, limits)
            case PlannedExit(fraction):
                planned = exit_quantity(fraction, position, instrument, order.reference_price)
    except ArithmeticError as error:
        return Unsendable(SkipReason.CANNOT_BE_PLANNED, position.carried_exit, f"{type(error).__name__}: {error}")
    due = planned.quantity + planned.carried_exit_after
    if planned.skip_reason is not None:
        return Unsendable(planned.skip_reason, planned.carried_exit_after, exit_due=due)
    return Sendable(planned.quantity, due)


def _open_size(
    order: CopyOrder,
    wanted: Decimal,
    position: CopiedPosition,
    instrument: Instrument,
    purse: Purse,
    limits: OpenLimits,
) -> OrderSize:
    # The engine's list of instruments may be older than this one, and name a finer lot.
    wanted = instrument.rounded(wanted)
    limit_price = limits.highest_price(instrument, order.reference_price)
    if not limit_price:
        why = f"the price limit is below one tick ({plain(instrument.price_tick)} {instrument.quote})"
        return Unsendable(SkipReason.PRICE_LIMIT, position.carried_exit, why)
    quantity = cut_open(wanted, instrument, purse.free_quote, limit_price, purse.cash_fee)
    if quantity < wanted and not is_worth_opening(instrument, quantity, order.reference_price, order.policy_minimum):
        free = f"{plain(purse.free_quote or ZERO)} {instrument.quote} is free"
        why = f"{free}, which pays for {plain(quantity)} of {plain(wanted)} {instrument.base}"
        return Unsendable(SkipReason.NO_QUOTE_CASH, position.carried_exit, why)
    return Sendable(quantity)


def _spending_size(
    order: CopyOrder, due: Decimal, instrument: Instrument, purse: Purse, limits: OpenLimits
) -> OrderSize:
    """Return how much `due` of the copied coin buys at the price limit, so that no coin of the follower's own is spent."""
    if not due:
        return Unsendable(SkipReason.NO_POSITION, ZERO)
    limit_price = limits.highest_price(instrument, order.reference_price)
    if not limit_price:
        why = f"the price limit is below one tick ({plain(instrument.price_tick)} {instrument.quote})"
        return Unsendable(SkipReason.PRICE_LIMIT, due, why, exit_due=due)
    most = affordable(instrument, due, limit_price, purse.cash_fee)
    quantity = cut_open(most, instrument, purse.free_quote, limit_price, purse.cash_fee)
    if not instrument.is_orderable(quantity, order.reference_price):
        why = f"{plain(due)} {instrument.quote} of the copied position pays for {plain(quantity)} {instrument.base}"
        return Unsendable(SkipReason.BELOW_MINIMUM, due, why, exit_due=due)
    return Sendable(quantity, due)


def smaller_size(
    order: CopyOrder,
    refused: Decimal,
    instrument: Instrument,
    balances: Mapping[str, Balance],
    cash_fee: Decimal,
    limits: OpenLimits,
) -> Decimal | None:
    """The quantity to try after the broker refused `refused` for lack of funds; None if a smaller one cannot be sent."""
    price = order.reference_price
    if order.side is Side.BUY:
        held = balances.get(instrument.quote)
        # The broker refused although the cash seemed to be enough. It counts more than nija knows, such as a higher fee.
        below = instrument.rounded(refused * (ONE - limits.margin_of(instrument)))
        limit_price = limits.highest_price(instrument, price)
        smaller = cut_open(below, instrument, held.free if held else ZERO, limit_price, cash_fee)
        return smaller if is_worth_opening(instrument, smaller, price, order.policy_minimum) else None
    held = balances.get(instrument.base)
    smaller = instrument.rounded(held.free) if held else ZERO
    return smaller if smaller < refused and instrument.is_orderable(smaller, price) else None
