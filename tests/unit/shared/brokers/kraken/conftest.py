"""Provides an order as nija sends it and the same order as Kraken shows it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from shared.brokers.port.orders import MarketOrder
from shared.domain.fill import Side
from shared.domain.identity import CopyOrderId
from shared.domain.symbol import Symbol

ORDER_ID = "OAAAAA-BBBBB-CCCCCC"
CLIENT_ID = "0123456789abcdef0123456789abcdef"
OPENED = 1616665496.1337


def market_order(quantity: str = "0.10", valid_for_seconds: float = 10, **changes: Any) -> MarketOrder:
    return MarketOrder(
        client_order_id=CopyOrderId(CLIENT_ID),
        symbol=Symbol.parse(changes.get("symbol", "BTC/USD")),
        side=changes.get("side", Side.BUY),
        quantity=Decimal(quantity),
        valid_until=datetime.now(UTC) + timedelta(seconds=valid_for_seconds),
    )


def order_entry(**changes: Any) -> dict[str, Any]:
    return {
        "status": "closed",
        "opentm": OPENED,
        "descr": {"pair": "XBTUSD", "type": "buy", "ordertype": "market"},
        "vol": "0.10000000",
        "vol_exec": "0.10000000",
        "cost": "3000.12345",
        "fee": "7.80032",
        "price": "30001.2",
        "oflags": "fciq",
        "cl_ord_id": CLIENT_ID,
        **changes,
    }
