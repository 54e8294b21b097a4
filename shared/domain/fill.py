"""Defines one execution as a broker reports it."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import Amount, Instant
from shared.domain.identity import FillId
from shared.domain.symbol import Symbol


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"


class AccountFill(BaseModel):
    """One execution as the broker reports it, before nija knows what it means for the traded position."""

    model_config = ConfigDict(frozen=True)

    fill_id: FillId
    order_id: str
    symbol: Symbol
    side: Side
    price: Amount
    quantity: Amount
    """Base currency."""
    cost: Amount
    """Quote currency, without the fee."""
    fee: Amount
    fee_currency: str
    executed_at: Instant
