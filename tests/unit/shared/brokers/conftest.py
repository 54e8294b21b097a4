"""Defines Kraken's shapes for the recording server; its calls are named by the last part of their path."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import connect
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker
from tests.support.recording_server import RecordingServer, serving

API_KEY = "key-of-a-test"
API_SECRET = "c2VjcmV0LW9mLWEtdGVzdA=="

ASSETS = {
    "XXBT": {"altname": "XBT", "decimals": 10, "status": "enabled"},
    "XETH": {"altname": "ETH", "decimals": 10, "status": "enabled"},
    "SOL": {"altname": "SOL", "decimals": 8, "status": "enabled"},
    "ZUSD": {"altname": "USD", "decimals": 4, "status": "enabled"},
    "USDT": {"altname": "USDT", "decimals": 8, "status": "enabled"},
    "ZJPY": {"altname": "JPY", "decimals": 2, "status": "enabled"},
    # Assets whose pairs are no longer listed.
    "XICN": {"altname": "ICN", "decimals": 10, "status": "disabled"},
    "DEAD": {"altname": "DEAD", "decimals": 8, "status": "disabled"},
    "OLD": {"altname": "OLD", "decimals": 8, "status": "disabled"},
}


def pair(base: str, quote: str, altname: str, wsname: str, **more: Any) -> dict[str, Any]:
    return {
        "altname": altname,
        "wsname": wsname,
        "base": base,
        "quote": quote,
        "pair_decimals": 1,
        "lot_decimals": 8,
        "ordermin": "0.00005",
        "costmin": "0.5",
        "status": "online",
        **more,
    }


PAIRS = {
    "XXBTZUSD": pair("XXBT", "ZUSD", "XBTUSD", "XBT/USD", tick_size="0.1"),
    "XXBTZUSD.d": pair("XXBT", "ZUSD", "XBTUSD.d", "XBT/USD", lot_decimals=2),
    "XETHZUSD": pair("XETH", "ZUSD", "ETHUSD", "ETH/USD", pair_decimals=2, ordermin="0.002"),
    "SOLUSDT": pair("SOL", "USDT", "SOLUSDT", "SOL/USDT"),
    "ZUSDZJPY": pair("ZUSD", "ZJPY", "USDJPY", "USD/JPY"),
    "NEWUSD": {"altname": "NEWUSD", "base": "NEW", "quote": "ZUSD"},
}


class CountingNonces:
    """Nonces from a counter; remembers for which key how many were reserved."""

    def __init__(self) -> None:
        self.last = 1_700_000_000_000_000
        self.reserved: list[tuple[str, int]] = []

    async def reserve(self, key_hash: str, count: int) -> int:
        self.reserved.append((key_hash, count))
        first = self.last + 1
        self.last += count
        return first


def error_reply(*texts: str, **more: Any) -> web.Response:
    return web.json_response({"error": list(texts), **more})


@pytest.fixture
def nonces() -> CountingNonces:
    return CountingNonces()


@pytest.fixture
async def server() -> AsyncIterator[RecordingServer]:
    recording = RecordingServer(
        name=lambda request: request.endpoint,
        unknown=lambda: error_reply("EGeneral:Unknown method"),
        wrap=lambda result: {"error": [], "result": result},
        answers={"Assets": ASSETS, "AssetPairs": PAIRS},
    )
    async with serving(recording):
        yield recording


@pytest.fixture
async def connection(server: RecordingServer, nonces: CountingNonces) -> AsyncIterator[BrokerConnection]:
    opened = connect(Broker.KRAKEN, base_url=server.url, nonces=nonces, request_timeout_seconds=2)
    await opened.open()
    server.requests.clear()
    yield opened
    await opened.close()


@pytest.fixture
def account(connection: BrokerConnection) -> BrokerAccount:
    return connection.account(Credentials(api_key=API_KEY, api_secret=API_SECRET))
