"""`nija up --paper --broker …` copies the orders of a person to the followers at every broker.

One test runs for all brokers. A `Course` holds what differs: the person's orders, the expected fills and what may be
left. The person uses the usual client of each broker: alpaca-py for Alpaca, and unmodified ccxt for the others.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import ccxt  # type: ignore[import-untyped]
import pytest
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.trading.requests import MarketOrderRequest

from tests.end_to_end.conftest import FOLLOWERS, Running, running_system

Key = dict[str, str]


@dataclass(frozen=True)
class Course:
    """The orders of a person at one broker, and the expected result."""

    trade: Callable[[Key, str], None]
    """Places the orders with the master's second key at the URL of the paper broker."""
    fills: tuple[tuple[str, str], ...]
    """Symbol and side of every fill, sorted."""
    dust_below: Decimal = Decimal(0)
    """Positions below this quantity may be left.

    A fee in coins can have more digits than the lot, so a rest is unsellable.
    """
    nothing_left: bool = False
    """Whether no account may hold any coin or share at the broker afterwards."""


def sell_all(client: Any, quote: str, coins: tuple[str, ...], held: dict[str, Any]) -> None:
    """Sell the free quantity of each coin. It is less than the bought quantity if a fee was taken in the coin."""
    for coin in coins:
        symbol = f"{coin}/{quote}"
        client.create_order(symbol, "market", "sell", client.amount_to_precision(symbol, held[coin]))


def trade_at_kraken(key: Key, url: str) -> None:
    """Buy two coins by base quantity, sell a part of one, then sell everything."""
    client = ccxt.kraken({"apiKey": key["api_key"], "secret": key["api_secret"]})
    client.urls["api"] = {"public": url, "private": url}
    with contextlib.closing(client.session):
        client.create_order("BTC/USD", "market", "buy", "0.02")
        client.create_order("ETH/USD", "market", "buy", "2")
        client.create_order("ETH/USD", "market", "sell", "0.5")
        sell_all(client, "USD", ("BTC", "ETH"), client.fetch_balance()["free"])


def trade_at_coinbase(key: Key, url: str) -> None:
    """Buy one coin by cost and one by quantity, sell a part, then sell everything.

    The private key has several lines on its whole way from the environment to the token.
    """
    assert key["api_secret"].startswith("-----BEGIN EC PRIVATE KEY-----\n")
    client = ccxt.coinbase({"apiKey": key["api_key"], "secret": key["api_secret"]})
    client.urls["api"]["rest"] = url
    with contextlib.closing(client.session):
        client.create_market_buy_order_with_cost("BTC/USD", "5000")
        base_size = {"order_configuration": {"market_market_ioc": {"base_size": "2"}}, "cost": 1}
        client.create_order("ETH/USD", "market", "buy", "2", None, base_size)
        client.create_order("ETH/USD", "market", "sell", "0.5")
        sell_all(client, "USD", ("BTC", "ETH"), client.fetch_balance({"v3": True})["free"])


def trade_at_okx(key: Key, url: str) -> None:
    """Buy by base and by quote quantity, then sell everything.

    The fee of a buy is taken in the coin and has more digits than the lot. Neither the master nor a follower can sell
    to the last digit, and the position is closed nevertheless.
    """
    client = ccxt.okx({"apiKey": key["api_key"], "secret": key["api_secret"], "password": key["passphrase"]})
    client.urls["api"]["rest"] = url
    with contextlib.closing(client.session):
        client.create_order("BTC/USDT", "market", "buy", "0.02")
        client.create_market_buy_order_with_cost("SOL/USDT", "750.1234")
        sell_all(client, "USDT", ("BTC", "SOL"), client.fetch_balance()["free"])


def trade_at_binance(key: Key, url: str) -> None:
    """Buy two coins, one of them new to nija, and sell everything. The fee of a buy is taken in the coin."""
    spot_only = {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False, "fetchMargins": False}
    client = ccxt.binance({"apiKey": key["api_key"], "secret": key["api_secret"], "options": spot_only})
    client.urls["api"] |= {"public": f"{url}/api/v3", "private": f"{url}/api/v3", "sapi": f"{url}/sapi/v1"}
    with contextlib.closing(client.session):
        client.create_order("BTC/USDT", "market", "buy", "0.02")
        client.create_order("SOL/USDT", "market", "buy", "5")
        sell_all(client, "USDT", ("BTC", "SOL"), client.fetch_balance()["free"])


def trade_at_alpaca(key: Key, url: str) -> None:
    """Buy coins by quantity and a stock by cost, then sell in part and in full. Fees are taken from the coins."""

    def market_order(symbol: str, side: OrderSide, **size: Any) -> MarketOrderRequest:
        in_force = TimeInForce.GTC if "/" in symbol else TimeInForce.DAY
        return MarketOrderRequest(symbol=symbol, side=side, time_in_force=in_force, **size)

    client = TradingClient(key["api_key"], key["api_secret"], url_override=url)
    with contextlib.closing(client._session):
        client.submit_order(market_order("BTC/USD", OrderSide.BUY, qty=0.2))
        client.submit_order(market_order("AAPL", OrderSide.BUY, notional=5_000))
        client.submit_order(market_order("BTC/USD", OrderSide.SELL, qty=0.05))
        for position in client.get_all_positions():
            symbol = "BTC/USD" if position.symbol == "BTCUSD" else position.symbol
            client.submit_order(market_order(symbol, OrderSide.SELL, qty=position.qty_available))


def bought_and_sold(*symbols: str) -> tuple[tuple[str, str], ...]:
    """The fills of one buy and one sale of each symbol. A repeated symbol has one more sale."""
    return tuple(sorted([*((symbol, "buy") for symbol in set(symbols)), *((symbol, "sell") for symbol in symbols)]))


COURSES = {
    "kraken": Course(trade_at_kraken, bought_and_sold("BTC/USD", "ETH/USD", "ETH/USD"), nothing_left=True),
    "coinbase": Course(trade_at_coinbase, bought_and_sold("BTC/USD", "ETH/USD", "ETH/USD"), nothing_left=True),
    "okx": Course(trade_at_okx, bought_and_sold("BTC/USDT", "SOL/USDT"), dust_below=Decimal("0.000001")),
    "binance": Course(trade_at_binance, bought_and_sold("BTC/USDT", "SOL/USDT")),
    "alpaca": Course(trade_at_alpaca, bought_and_sold("AAPL/USD", "BTC/USD", "BTC/USD"), nothing_left=True),
}
IN_EVERY_RUN = ("alpaca",)
"""The broker with another library than ccxt. `nija demo` and the contract suite cover the others more often."""


@pytest.fixture(params=[pytest.param(name, marks=() if name in IN_EVERY_RUN else pytest.mark.long) for name in COURSES])
def broker(request: pytest.FixtureRequest) -> str:
    """The only broker of the system."""
    return str(request.param)


@pytest.fixture
def system(tmp_path: Path, broker: str) -> Iterator[Running]:
    """A system that trades at the paper broker only and must end with exit code 0."""
    with running_system(tmp_path, broker) as started:
        yield started


def test_a_persons_orders_are_copied_and_sold_again(system: Running, broker: str) -> None:
    """Followers copy each fill and hold nothing after the last sale. No log contains a secret."""
    course = COURSES[broker]
    url = system.variables()[f"{broker.upper()}_BASE_URL"]
    course.trade(system.person_key(broker), url)
    fills = system.wait_settled(len(course.fills))
    assert sorted((fill["symbol"], fill["side"]) for fill in fills) == list(course.fills)
    quantities = [Decimal(each["quantity"]) for each in positions(system)]
    assert len(quantities) == len(FOLLOWERS) * len({symbol for symbol, _ in course.fills})
    assert all(quantity == 0 or abs(quantity) < course.dust_below for quantity in quantities), quantities
    if course.nothing_left:
        left = {name: coins_left(url, name) for name in ("master", *FOLLOWERS)}
        assert left == {name: dict.fromkeys(coins, Decimal(0)) for name, coins in left.items()}
    reported = "".join(file.read_text() for file in (system.folder / ".nija" / "logs").iterdir())
    assert [secret for secret in secrets(system, broker) if secret in reported] == []
    assert "PRIVATE KEY" not in reported


def positions(system: Running) -> list[dict[str, Any]]:
    """The copied positions of the followers, including closed ones."""
    found: list[dict[str, Any]] = json.loads(system.command("positions", "--all", "--json").stdout)
    return found


def coins_left(url: str, name: str) -> dict[str, Decimal]:
    """The quantity of each currency but dollars that an account holds, as the broker itself reports it."""
    with urlopen(f"{url}/paper/accounts/{name}") as reply:  # noqa: S310  # our own server
        balances = json.load(reply)["balances"]
    return {currency: Decimal(held["total"]) for currency, held in balances.items() if currency != "USD"}


def secrets(system: Running, broker: str) -> list[str]:
    """Every line of every secret and passphrase of the person, the master and the followers."""
    variables = json.loads((system.folder / ".nija" / "paper" / f"{broker}-keys.json").read_text())
    texts = [text for name, text in variables.items() if name.endswith(("_SECRET", "_PASSPHRASE"))]
    assert len(texts) == (1 + len(FOLLOWERS)) * (2 if broker == "okx" else 1)
    texts += [text for part, text in system.person_key(broker).items() if part != "api_key"]
    return [line for text in texts for line in text.splitlines() if not line.startswith("-----")]
