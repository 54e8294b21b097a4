"""Tests that a refused key is explained by the host or the kind of trading to which it may belong."""

import json
from typing import Any

import ccxt
import pytest
import requests
from alpaca.common.exceptions import APIError

from shared.brokers.alpaca.errors import classify as classify_alpaca
from shared.brokers.binance.client import BinanceClient
from shared.brokers.ccxt.errors import MAXIMUM_TEXT_LENGTH, classify
from shared.brokers.errors import BrokerError, KeyRefused
from shared.brokers.kraken.client import KrakenClient
from shared.brokers.okx.client import OkxClient


def refusal(client: Any, reply: dict[str, Any]) -> BrokerError:
    """What the adapter makes of this reply with HTTP status 401 (Kraken: 200)."""
    status = 200 if isinstance(client, KrakenClient) else 401
    with pytest.raises(ccxt.BaseError) as raised:
        client.handle_errors(status, "", "https://broker/path", "GET", {}, "", reply, {}, None)
    return classify(raised.value)


def okx(code: str, text: str) -> BrokerError:
    return refusal(OkxClient({}), {"code": code, "msg": text, "data": []})


def binance(code: int) -> BrokerError:
    return refusal(BinanceClient({}), {"code": code, "msg": "Invalid API-key, IP, or permissions for action."})


def alpaca(status: int, message: str) -> BrokerError:
    reply = requests.Response()
    reply.status_code = status
    error = APIError(json.dumps({"message": message}), requests.HTTPError(response=reply))
    return classify_alpaca(error, lambda text: text)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            okx("50119", "API key doesn't exist"),
            ["OKX_BASE_URL=https://eea.okx.com", "OKX_BASE_URL=https://us.okx.com"],
        ),
        (okx("50119", "API key doesn't exist" * 30), ["50119", "my.okx.com", "app.okx.com", "www.okx.com"]),
        (okx("50101", "APIKey does not match current environment."), ["OKX_PAPER=true", "--paper"]),
        (binance(-2015), ["BINANCE_BASE_URL=https://api.binance.us", "https://testnet.binance.vision"]),
        (binance(-2014), ["BINANCE_BASE_URL"]),
        (binance(-2008), ["BINANCE_BASE_URL"]),
        (alpaca(401, "unauthorized."), ["ALPACA_PAPER=true", "--paper"]),
        (alpaca(403, "forbidden."), ["ALPACA_PAPER=true"]),
        (refusal(KrakenClient({}), {"error": ["EAPI:Invalid key"]}), ["Kraken Futures"]),
    ],
)
def test_a_refused_key_is_explained_by_where_it_would_work(error: BrokerError, words: list[str]) -> None:
    """The broker's own code stands first; the hint is whole, however long the broker's words are."""
    assert isinstance(error, KeyRefused)
    assert all(each in str(error) for each in words)
    assert len(str(error)) <= MAXIMUM_TEXT_LENGTH


@pytest.mark.parametrize(
    "error",
    [
        okx("50105", "Request header OK-ACCESS-PASSPHRASE incorrect"),
        alpaca(403, "trading is blocked"),
        refusal(KrakenClient({}), {"error": ["EAPI:Invalid signature"]}),
        binance(-1022),
    ],
)
def test_other_refusals_are_left_as_they_are(error: BrokerError) -> None:
    """A wrong passphrase or a blocked account has nothing to do with hosts."""
    assert isinstance(error, KeyRefused)
    assert "BASE_URL" not in str(error)
    assert "PAPER" not in str(error)
