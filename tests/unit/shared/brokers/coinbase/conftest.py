"""Coinbase's shapes for the recording server; its calls are named by their path below /api/v3/brokerage/."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import connect
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker
from tests.support.recording_server import RecordingServer, serving
from tests.unit.shared.brokers.conftest import CountingNonces

API_KEY = "organizations/an-organization/apiKeys/key-of-a-test"
PRIVATE_KEY = ec.generate_private_key(ec.SECP256R1())
API_SECRET = PRIVATE_KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()

ORDERS, BATCH, FILLS = "orders", "orders/historical/batch", "orders/historical/fills"
ACCOUNTS, CANCEL, PERMISSIONS = "accounts", "orders/batch_cancel", "key_permissions"
PRODUCTS = "market/products"


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
