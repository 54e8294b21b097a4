"""Defines what a broker reports about one order."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ZERO, Amount
from shared.domain.fill import Side
from shared.domain.identity import BrokerOrderId
from shared.domain.symbol import Symbol


class OrderStatus(StrEnum):
    OPEN = "open"
    DONE = "done"
    """Final: nothing more will be executed (filled, canceled, expired, rejected after acceptance).

    An order that was canceled after a part of it was executed is final with its filled quantity.
    """


class OrderReport(BaseModel):
    """What the broker says of an order. Quantities in base currency, cost in quote currency."""

    model_config = ConfigDict(frozen=True)

    broker_order_id: BrokerOrderId
    client_order_id: str | None
    symbol: Symbol
    side: Side
    status: OrderStatus
    quantity: Amount
    limit_price: Amount | None = None
    """None: a market order."""
    filled_quantity: Amount = ZERO
    cost: Amount = ZERO
    """Without the fee."""
    fee: Amount = ZERO
    fee_currency: str = ""
    reason: str = ""
    """The broker's words for a cancellation or expiry."""
