"""Provides a recording server that answers like Binance, and a gateway connected to it.

Calls are named by method and last part of the path.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from shared.brokers.binance.account import BinanceAccount
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import connect
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker
from tests.support.recording_server import RecordingServer, serving
from tests.unit.shared.brokers.conftest import CountingNonces

API_KEY = "key-of-a-test"
API_SECRET = "secret-of-a-test"


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
