"""Parses, writes and rounds exact decimal amounts.

A float never becomes an amount: 0.1 + 0.2 has no place in a ledger.
"""

from datetime import UTC, datetime
from decimal import ROUND_DOWN, Context, Decimal, InvalidOperation
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, PlainSerializer

from shared.domain.errors import InvalidAmount

ZERO = Decimal(0)
ONE = Decimal(1)

# Powers of ten. Beyond them, PostgreSQL cannot store an amount, and its text has thousands of digits.
_SMALLEST, _LARGEST = -5_000, 100
# A quantity of a cheap coin may have more lots than the 28 digits of the default context can count.
_WIDE = Context(prec=100, rounding=ROUND_DOWN)


def parse_amount(value: Any) -> Decimal:
    """Return text, an int or a Decimal as a finite Decimal; raise InvalidAmount for all else."""
    if isinstance(value, Decimal):
        amount = value
    elif isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        try:
            amount = Decimal(value)
        except InvalidOperation:
            raise InvalidAmount(f"{value!r} is not a decimal number") from None
    else:
        raise InvalidAmount(f"{value!r} is a {type(value).__name__}; amounts are decimal text such as '0.25'")
    if not amount.is_finite():
        raise InvalidAmount(f"{value!r} is not a finite number")
    if amount and not _SMALLEST <= amount.adjusted() <= _LARGEST:
        raise InvalidAmount(f"{value!r} is beyond what an amount can be")
    return amount


def plain(amount: Decimal) -> str:
    """Return the amount as text without an exponent and without trailing zeros: '0.00001', '50000'."""
    text = format(amount, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def round_down(amount: Decimal, step: Decimal) -> Decimal:
    """Return the largest multiple of `step` that is not above `amount` (both ≥ 0, same unit).

    Raises ArithmeticError if the quotient has more than 100 digits.
    """
    # Integer division is exact. The quotient of a plain division might be rounded up to a multiple above `amount`.
    return _WIDE.multiply(_WIDE.divide_int(amount, step), step)


def round_up(amount: Decimal, step: Decimal) -> Decimal:
    """Return the smallest multiple of `step` that is not below `amount` (both ≥ 0, same unit)."""
    below = round_down(amount, step)
    return below if below == amount else _WIDE.add(below, step)


Amount = Annotated[Decimal, BeforeValidator(parse_amount), PlainSerializer(plain, return_type=str)]
"""A Decimal that travels as text; quantities are in base currency, money in quote currency unless named."""


def _to_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


Instant = Annotated[AwareDatetime, AfterValidator(_to_utc)]
"""An aware moment in UTC."""
