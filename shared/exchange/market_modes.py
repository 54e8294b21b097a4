"""Defines the modes of a market, and which orders each mode accepts."""

from enum import StrEnum

from shared.exchange.orders import NewOrder, OrderType
from shared.exchange.refusals import MarketRefuses


class MarketMode(StrEnum):
    """What a market does at present. Orders can be canceled in every mode."""

    OPEN = "open"
    CANCEL_ONLY = "cancel_only"
    POST_ONLY = "post_only"
    LIMIT_ONLY = "limit_only"
    HALTED = "halted"
    CLOSED = "closed"

    @property
    def executes(self) -> bool:
        """Whether resting orders are executed when the price reaches them."""
        return self in (MarketMode.OPEN, MarketMode.POST_ONLY, MarketMode.LIMIT_ONLY)


def check_mode(new: NewOrder, mode: MarketMode) -> None:
    """Raise MarketRefuses when the market does not accept this kind of order now."""
    match mode:
        case MarketMode.OPEN:
            return
        case MarketMode.POST_ONLY if new.post_only:
            return
        case MarketMode.LIMIT_ONLY if new.type is OrderType.LIMIT:
            return
    raise MarketRefuses(mode, f"{new.symbol} is in {mode} mode")
