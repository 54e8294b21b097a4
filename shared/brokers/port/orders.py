"""Defines the orders of the broker port: what is placed. What a broker reports about an order is in the domain."""

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import Amount, Instant
from shared.domain.fill import Side
from shared.domain.identity import CopyOrderId
from shared.domain.instrument import TimeInForce
from shared.domain.order_report import OrderReport as OrderReport
from shared.domain.order_report import OrderStatus as OrderStatus
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
