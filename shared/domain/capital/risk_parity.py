"""Divides capital so that every symbol carries the same risk: each share is proportional to 1 / volatility."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from shared.domain.amounts import ONE, round_down
from shared.domain.capital.arithmetic import HUNDRED, checked_positive, fixed_precision, total
from shared.domain.errors import InvalidAmount

STEP: Final = Decimal("0.1")
"""Shares are multiples of a tenth of a percent."""


@fixed_precision
def risk_parity(volatilities: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Return the share of each symbol in percent; they add up to exactly 100.

    Every share is cut to a tenth of a percent. The tenths that are left go to the largest cut parts, and between equal
    ones to the first symbol by name. Raises InvalidAmount when there is no symbol or a volatility is not above zero.
    """
    if not volatilities:
        raise InvalidAmount("no volatility is given; at least one symbol is needed")
    inverse = {name: ONE / checked_positive(f"the volatility of {name}", each) for name, each in volatilities.items()}
    whole = total(inverse.values())
    exact = {name: each / whole * HUNDRED for name, each in inverse.items()}
    shares = {name: round_down(each, STEP) for name, each in exact.items()}
    tenths = int((HUNDRED - total(shares.values())) / STEP)
    for name in sorted(exact, key=lambda each: (shares[each] - exact[each], each))[:tenths]:
        shares[name] += STEP
    return shares
