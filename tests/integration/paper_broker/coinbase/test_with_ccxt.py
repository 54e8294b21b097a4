"""Tests the paper Coinbase in a process of its own with unmodified ccxt: market data, trading, Coinbase's errors."""

from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from itertools import count
from typing import Any

import ccxt.async_support as ccxt  # type: ignore[import-untyped]  # ccxt ships no type marker
import pytest

from shared.domain.identity import Broker
from tests.contract.paper import PaperServer

_NUMBERS = count(1)


@pytest.fixture(scope="module")
def shared_paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaperServer]:
    server = PaperServer(Broker.COINBASE, tmp_path_factory.mktemp("paper"))
    yield server
    server.stop()


@pytest.fixture
def paper(shared_paper: PaperServer) -> Iterator[PaperServer]:
    """The server with BTC/USD at 50,000; faults are switched off afterwards."""
    shared_paper.pause()
    shared_paper.pin_price("BTC/USD", "50000")
    yield shared_paper
    shared_paper.ask("DELETE", "faults")


@pytest.fixture
async def client(paper: PaperServer) -> AsyncIterator[Any]:
    """A client with the key of an account of its own: 10,000 USD and 1 BTC."""
    credentials = paper.new_account(f"person-{next(_NUMBERS)}", {"USD": "10000", "BTC": "1"})
    made = ccxt.coinbase(
        {
            "apiKey": credentials.api_key.get_secret_value(),
            "secret": credentials.api_secret.get_secret_value(),
            "urls": {"api": {"rest": paper.url}},
            "number": str,
            "enableRateLimit": False,
            "timeout_on_exit": 0,
        }
    )
    yield made
    await made.close()


async def test_market_data_is_what_ccxt_expects(client: Any, paper: PaperServer) -> None:
    """Markets with the key's fee tier, currencies, tickers, book, candles and trades."""
    markets = await client.load_markets()
    bitcoin = markets["BTC/USD"]
    assert (bitcoin["id"], bitcoin["type"], bitcoin["active"]) == ("BTC-USD", "spot", True)
    assert (bitcoin["taker"], bitcoin["maker"]) == ("0.006", "0.004")
    assert bitcoin["precision"]["amount"] == "0.00000001"
    assert {"USD", "BTC"} <= client.currencies.keys()
    ticker = await client.fetch_ticker("BTC/USD")
    assert Decimal(ticker["bid"]) < Decimal(ticker["last"]) == 50_000 < Decimal(ticker["ask"])
    assert (await client.fetch_tickers(["BTC/USD", "ETH/USD"])).keys() == {"BTC/USD", "ETH/USD"}
    # Coinbase allows ten public requests in a second.
    paper.pause()
    book = await client.fetch_order_book("BTC/USD", 5)
    assert len(book["bids"]) == len(book["asks"]) == 5
    assert book["bids"][0][0] < book["asks"][0][0]
    candles = await client.fetch_ohlcv("BTC/USD", "5m", limit=20)
    assert len(candles) == 20
    assert [candle[0] for candle in candles] == sorted(candle[0] for candle in candles)
    assert all(low <= opened <= high and low <= closed <= high for _, opened, high, low, closed, _ in candles)
    assert len(await client.fetch_trades("BTC/USD", limit=5)) == 5
    assert abs(await client.fetch_time() - client.milliseconds()) < 5_000


async def test_orders_are_placed_read_and_cancelled(client: Any) -> None:
    """By base and by quote, at market and with a limit; what is held shows in the newer balance only."""
    sold = await client.create_order("BTC/USD", "market", "sell", "0.01", None, {"client_order_id": "my-own"})
    assert sold["clientOrderId"] == "my-own"
    again = await client.create_order("BTC/USD", "market", "sell", "0.01", None, {"client_order_id": "my-own"})
    assert again["id"] == sold["id"]
    report = await client.fetch_order(sold["id"])
    assert (report["status"], Decimal(report["filled"])) == ("closed", Decimal("0.01"))
    bought = await client.create_market_buy_order_with_cost("BTC/USD", "100")
    cost = await client.fetch_order(bought["id"])
    assert Decimal("99.9") < Decimal(cost["cost"]) + Decimal(cost["fee"]["cost"]) <= 100
    resting = await client.create_order("BTC/USD", "limit", "buy", "0.1", "30000")
    assert [order["id"] for order in await client.fetch_open_orders("BTC/USD")] == [resting["id"]]
    assert Decimal((await client.fetch_balance({"v3": True}))["USD"]["used"]) == 3_018
    assert Decimal((await client.fetch_balance())["USD"]["used"]) == 0
    await client.cancel_order(resting["id"])
    assert (await client.fetch_order(resting["id"]))["status"] == "canceled"
    assert [order["id"] for order in await client.fetch_canceled_orders()] == [resting["id"]]
    assert {trade["order"] for trade in await client.fetch_my_trades("BTC/USD")} == {sold["id"], bought["id"]}


async def test_a_resting_order_is_filled_once_the_price_comes(client: Any, paper: PaperServer) -> None:
    """As maker, at its own price and the lower fee."""
    resting = await client.create_order("BTC/USD", "limit", "buy", "0.1", "49000", {"postOnly": True})
    paper.pin_price("BTC/USD", "48000")
    report = await client.fetch_order(resting["id"])
    assert (report["status"], Decimal(report["average"])) == ("closed", Decimal(49_000))
    assert Decimal(report["fee"]["cost"]) == Decimal(4900) * Decimal("0.004")


async def test_errors_have_the_classes_that_ccxt_gives_coinbases(client: Any, paper: PaperServer) -> None:
    """Money, key, limits, and the broker's own trouble."""
    with pytest.raises(ccxt.InsufficientFunds):
        await client.create_order("BTC/USD", "market", "sell", "5")
    paper.fault("rate_limit")
    with pytest.raises(ccxt.RateLimitExceeded):
        await client.fetch_orders()
    client.secret = paper.new_account(f"other-{next(_NUMBERS)}", {}).api_secret.get_secret_value()
    with pytest.raises(ccxt.AuthenticationError):
        await client.fetch_orders()
