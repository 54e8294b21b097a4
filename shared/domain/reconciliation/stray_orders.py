"""Finds stray orders: orders of nija that are open at the broker although nija has ended or forgotten them. Pure.

A follower may have open orders of its own. They are shown and never touched.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ZERO, Instant, plain
from shared.domain.identity import FollowerId
from shared.domain.reconciliation.drift import Cause, Drift, Target, copied_quantities, covered
from shared.domain.reconciliation.readings import JUST_SETTLED, AccountReading, OpenOrder


class CopyRecord(BaseModel):
    """What the ledger says of a copy order."""

    model_config = ConfigDict(frozen=True)

    copy_order_id: str
    follower_id: FollowerId
    sequence: int
    outcome: str
    """copied, skipped, failed or pending."""
    changed_at: Instant
    """When it ended; for a pending one, when it was decided."""


class Ownership(StrEnum):
    """Whose an open order is, and whether nija still needs it."""

    IN_FLIGHT = "in_flight"
    """A copy order that a mailbox waits for, or that was settled a moment ago."""
    STRAY = "stray"
    """A copy order that is final, or that no mailbox waits for."""
    STRATEGY = "strategy"
    """An order of the strategy: the account is a master's too. Its own execution follows it to its end."""
    OWN = "own"
    """The follower placed it itself; it is never touched."""


def ownership_of(
    order: OpenOrder,
    reading: AccountReading,
    copies: Mapping[str, CopyRecord],
    now: datetime,
    strategy_orders: Collection[str] = (),
) -> Ownership:
    """Return whose an open order of the reading is. `copies`: what the ledger knows, by copy order id.

    `strategy_orders`: the client order ids among the open orders that belong to the strategy.
    """
    name = order.client_order_id
    if name in strategy_orders:
        return Ownership.STRATEGY
    if name in {mail.copy_order_id for mail in reading.waiting}:
        return Ownership.IN_FLIGHT
    copy = copies.get(name) if name else None
    # Two followers may share an account; each one's orders are its own business.
    if copy is None or copy.follower_id != reading.follower_id:
        return Ownership.OWN
    # Mail that is not listed may be this order. An order that has just ended may be shown as open for a moment.
    if reading.mail > len(reading.waiting) or now - copy.changed_at < JUST_SETTLED:
        return Ownership.IN_FLIGHT
    return Ownership.STRAY


def stray_orders(
    reading: AccountReading, targets: Iterable[Target], copies: Mapping[str, CopyRecord], now: datetime
) -> list[Drift]:
    """Return the open orders that nija placed and does not need any more. They are not drift in coins."""
    wanted = copied_quantities(reading, targets)
    real = covered(wanted, reading.total)
    found: list[Drift] = []
    for order in reading.open_orders or ():
        if order.client_order_id is None or ownership_of(order, reading, copies, now) is not Ownership.STRAY:
            continue
        copy = copies[order.client_order_id]
        filled = f", {plain(order.filled_quantity)} of it filled" if order.filled_quantity else ""
        found.append(
            Drift(
                follower_id=reading.follower_id,
                asset=order.symbol.base,
                cause=Cause.STRAY_ORDER,
                target=wanted.get(order.symbol.base, ZERO),
                real=real.get(order.symbol.base, ZERO),
                drift=ZERO,
                sequence=copy.sequence,
                detail=f"{order.side} {plain(order.quantity)} {order.symbol}{filled}, order {order.broker_order_id}; "
                f"the copy of fill {copy.sequence} is {copy.outcome}",
                broker_order_id=order.broker_order_id,
                copy_order_id=copy.copy_order_id,
            )
        )
    return found
