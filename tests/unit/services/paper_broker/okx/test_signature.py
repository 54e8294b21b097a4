"""Tests that the paper OKX accepts what ccxt signs, and nothing else."""

import ccxt
import pytest

from services.paper_broker.okx.signature import is_signed, sign

SECRET = "22582BD0CFF14C41EDBF1AB98506286D"


@pytest.mark.parametrize(
    ("path", "method", "parameters", "target"),
    [
        ("account/balance", "GET", {"ccy": "BTC"}, "/api/v5/account/balance?ccy=BTC"),
        ("account/config", "GET", {}, "/api/v5/account/config"),
        ("trade/batch-orders", "POST", [{"instId": "BTC-USDT", "sz": "0.1", "clOrdId": "a"}], None),
    ],
)
def test_what_ccxt_signs_passes(path: str, method: str, parameters: object, target: str | None) -> None:
    """A query, neither query nor body, and a body that is a list."""
    client = ccxt.okx({"apiKey": "key", "secret": SECRET, "password": "passphrase"})
    request = client.sign(path, ["private"], method, parameters)
    headers, body = request["headers"], (request["body"] or "").encode()
    assert is_signed(
        headers["OK-ACCESS-SIGN"],
        SECRET.encode(),
        headers["OK-ACCESS-TIMESTAMP"],
        method,
        target or f"/api/v5/{path}",
        body,
    )


def test_any_change_makes_the_signature_wrong() -> None:
    """Another secret, time, method, path or body does not pass."""
    parts = (SECRET.encode(), "2020-12-08T09:08:57.715Z", "POST", "/api/v5/trade/order", b'{"sz":"1"}')
    signature = sign(*parts)
    assert is_signed(signature, *parts)
    for position, other in enumerate((b"other", "2020-12-08T09:08:57.716Z", "GET", "/api/v5/trade/order?a=1", b"{}")):
        changed = [other if number == position else part for number, part in enumerate(parts)]
        assert not is_signed(signature, *changed)  # type: ignore[arg-type]
    assert not is_signed("", *parts)
