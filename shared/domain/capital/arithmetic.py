"""Gives the capital rules one decimal context, types for checked numbers, and the cut to cents.

Every rule computes with 60 significant digits, half even, whatever the context of its caller is. That holds for
logarithms too: `Decimal.log10` and `Decimal.ln` are rounded correctly to these digits. Money is cut to cents at the end.
"""

from collections.abc import Callable, Iterable
from decimal import (
    ROUND_FLOOR,
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    Context,
    Decimal,
    DivisionByZero,
    InvalidOperation,
    Overflow,
    getcontext,
    setcontext,
)
from functools import lru_cache, wraps
from typing import Annotated, Final, ParamSpec, TypeVar

from pydantic import Field

from shared.domain.amounts import ONE, ZERO, Amount, parse_amount
from shared.domain.errors import InvalidAmount

PRECISION: Final = 60
"""Significant digits of every step."""
HUNDRED: Final = Decimal(100)
CENT: Final = Decimal("0.01")

# Between them, 60 digits count every quantity in lots exactly.
LARGEST: Final = Decimal("1e18")
SMALLEST: Final = Decimal("1e-18")
_TRAPS = [InvalidOperation, DivisionByZero, Overflow]
_CONTEXT = Context(prec=PRECISION, rounding=ROUND_HALF_EVEN, traps=_TRAPS)
# Wide enough for the product of several amounts in cents.
_WIDE = Context(prec=500, rounding=ROUND_FLOOR, traps=_TRAPS)

Signed = Annotated[Amount, Field(ge=-LARGEST, le=LARGEST)]
"""An amount that may be below zero, such as a profit."""
NonNegative = Annotated[Amount, Field(ge=0, le=LARGEST)]
Positive = Annotated[Amount, Field(ge=SMALLEST, le=LARGEST)]
"""An amount that can be divided by."""
Percent = Annotated[Amount, Field(ge=0, le=100)]
"""0 to 100."""
Share = Annotated[Amount, Field(ge=0, le=1)]
"""0 to 1."""

P = ParamSpec("P")
R = TypeVar("R")


def fixed_precision(rule: Callable[P, R]) -> Callable[P, R]:
    """Run a rule in the context of this module, so that its result never depends on the caller's context."""

    @wraps(rule)
    def in_context(*args: P.args, **kwargs: P.kwargs) -> R:
        outer = getcontext()
        if outer is _CONTEXT:
            return rule(*args, **kwargs)
        # No `localcontext`, which copies the context: one answer of the gate runs about thirty rules.
        setcontext(_CONTEXT)
        try:
            return rule(*args, **kwargs)
        finally:
            setcontext(outer)

    return in_context


def checked(name: str, value: Decimal, *, least: Decimal | int = -LARGEST, most: Decimal | int = LARGEST) -> Decimal:
    """Return a finite amount from `least` to `most`. Raises InvalidAmount, a ValueError that names the argument."""
    amount = parse_amount(value)
    if not least <= amount <= most:
        raise InvalidAmount(f"{name} is {amount}; it must be from {least} to {most}")
    return amount


def checked_positive(name: str, value: Decimal) -> Decimal:
    """Return an amount that can be divided by. Raises InvalidAmount."""
    return checked(name, value, least=SMALLEST)


def clamp(value: Decimal, lowest: Decimal, highest: Decimal) -> Decimal:
    """Return the value, or the bound that it exceeds."""
    return max(lowest, min(value, highest))


def percent_of(part: Decimal, whole: Decimal) -> Decimal:
    """Return the part in percent of the whole. A part of nothing is 100 % when it is above zero, else 0 %."""
    if whole > 0:
        return part / whole * HUNDRED
    return HUNDRED if part > 0 else ZERO


def cut_cents(amount: Decimal) -> Decimal:
    """Return money without fractions of a cent. It is never above the amount, also below zero."""
    return amount.quantize(CENT, context=_WIDE)


def cut_percent(percent: Decimal) -> Decimal:
    """Return a percentage with four places, cut like money."""
    return percent.quantize(Decimal("0.0001"), context=_WIDE)


@lru_cache(maxsize=256)
@fixed_precision
def log10(value: Decimal) -> Decimal:
    """Return the decimal logarithm of a number above 0.

    With 60 digits it takes longer than all other factors of a size, and the same equities are asked for again.
    """
    return value.log10()


def half_up(value: Decimal) -> Decimal:
    """Return the nearest whole number; a half is rounded up."""
    return value.quantize(ONE, rounding=ROUND_HALF_UP)


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Return the sum as a Decimal, also when there is nothing to add."""
    return sum(amounts, ZERO)
