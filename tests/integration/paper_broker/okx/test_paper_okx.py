"""The paper OKX runs as a separate process and answers unmodified ccxt over HTTP as OKX does."""

import time
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from itertools import count
from typing import Any

import ccxt.async_support as ccxt
import pytest

from shared.domain.identity import Broker
from tests.contract.paper import PaperServer

SYMBOL = "BTC/USDT"
_NAMES = count(1)


@pytest.fixture(scope="module")
def shared_paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaperServer]:
    """One server for all tests. Each test has its own accounts."""
    server = PaperServer(Broker.OKX, tmp_path_factory.mktemp("paper"))
    yield server
    server.stop()


@pytest.fixture
def paper(shared_paper: PaperServer) -> Iterator[PaperServer]:
    """The server with bitcoin at 50,000 and without faults."""
    shared_paper.pause()
    shared_paper.pin_price(SYMBOL, "50000")
    yield shared_paper
    shared_paper.ask("DELETE", "faults")


class Person:
    """An account and a ccxt client for it."""

    def __init__(self, paper: PaperServer, balances: dict[str, str]) -> None:
        self.name = f"person-{next(_NAMES)}"
        self.paper = paper
        key = paper.new_account(self.name, balances)
        assert key.passphrase is not None
        self.client: Any = ccxt.okx(
            {
                "apiKey": key.api_key.get_secret_value(),
                "secret": key.api_secret.get_secret_value(),
                "password": key.passphrase.get_secret_value(),
                "number": str,
                "enableRateLimit": False,
                "timeout_on_exit": 0,
            }
        )
        self.client.urls["api"]["rest"] = paper.url

    def logged(self) -> list[dict[str, Any]]:
        """The account's orders in the server's own log."""
        return self.paper.orders_of(self.name)


@pytest.fixture
async def person(paper: PaperServer) -> AsyncIterator[Person]:
    """A person with 10,000 USDT and half a bitcoin."""
    person = Person(paper, {"USDT": "10000", "BTC": "0.5"})
    yield person
    await person.client.close()


async def test_markets_and_market_data(person: Person) -> None:
    """Markets, tickers, order book, time and status have the values that ccxt expects."""
    markets = await person.client.load_markets()
    precision = markets[SYMBOL]["precision"]
    assert (precision["amount"], precision["price"]) == ("0.00000001", "0.1")
    assert (await person.client.fetch_ticker(SYMBOL))["last"] == "50000"
    tickers = await person.client.fetch_tickers([SYMBOL, "ETH/USDT"])
    assert set(tickers) == {SYMBOL, "ETH/USDT"}
    book = await person.client.fetch_order_book(SYMBOL, 20)
    assert len(book["bids"]) == len(book["asks"]) == 20
    assert Decimal(book["bids"][0][0]) < 50_000 < Decimal(book["asks"][0][0])
    assert abs(await person.client.fetch_time() - time.time() * 1000) < 5_000
    assert (await person.client.fetch_status())["status"] == "ok"


@pytest.mark.parametrize(("timeframe", "seconds"), [("1m", 60), ("5m", 300), ("1h", 3_600)])
async def test_candles_are_whole_and_in_order(person: Person, timeframe: str, seconds: int) -> None:
    """Each period has one candle, and `since` and `limit` work as ccxt uses them."""
    candles = await person.client.fetch_ohlcv(SYMBOL, timeframe, limit=10)
    starts = [candle[0] for candle in candles]
    assert starts == [starts[0] + number * seconds * 1_000 for number in range(10)]
    since = await person.client.fetch_ohlcv(SYMBOL, timeframe, since=starts[5])
    assert [candle[0] for candle in since][:5] == starts[5:]
    for _, opened, high, low, closed, _ in candles:
        assert Decimal(low) <= min(Decimal(opened), Decimal(closed))
        assert Decimal(high) >= max(Decimal(opened), Decimal(closed))


async def test_an_order_by_quote_spends_what_was_said(person: Person) -> None:
    """ccxt's own call spends the given cost, and the fee is taken from the coin."""
    placed = await person.client.create_market_buy_order_with_cost(SYMBOL, "500")
    order = await person.client.fetch_order(placed["id"], SYMBOL)
    assert (order["status"], order["info"]["tgtCcy"]) == ("closed", "quote_ccy")
    assert Decimal(499) < Decimal(order["cost"]) <= Decimal(500)
    assert order["fee"]["currency"] == "BTC"
    balance = await person.client.fetch_balance()
    assert Decimal(balance["BTC"]["total"]) == Decimal("0.5") + Decimal(order["filled"]) - Decimal(order["fee"]["cost"])


async def test_too_large_a_market_order_is_made_smaller_unless_that_is_forbidden(person: Person) -> None:
    """OKX reduces such an order without notice, which is why the gateway sends `banAmend`."""
    with pytest.raises(ccxt.InsufficientFunds):
        await person.client.create_order(SYMBOL, "market", "sell", "0.9", None, {"banAmend": True})
    assert person.logged() == []
    await person.client.create_order(SYMBOL, "market", "sell", "0.9")
    assert person.logged()[-1]["filled"] == "0.5"
    await person.client.create_order(SYMBOL, "market", "buy", "5")
    assert 0 < Decimal(person.logged()[-1]["filled"]) < Decimal("0.8")


async def test_a_limit_order_rests_until_the_price_is_there(person: Person) -> None:
    """The order holds money and is listed. It is filled as maker and is in the history afterwards."""
    placed = await person.client.create_order(SYMBOL, "limit", "buy", "0.1", "49000", {"clientOrderId": "resting"})
    assert [order["id"] for order in await person.client.fetch_open_orders(SYMBOL)] == [placed["id"]]
    balance = await person.client.fetch_balance()
    assert (balance["USDT"]["free"], balance["USDT"]["total"]) == ("5100", "10000")
    person.paper.pin_price(SYMBOL, "48000")
    order = await person.client.fetch_order(None, SYMBOL, {"clientOrderId": "resting"})
    assert (order["status"], order["filled"], order["average"]) == ("closed", "0.1", "49000")
    assert Decimal(order["fee"]["cost"]) == Decimal("0.1") * Decimal("0.001")
    (trade,) = await person.client.fetch_my_trades(SYMBOL)
    assert (trade["takerOrMaker"], trade["order"]) == ("maker", placed["id"])
    assert [each["id"] for each in await person.client.fetch_closed_orders(SYMBOL)] == [placed["id"]]
    assert await person.client.fetch_open_orders(SYMBOL) == []


async def test_an_id_is_taken_as_long_as_its_order_is_open(person: Person) -> None:
    """A repeated id is refused with code 51016 while its order is open.

    Later the newest order of that id is returned.
    """
    named = {"clientOrderId": "same"}
    first = await person.client.create_order(SYMBOL, "limit", "buy", "0.1", "49000", named)
    with pytest.raises(ccxt.InvalidOrder, match="51016"):
        await person.client.create_order(SYMBOL, "market", "buy", "0.01", None, named)
    await person.client.cancel_order(first["id"], SYMBOL)
    with pytest.raises(ccxt.OrderNotFound, match="51400"):
        await person.client.cancel_order(first["id"], SYMBOL)
    assert [order["id"] for order in await person.client.fetch_canceled_orders(SYMBOL)] == [first["id"]]
    second = await person.client.create_order(SYMBOL, "market", "buy", "0.01", None, named)
    assert (await person.client.fetch_order(None, SYMBOL, named))["id"] == second["id"]


async def test_a_batch_tells_each_order_apart(person: Person) -> None:
    """One order is placed and one is refused. The code of the batch is 2, which ccxt does not treat as an error."""
    entry = {"instId": "BTC-USDT", "tdMode": "cash", "side": "buy", "ordType": "market", "tgtCcy": "base_ccy"}
    reply = await person.client.private_post_trade_batch_orders(
        [{**entry, "sz": "0.01", "clOrdId": "a"}, {**entry, "sz": "0.000001", "clOrdId": "b"}]
    )
    assert reply["code"] == "2"
    assert [(each["clOrdId"], each["sCode"]) for each in reply["data"]] == [("a", "0"), ("b", "51020")]
    assert len(person.logged()) == 1


async def test_one_order_without_a_list_is_taken_too(person: Person) -> None:
    """The call `trade/order`, which ccxt uses if so configured, places an order."""
    person.client.options["createOrder"] = "privatePostTradeOrder"
    placed = await person.client.create_order(SYMBOL, "market", "buy", "0.01", None, {"clientOrderId": "single"})
    assert person.logged()[0]["txid"] == placed["id"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"apiKey": "unknown"}, "50119"),
        ({"secret": "wrong"}, "50113"),
        ({"password": "wrong"}, "50105"),
    ],
)
async def test_each_part_of_a_key_is_checked(person: Person, change: dict[str, str], code: str) -> None:
    """A wrong key, secret or passphrase is each refused with its own code."""
    for name, text in change.items():
        setattr(person.client, name, text)
    with pytest.raises(ccxt.BaseError, match=code):
        await person.client.private_get_account_balance()


@pytest.mark.parametrize("minutes", [-1, 1])
async def test_a_timestamp_that_is_half_a_minute_off_is_refused(person: Person, minutes: int) -> None:
    """A timestamp that is too early or too late is refused with code 50102."""
    person.client.options["timeDifference"] = minutes * 60_000
    with pytest.raises(ccxt.InvalidNonce, match="50102"):
        await person.client.private_get_account_balance()


async def test_an_order_is_not_placed_after_its_expiry(person: Person) -> None:
    """The header `expTime` sets the expiry. A request after it is refused, and a request before it is executed."""
    await person.client.load_markets()
    person.client.headers = {"expTime": str(int(time.time() * 1000) - 1_000)}
    with pytest.raises(ccxt.ExchangeError, match="50036"):
        await person.client.create_order(SYMBOL, "market", "buy", "0.01")
    assert person.logged() == []
    person.client.headers = {"expTime": str(int(time.time() * 1000) + 5_000)}
    await person.client.create_order(SYMBOL, "market", "buy", "0.01")
    assert len(person.logged()) == 1


async def test_fills_and_orders_are_cut_into_pages_by_id(person: Person) -> None:
    """The parameters `after`, `before`, `begin` and `limit` select pages."""
    for _ in range(5):
        await person.client.create_order(SYMBOL, "market", "buy", "0.001")
    for call, name, extra in (
        (person.client.private_get_trade_fills_history, "billId", {}),
        (person.client.private_get_trade_orders_history, "ordId", {"instType": "SPOT"}),
    ):
        everything = [entry[name] for entry in (await call(extra))["data"]]
        assert everything == sorted(everything, key=int, reverse=True)
        assert len(everything) == 5
        page = (await call({**extra, "limit": "2"}))["data"]
        assert [entry[name] for entry in page] == everything[:2]
        older = (await call({**extra, "after": everything[1]}))["data"]
        assert [entry[name] for entry in older] == everything[2:]
        newer = (await call({**extra, "before": everything[1]}))["data"]
        assert [entry[name] for entry in newer] == everything[:1]
        assert (await call({**extra, "begin": str(int(time.time() * 1000) + 1_000)}))["data"] == []


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("rate_limit", ccxt.RateLimitExceeded),
        ("invalid_nonce", ccxt.InvalidNonce),
        ("maintenance", ccxt.OnMaintenance),
    ],
)
async def test_faults_have_okxs_own_shapes(person: Person, kind: str, error: type[Exception]) -> None:
    """ccxt recognizes the faults by OKX's codes, and the next request succeeds."""
    await person.client.load_markets()
    person.paper.fault(kind, account=person.name, endpoint="account/balance")
    with pytest.raises(error):
        await person.client.fetch_balance()
    assert await person.client.fetch_balance()


async def test_fees_and_permissions_are_told(person: Person) -> None:
    """The fees are 0.15% and 0.10%, and the key may read and trade."""
    fee = await person.client.fetch_trading_fee(SYMBOL)
    assert (fee["taker"], fee["maker"]) == ("0.0015", "0.001")
    (config,) = (await person.client.private_get_account_config())["data"]
    assert config["perm"] == "read_only,trade"
