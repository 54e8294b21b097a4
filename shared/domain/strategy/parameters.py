"""Holds the numbers of the strategy APEX v7.1, each with its default, so that a backtest can try others."""

from decimal import Decimal
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared.domain.amounts import Amount
from shared.domain.errors import InvalidParameter, problems_of

WINDOW_CANDLES: Final = 300
"""The length of every window. An unfinished warm-up is part of an indicator's value, so all runs use one length."""

NotNegative = Annotated[Amount, Field(ge=0)]
Share = Annotated[Amount, Field(ge=0, le=1)]
Seconds = Annotated[int, Field(ge=0)]


class ApexParameters(BaseModel):
    """Shares are fractions: 0.02 is 2 %. Times are in seconds."""

    model_config = ConfigDict(frozen=True)

    adx_above: NotNegative = Decimal(20)
    """The market filter wants a stronger trend than this."""
    filter_volume: NotNegative = Decimal("0.5")
    """Share of the mean of the last 5 volumes that the market filter wants."""
    near: Share = Decimal("0.005")
    """Distance from EMA21 or VWAP at which a close counts as near."""
    rsi_from: NotNegative = Decimal(30)
    rsi_to: NotNegative = Decimal(70)
    entry_volume: NotNegative = Decimal("0.6")
    """Share of the mean of the previous 2 volumes that an entry condition wants."""
    thin_volume: NotNegative = Decimal("0.3")
    """Below this share of the mean of 20 volumes there is no entry."""
    conditions: Annotated[int, Field(ge=0, le=5)] = 3
    """Entry conditions that must hold, of five."""
    settle_seconds: Seconds = 6
    """Beginning of a candle in which there is no entry."""
    stale_seconds: Seconds = 330
    """Age of the last closed candle above which nothing is decided. A newer one is due after 300 s, for entries."""
    reduced_size: Share = Decimal("0.9")
    """Factor of the size for the smallest score that enters. A higher score has the factor 1."""
    exposure: Share = Decimal("0.6")
    """Largest share of equity in positions of the strategy."""
    symbol_cap: Share = Decimal("0.1")
    """Largest share of equity in one symbol."""
    stop_atr: NotNegative = Decimal("0.5")
    """The stop is this many ATR below the lowest low of the last 10 candles."""
    trail_atr: NotNegative = Decimal("1.5")
    """The trailing stop is this many ATR below the close."""
    first_part: Share = Decimal("0.5")
    """Share of the position that is sold at the first target."""
    second_part: Share = Decimal("0.25")
    emergency: Share = Decimal("0.01")
    """A loss of this share of the average entry price is liquidated at once."""
    losses_in_a_row: Annotated[int, Field(ge=1)] = 3
    """Losing positions in a row after which entries pause."""
    cooldown_seconds: Seconds = 3600
    volatile_atr_pct: NotNegative = Decimal(5)
    """The 4-hour ATR, in percent of the price, above which the market is volatile."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.rsi_from > self.rsi_to:
            raise ValueError(f"rsi_from {self.rsi_from} is above rsi_to {self.rsi_to}")
        if not 0 < self.first_part + self.second_part <= 1:
            raise ValueError("first_part and second_part must be above 0 and at most 1 together")
        return self

    def with_setting(self, name: str, text: str) -> Self:
        """Return the parameters with one changed. Raises InvalidParameter for an unknown name or an unfit value."""
        if name not in type(self).model_fields:
            known = ", ".join(type(self).model_fields)
            raise InvalidParameter(f"{name!r} is no parameter of the strategy; known are: {known}")
        try:
            return type(self).model_validate(self.model_dump() | {name: text})
        except ValidationError as error:
            raise InvalidParameter(f"strategy parameter {name} = {text}: {problems_of(error, 'parameters')}") from None


APEX: Final = ApexParameters()
