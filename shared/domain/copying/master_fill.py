"""Defines one execution on a master account, as it travels in the stream `fills`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import Amount, Instant
from shared.domain.cash import closable_asset
from shared.domain.fill import Side
from shared.domain.identity import Broker, FillId, MasterAccount
from shared.domain.symbol import Symbol


class MasterFill(BaseModel):
    """A master's execution with everything that planning needs; immutable, versioned, complete."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    sequence: int
    """Place in the broker's stream, from 1 without gaps; the stream entry's id is `{sequence}-0`."""
    broker: Broker
    master_account: MasterAccount
    fill_id: FillId
    order_id: str
    symbol: Symbol
    side: Side
    price: Amount
    quantity: Amount
    cost: Amount
    fee: Amount
    fee_currency: str
    master_equity_before: Amount | None
    """Cash + held + positions at market in US dollars, before this fill. None: unknown, because too much of the account
    had no price. Nothing is then opened."""
    quote_price: Amount | None = None
    """US dollars per unit of the quote currency; None: unknown."""
    traded_position_before: Amount
    """What watched fills had built up in `asset` before this fill."""
    fraction_closed: Amount
    """Share (0 to 1) of the traded position that this fill closed; 0 for an open or an untraded sale."""
    executed_at: Instant
    published_at: Instant
    replayed: bool = False
    """Published again after Redis lost data: look an order up before sending it."""
    trace_id: str

    @property
    def asset(self) -> str:
        """The asset whose position the fill opens or closes."""
        return closable_asset(self.symbol, self.side)
