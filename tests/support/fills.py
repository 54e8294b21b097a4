"""Makes up fills for tests."""

from datetime import datetime
from decimal import Decimal

from shared.domain.fill import AccountFill, Side


def buy(number: int, executed_at: datetime) -> AccountFill:
    """One coin for 100 dollars."""
    return AccountFill(
        fill_id=f"T{number}",
        order_id=f"O{number}",
        symbol="BTC/USD",
        side=Side.BUY,
        price=Decimal(100),
        quantity=Decimal(1),
        cost=Decimal(100),
        fee=Decimal(0),
        fee_currency="USD",
        executed_at=executed_at,
    )
