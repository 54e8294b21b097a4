"""Tests that the faults of the paper Alpaca and the paper Binance have the shapes of the real brokers' errors."""

import orjson
import pytest

from services.paper_broker.alpaca.dialect import AlpacaDialect
from services.paper_broker.binance.dialect import BinanceDialect


@pytest.mark.parametrize(
    ("kind", "status"), [("rate_limit", 429), ("maintenance", 503), ("internal_error", 500), ("invalid_nonce", 500)]
)
def test_faults_have_alpacas_shape(kind: str, status: int) -> None:
    """The first digits of the code are the HTTP status, and there is a message."""
    reply = AlpacaDialect(enforces_rate_limits=False).fault_reply(kind, "POST /v2/orders")
    document = orjson.loads(reply.body)
    assert reply.status == status == document["code"] // 100_000
    assert document["message"]


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("rate_limit", 429, -1003),
        ("invalid_nonce", 400, -1021),
        ("maintenance", 503, 1),
        ("internal_error", 500, -1000),
    ],
)
def test_faults_have_binances_shapes(kind: str, status: int, code: int) -> None:
    """Each fault has Binance's HTTP status and code."""
    reply = BinanceDialect(enforces_rate_limits=False).fault_reply(kind, "POST order")
    assert (reply.status, orjson.loads(reply.body)["code"]) == (status, code)
