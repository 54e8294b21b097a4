"""Defines the orders of the broker port: what is placed, and what a broker reports about it."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ZERO, Amount, Instant
from shared.domain.fill import Side
from shared.domain.identity import BrokerOrderId, CopyOrderId
from shared.domain.instrument import TimeInForce
from shared.domain.symbol import Symbol


class _Request(BaseModel):
    """What every order has. `quantity` is base currency and a multiple of the lot."""

    model_config = ConfigDict(frozen=True)

    client_order_id: CopyOrderId
    symbol: Symbol
    side: Side
    quantity: Amount
    valid_until: Instant
    """The broker must not accept the order when it sees the request later than this."""


class MarketOrder(_Request):
    """An order that is executed at once, at whatever price the book has."""


class LimitOrder(_Request):
    """An order that is executed at `limit_price` or better, at once or later."""

    limit_price: Amount
    """A multiple of the price tick, by `Instrument.limit_price`."""
    time_in_force: TimeInForce
    """One of `Instrument.times_in_force`; brokers reject another one."""


OrderRequest = MarketOrder | LimitOrder


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
