"""Provides a recording server that answers like Binance, and a gateway connected to it.

Calls are named by method and last part of the path.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from shared.brokers.binance.account import BinanceAccount
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.port.orders import MarketOrder
from shared.brokers.registry import connect
from shared.domain.accounts.credentials import Credentials
from shared.domain.fill import Side
from shared.domain.identity import Broker, BrokerOrderId, CopyOrderId
from shared.domain.symbol import Symbol
from tests.support.recording_server import RecordingServer, serving
from tests.unit.shared.brokers.conftest import CountingNonces

API_KEY = "key-of-a-test"
API_SECRET = "secret-of-a-test"
CLIENT_ID = "0123456789abcdef0123456789abcdef"
OPENED = 1_616_665_496_133
ORDER_ID = BrokerOrderId("28")


def listed(base: str, quote: str, **changes: Any) -> dict[str, Any]:
    """A symbol of exchangeInfo with the fields that the gateway needs."""
    return {
        "symbol": base + quote,
        "status": "TRADING",
        "baseAsset": base,
        "quoteAsset": quote,
        "isSpotTradingAllowed": True,
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": "0.01000000"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001000", "maxQty": "9000.0", "stepSize": "0.00001000"},
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": "100.0", "stepSize": "0.00000000"},
            {"filterType": "NOTIONAL", "minNotional": "5.00000000", "applyMinToMarket": True},
        ],
        **changes,
    }


SYMBOLS = [
    listed("BTC", "USDT"),
    listed("ETH", "USDT"),
    listed("ETH", "BTC"),
    listed("BNB", "USDT"),
    listed("SOL", "USDC"),
    listed("USDT", "TRY"),
    listed("OLD", "USDT", status="BREAK"),
    listed("XRP", "USDT", filters=[]),
]


def refused(code: int, text: str, status: int = 400) -> web.Response:
    """An error in the form that Binance uses."""
    return web.json_response({"code": code, "msg": text}, status=status)


def market_order(quantity: str = "0.10", valid_for_seconds: float = 5, **changes: Any) -> MarketOrder:
    return MarketOrder(
        client_order_id=CopyOrderId(CLIENT_ID),
        symbol=Symbol.parse(changes.get("symbol", "BTC/USDT")),
        side=changes.get("side", Side.BUY),
        quantity=Decimal(quantity),
        valid_until=datetime.now(UTC) + timedelta(seconds=valid_for_seconds),
    )


def entry(**changes: Any) -> dict[str, Any]:
    """An order as `GET order` returns it."""
    return {
        "symbol": "BTCUSDT",
        "orderId": 28,
        "clientOrderId": CLIENT_ID,
        "origQty": "0.10000000",
        "executedQty": "0.10000000",
        "cummulativeQuoteQty": "3000.12000000",
        "status": "FILLED",
        "side": "BUY",
        "time": OPENED,
        "updateTime": OPENED,
        **changes,
    }


def part(quantity: str = "0.1", fee: str = "0.0001", asset: str = "BTC") -> dict[str, Any]:
    """A fill in the reply to a new order."""
    return {"price": "30001.2", "qty": quantity, "commission": fee, "commissionAsset": asset, "tradeId": 1}


def trade(quantity: str = "0.1", fee: str = "0.0001", asset: str = "BTC", **changes: Any) -> dict[str, Any]:
    """An entry of myTrades."""
    return {
        **part(quantity, fee, asset),
        "symbol": "BTCUSDT",
        "id": 7,
        "orderId": 28,
        "quoteQty": "3000.12",
        "time": OPENED,
        "isBuyer": True,
        **changes,
    }


@pytest.fixture
async def binance() -> AsyncIterator[RecordingServer]:
    """A server with the part of Binance's API that a test sets up."""
    server = RecordingServer(
        name=lambda request: f"{request.method} {request.endpoint}",
        unknown=lambda: web.Response(status=404, text="<html>404</html>", content_type="text/html"),
        answers={"GET exchangeInfo": {"symbols": SYMBOLS}},
    )
    async with serving(server):
        yield server


@pytest.fixture
async def connection(binance: RecordingServer) -> AsyncIterator[BrokerConnection]:
    opened = connect(Broker.BINANCE, base_url=binance.url, nonces=CountingNonces(), request_timeout_seconds=2)
    await opened.open()
    binance.requests.clear()
    yield opened
    await opened.close()


@pytest.fixture
def account(connection: BrokerConnection) -> BinanceAccount:
    made = connection.account(Credentials(api_key=API_KEY, api_secret=API_SECRET))
    assert isinstance(made, BinanceAccount)
    return made
