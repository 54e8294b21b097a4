"""Defines Coinbase's shapes for the recording server; its calls are named by their path below /api/v3/brokerage/."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.port.orders import MarketOrder
from shared.brokers.registry import connect
from shared.domain.accounts.credentials import Credentials
from shared.domain.fill import Side
from shared.domain.identity import Broker, CopyOrderId
from shared.domain.symbol import Symbol
from tests.support.recording_server import RecordingServer, serving
from tests.unit.shared.brokers.conftest import CountingNonces

API_KEY = "organizations/an-organization/apiKeys/key-of-a-test"
PRIVATE_KEY = ec.generate_private_key(ec.SECP256R1())
API_SECRET = PRIVATE_KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()

ORDERS, BATCH, FILLS = "orders", "orders/historical/batch", "orders/historical/fills"
ACCOUNTS, CANCEL, PERMISSIONS = "accounts", "orders/batch_cancel", "key_permissions"
PRODUCTS = "market/products"

ORDER_ID = "11111111-2222-4333-8444-555555555555"
CLIENT_ID = "0123456789abcdef0123456789abcdef"
SINCE = datetime(2023, 1, 18, 1, 0, tzinfo=UTC)
NO_ORDERS: dict[str, Any] = {"orders": [], "has_next": False, "cursor": ""}


def product(product_id: str, **more: Any) -> dict[str, Any]:
    base, _, quote = product_id.partition("-")
    return {
        "product_id": product_id,
        "price": "50000.01",
        "base_increment": "0.00000001",
        "quote_increment": "0.01",
        "price_increment": "0.01",
        "quote_min_size": "1",
        "base_min_size": "0.00000001",
        "base_currency_id": base,
        "quote_currency_id": quote,
        "product_type": "SPOT",
        "alias": "",
        "alias_to": [],
        **more,
    }


LISTED = [
    product("BTC-USD", alias_to=["BTC-USDC"]),
    product("BTC-USDC", alias="BTC-USD"),
    product("ETH-USD", price="2500.5", base_increment="0.001", quote_min_size="5"),
    product("CGLD-USD", price="0.61"),
    product("NEW-USD", price=""),
    product("OLD-USDT", price="7"),
    product("BIT-28NOV25-CDE", product_type="FUTURE", base_currency_id="", quote_currency_id="USD"),
    {"product_id": "BARE-USD", "base_currency_id": "BARE", "quote_currency_id": "USD"},
]


def market_order(quantity: str = "0.10", valid_for_seconds: float = 10, **changes: Any) -> MarketOrder:
    return MarketOrder(
        client_order_id=CopyOrderId(CLIENT_ID),
        symbol=Symbol.parse(changes.get("symbol", "BTC/USD")),
        side=changes.get("side", Side.BUY),
        quantity=Decimal(quantity),
        valid_until=datetime.now(UTC) + timedelta(seconds=valid_for_seconds),
    )


def accepted(**more: Any) -> dict[str, Any]:
    placed = {"order_id": ORDER_ID, "product_id": "BTC-USD", "side": "BUY", "client_order_id": CLIENT_ID}
    return {"success": True, "failure_reason": "UNKNOWN_FAILURE_REASON", "success_response": placed, **more}


def order_entry(**changes: Any) -> dict[str, Any]:
    return {
        "order_id": ORDER_ID,
        "product_id": "BTC-USD",
        "order_configuration": {"market_market_ioc": {"base_size": "0.1"}},
        "side": "BUY",
        "client_order_id": CLIENT_ID,
        "status": "FILLED",
        "created_time": "2023-01-18T01:37:37.975552Z",
        "filled_size": "0.1",
        "average_filled_price": "30001.2",
        "filled_value": "3000.12",
        "total_fees": "18.00072",
        **changes,
    }


@pytest.fixture
async def server() -> AsyncIterator[RecordingServer]:
    recording = RecordingServer(
        name=lambda request: request.path.removeprefix("/api/v3/brokerage/"),
        unknown=lambda: web.json_response({"error": "NOT_FOUND", "message": "no such call"}, status=404),
        answers={PRODUCTS: {"products": LISTED}},
    )
    async with serving(recording):
        yield recording


@pytest.fixture
async def connection(server: RecordingServer, nonces: CountingNonces) -> AsyncIterator[BrokerConnection]:
    opened = connect(Broker.COINBASE, base_url=server.url, nonces=nonces, request_timeout_seconds=2)
    await opened.open()
    server.requests.clear()
    yield opened
    await opened.close()


@pytest.fixture
def account(connection: BrokerConnection) -> BrokerAccount:
    return connection.account(Credentials(api_key=API_KEY, api_secret=API_SECRET))
