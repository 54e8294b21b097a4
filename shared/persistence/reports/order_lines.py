"""Defines a line of the list of copy orders, and reads it from a row of the query `ORDERS`."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import Amount, Instant
from shared.domain.copying.plan import scale_factor
from shared.domain.copying.reasons import SkipReason
from shared.domain.fill import Side
from shared.domain.identity import Broker, FollowerId
from shared.domain.symbol import Symbol

_SIZED_BY: Final = ("equity", "master_equity", "master_quantity", "price", "quote_price")
"""The arguments of `scale_factor`, in its order."""
_INPUTS: Final = ("decided_skip", "planned_quantity", *_SIZED_BY)
_SIZED_SKIPS: Final = (None, SkipReason.BELOW_MINIMUM.value)
"""What an open was sized for: an order, or a skip because the size is too small."""


class OrderLine(BaseModel):
    """A copy order with its newest known state, or a decision to skip (state `skipped`, with the reason)."""

    model_config = ConfigDict(frozen=True)

    broker: Broker
    sequence: int
    follower_id: FollowerId
    copy_order_id: str
    symbol: Symbol
    side: str
    state: str
    outcome: str | None
    reason: str | None
    message: str
    attempt: int
    broker_order_id: str | None
    quantity: Amount | None
    scale_factor: Amount | None
    """The equity of the follower divided by that of the master, as it sized this open. None: an exit, or not sized."""
    filled_quantity: Amount
    cost: Amount
    fee: Amount
    fee_currency: str
    decided_at: Instant
    submitted_at: Instant | None
    occurred_at: Instant | None


def order_line(row: Mapping[str, Any]) -> OrderLine:
    """Read a row, and compute the factor that sized its order."""
    return OrderLine(**{name: row[name] for name in row if name not in _INPUTS}, scale_factor=_scale_factor(row))


def _scale_factor(row: Mapping[str, Any]) -> Decimal | None:
    if row["side"] != Side.BUY or row["decided_skip"] not in _SIZED_SKIPS:
        return None
    if row["decided_skip"] is None and not row["planned_quantity"]:
        # An order that was only to be looked up, after a loss of Redis, was not sized again.
        return None
    inputs = [row[name] for name in _SIZED_BY]
    return None if None in inputs else scale_factor(*inputs)
