"""Orders of the broker port: what is placed, and what a broker reports about it."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ZERO, Amount
from shared.domain.fill import Side
from shared.domain.identity import BrokerOrderId, CopyOrderId
from shared.domain.symbol import Symbol


@dataclass(frozen=True, slots=True)
class MarketOrder:
    """A market order by base quantity. `quantity` is a multiple of the lot."""

    client_order_id: CopyOrderId
    symbol: Symbol
    side: Side
    quantity: Decimal
    valid_until: datetime
    """The broker must not execute it when it sees it later than this."""


class OrderStatus(StrEnum):
    OPEN = "open"
    DONE = "done"
    """Final: nothing more will be executed (filled, canceled, expired, rejected after acceptance)."""


class OrderReport(BaseModel):
    """What the broker says of an order. Quantities in base currency, cost in quote currency."""

    model_config = ConfigDict(frozen=True)

    broker_order_id: BrokerOrderId
    client_order_id: str | None
    symbol: Symbol
    side: Side
    status: OrderStatus
    quantity: Amount
    filled_quantity: Amount = ZERO
    cost: Amount = ZERO
    """Without the fee."""
    fee: Amount = ZERO
    fee_currency: str = ""
    reason: str = ""
    """The broker's words for a cancellation or expiry."""
