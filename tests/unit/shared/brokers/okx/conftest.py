"""Defines OKX's shapes for the recording server; its calls are named by their path below /api/v5/."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.port.orders import MarketOrder
from shared.brokers.registry import connect
from shared.domain.accounts.credentials import Credentials
from shared.domain.fill import Side
from shared.domain.identity import Broker, CopyOrderId
from shared.domain.symbol import Symbol
from tests.support.recording_server import Recorded, RecordingServer, serving
from tests.unit.shared.brokers.conftest import CountingNonces

API_KEY = "key-of-a-test"
API_SECRET = "SECRET0123456789"
PASSPHRASE = "Pass-phrase1!"
CREDENTIALS = Credentials(
    api_key=SecretStr(API_KEY), api_secret=SecretStr(API_SECRET), passphrase=SecretStr(PASSPHRASE)
)

ORDER_ID = "1500000000000000001"
CLIENT_ID = "0123456789abcdef0123456789abcdef"
PLACE = "trade/batch-orders"
OPENED_MS = 1_616_665_496_133
SINCE = datetime.fromtimestamp(OPENED_MS / 1000 - 60, UTC)
ORDER, FILLS = "trade/order", "trade/fills-history"


def instrument(base: str, quote: str, **more: Any) -> dict[str, Any]:
    return {
        "instType": "SPOT",
        "instId": f"{base}-{quote}",
        "baseCcy": base,
        "quoteCcy": quote,
        "lotSz": "0.00000001",
        "minSz": "0.00001",
        "tickSz": "0.1",
        "state": "live",
        **more,
    }


INSTRUMENTS = [
    instrument("BTC", "USDT"),
    instrument("ETH", "USDT", lotSz="0.000001", minSz="0.0001", tickSz="0.01", unknownField={"a": [1]}),
    instrument("SOL", "USDC", lotSz="0.001", tickSz="0.01"),
    instrument("NEW", "USDT", lotSz="", minSz="", tickSz="", state="preopen"),
]


def refused(code: str, text: str = "words", status: int = 200, **more: Any) -> web.Response:
    """The whole request is refused."""
    return web.json_response({"code": code, "msg": text, "data": [], **more}, status=status)


def refused_order(code: str, text: str = "words", **more: Any) -> web.Response:
    """The order in the request is refused."""
    entry = {"clOrdId": "", "ordId": "", "sCode": code, "sMsg": text, "tag": "", **more}
    return web.json_response({"code": "1", "msg": "All operations failed", "data": [entry]})


def placed(order_id: Any = "1500000000000000001", **more: Any) -> list[dict[str, Any]]:
    return [{"clOrdId": "c", "ordId": order_id, "sCode": "0", "sMsg": "Order placed", "tag": "", **more}]


def market_order(quantity: str = "0.10", valid_for_seconds: float = 10, **changes: Any) -> MarketOrder:
    return MarketOrder(
        client_order_id=CopyOrderId(CLIENT_ID),
        symbol=Symbol.parse(changes.get("symbol", "BTC/USDT")),
        side=changes.get("side", Side.BUY),
        quantity=Decimal(quantity),
        valid_until=datetime.now(UTC) + timedelta(seconds=valid_for_seconds),
    )


def order_entry(**changes: Any) -> dict[str, Any]:
    return {
        "instType": "SPOT",
        "instId": "BTC-USDT",
        "ordId": ORDER_ID,
        "clOrdId": CLIENT_ID,
        "side": "buy",
        "ordType": "market",
        "tgtCcy": "base_ccy",
        "sz": "0.1",
        "accFillSz": "0.1",
        "avgPx": "30001.2",
        "state": "filled",
        "fee": "-0.00015",
        "feeCcy": "BTC",
        "cTime": str(OPENED_MS),
        **changes,
    }


def fill_entry(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "instType": "SPOT",
        "instId": "BTC-USDT",
        "tradeId": str(number),
        "ordId": ORDER_ID,
        "clOrdId": CLIENT_ID,
        "billId": str(1_600_000_000_000_000_000 + number),
        "fillPx": "30001.2",
        "fillSz": "0.1",
        "side": "buy",
        "feeCcy": "BTC",
        "fee": "-0.00015",
        "ts": str(OPENED_MS + number),
        **changes,
    }


def pages(entries: list[dict[str, Any]], size: int) -> Any:
    """Answer fills-history as OKX does: newest first, and only entries with a billId below `after`."""

    def answer(request: Recorded) -> list[dict[str, Any]]:
        after = int(request.query.get("after", 1 << 62))
        older = [entry for entry in entries if int(entry["billId"]) < after]
        return sorted(older, key=lambda entry: -int(entry["billId"]))[:size]

    return answer


@pytest.fixture
async def server() -> AsyncIterator[RecordingServer]:
    recording = RecordingServer(
        name=lambda request: request.path.removeprefix("/api/v5/"),
        unknown=lambda: web.json_response({"code": "404", "msg": "Invalid request URI", "data": {}}, status=404),
        wrap=lambda data: {"code": "0", "msg": "", "data": data},
        answers={"public/instruments": INSTRUMENTS},
    )
    async with serving(recording):
        yield recording


@pytest.fixture
async def connection(server: RecordingServer, nonces: CountingNonces) -> AsyncIterator[BrokerConnection]:
    opened = connect(Broker.OKX, base_url=server.url, nonces=nonces, request_timeout_seconds=2)
    await opened.open()
    server.requests.clear()
    yield opened
    await opened.close()


@pytest.fixture
def account(connection: BrokerConnection) -> BrokerAccount:
    return connection.account(CREDENTIALS)
