"""Defines why an order or an administrative request is refused. A dialect gives each class its own words."""

from decimal import Decimal

from shared.domain.errors import NijaError


class Refused(NijaError):
    """Root of every refusal of the exchange; nothing was changed."""


class UnknownSymbol(Refused):
    """No such pair is listed."""


class InvalidField(Refused):
    """A field is not what it should be; `field` names it in canonical terms."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class BelowMinimumQuantity(Refused):
    """Less base currency than the pair's minimum."""


class BelowMinimumCost(Refused):
    """Less quote currency than the pair's minimum."""


class NotEnoughFunds(Refused):
    """The account has not enough free of what the order spends."""


class DuplicateClientOrderId(Refused):
    """An open order of the account has this client order id."""


class DeadlinePassed(Refused):
    """The order reached the exchange later than it allowed itself."""


class WouldTake(Refused):
    """A post-only order would have been executed at once."""


class MarketOrderTooLarge(Refused):
    """More than the pair's largest market order. `in_quote`: the limit is an amount of quote currency."""

    def __init__(self, largest: Decimal, message: str, *, in_quote: bool) -> None:
        super().__init__(message)
        self.largest = largest
        self.in_quote = in_quote


class MarketRefuses(Refused):
    """The market is in a mode that does not accept this kind of order."""

    def __init__(self, mode: str, message: str) -> None:
        super().__init__(message)
        self.mode = mode


class UnknownOrder(Refused):
    """No such open order."""


class AccountExists(Refused):
    """An account of this name exists."""


class UnknownAccount(Refused):
    """No such account."""
