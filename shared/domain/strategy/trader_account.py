"""Defines what the strategy knows of an account and of the moment when it decides."""

from typing import Annotated

from pydantic import Field

from shared.domain.amounts import ZERO, Amount, Instant
from shared.domain.fees import Fees
from shared.domain.instrument import Instrument
from shared.domain.strategy.cooldown import LossStreak
from shared.domain.strategy.routing import Route
from shared.domain.value_class import value_class


@value_class
class TraderAccount:
    """The account at one broker, for one symbol. Amounts are US dollars; cash of other currencies counts at par."""

    at: Instant
    """The moment of the decision, by the clock of the broker."""
    instrument: Instrument
    fees: Fees
    route: Annotated[Route, Field(discriminator="route")]
    equity_usd: Amount
    exposure_usd: Amount = ZERO
    """The value of all positions of the strategy."""
    held_usd: Amount = ZERO
    """The value of this symbol's base in the account, whichever way it was bought."""
    losses: LossStreak = LossStreak()
    best_bid: Amount | None = None
    """What a sale would get now; None: the close of the last candle stands for it."""
    decided_candle: Instant | None = None
    """When the candle began for which an entry was decided last. Each candle has one entry decision."""
    four_hour_atr_pct: Amount | None = None
    """ATR14 of 4-hour candles in percent of the price; None: unknown."""
    opens_stopped: str = ""
    """Why the account opens nothing now (a stop, a failed broker, a stale balance); empty: it may open."""
    margin_used_pct: Amount | None = None
    """The part of the wallet that positions bind, in percent; None: the decision does not depend on it."""
    order_under_way: bool = False
    """Whether an order of the strategy for this symbol is not final yet."""
    spot: bool = True
    """A spot account cannot sell short."""
