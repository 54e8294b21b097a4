"""Simulates a person with a key of their own, who places orders through the broker's ordinary client library."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from time import time
from typing import Any

import ccxt.async_support as ccxt
from alpaca.data.historical.crypto import CryptoHistoricalDataClient
from alpaca.data.requests import CryptoBarsRequest, CryptoLatestTradeRequest
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.trading.requests import LimitOrderRequest, MarketOrderRequest

from shared.domain.accounts.credentials import Credentials
from shared.domain.fill import Side
from shared.domain.identity import Broker
from tests.contract.brokers import terms_of

_CENT = Decimal("0.01")
_SMALLEST_COIN = Decimal("0.000000001")


Shown = tuple[int | Decimal, ...]
"""A candle: seconds since 1970, open, high, low, close, volume."""


class CcxtPerson:
    """Places orders through unmodified ccxt."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def limit_order(self, symbol: str, side: Side, quantity: str, price: str) -> str:
        """Place it; return the broker's id of the order."""
        order = await self._client.create_order(symbol, "limit", side.value, quantity, price)
        return str(order["id"])

    async def immediate_order(self, symbol: str, side: Side, quantity: str, price: str) -> tuple[Decimal, str | None]:
        """Place a limit order that does not wait; return what was filled of it, and its time in force as it is shown."""
        parameters = {"timeInForce": "IOC"}
        placed = await self._client.create_order(symbol, "limit", side.value, quantity, price, parameters)
        order = await self._client.fetch_order(placed["id"], symbol)
        return Decimal(order["filled"]), order["timeInForce"]

    async def last_price(self, symbol: str) -> Decimal:
        trades = await self._client.fetch_trades(symbol, limit=1)
        return Decimal(trades[-1]["price"])

    async def candles(self, symbol: str) -> list[Shown]:
        """The newest candles of five minutes, as the library shows them."""
        since = int(time() - 50 * 60) * 1_000
        rows = await self._client.fetch_ohlcv(symbol, "5m", since=since, limit=10)
        return [(row[0] // 1_000, *(Decimal(str(value)) for value in row[1:])) for row in rows]

    async def buy(self, symbol: str, cost: Decimal) -> None:
        """Buy at the market's price for about `cost`, in quote currency."""
        if self._client.id == "coinbase":  # it sizes market purchases by their cost only
            await self._client.create_market_buy_order_with_cost(symbol, str(cost.quantize(_CENT, ROUND_DOWN)))
            return
        price = Decimal((await self._client.fetch_ticker(symbol))["last"])
        quantity = self._client.amount_to_precision(symbol, f"{cost / price:f}")
        await self._client.create_order(symbol, "market", "buy", quantity)

    async def sell(self, symbol: str, share: Decimal) -> None:
        """Sell this share of what is held and free, at the market's price; nothing if nothing is held."""
        # Coinbase: the balances of the API that its other calls use.
        balance = await self._client.fetch_balance({"v3": True} if self._client.id == "coinbase" else {})
        held = Decimal(balance["free"].get(symbol.partition("/")[0]) or 0)
        if held > 0:
            quantity = self._client.amount_to_precision(symbol, f"{held * share:f}")
            await self._client.create_order(symbol, "market", "sell", quantity)


class AlpacaPerson:
    """Places orders through unmodified alpaca-py."""

    def __init__(self, client: TradingClient, data: CryptoHistoricalDataClient) -> None:
        self._client = client
        self._data = data

    async def limit_order(self, symbol: str, side: Side, quantity: str, price: str) -> str:
        """Place it; return the broker's id of the order."""
        request = LimitOrderRequest(
            symbol=symbol,
            qty=float(quantity),
            side=OrderSide(side.value),
            time_in_force=TimeInForce.GTC,
            limit_price=float(price),
        )
        order: Any = await asyncio.to_thread(self._client.submit_order, request)
        return str(order.id)

    async def immediate_order(self, symbol: str, side: Side, quantity: str, price: str) -> tuple[Decimal, str | None]:
        """Place a limit order that does not wait; return what was filled of it, and its time in force as it is shown."""
        request = LimitOrderRequest(
            symbol=symbol,
            qty=float(quantity),
            side=OrderSide(side.value),
            time_in_force=TimeInForce.IOC,
            limit_price=float(price),
        )
        placed: Any = await asyncio.to_thread(self._client.submit_order, request)
        order: Any = await asyncio.to_thread(self._client.get_order_by_id, placed.id)
        return Decimal(order.filled_qty), order.time_in_force.value.upper()

    async def last_price(self, symbol: str) -> Decimal:
        request = CryptoLatestTradeRequest(symbol_or_symbols=symbol)
        trades: Any = await asyncio.to_thread(self._data.get_crypto_latest_trade, request)
        return Decimal(str(trades[symbol].price))

    async def candles(self, symbol: str) -> list[Shown]:
        """The newest candles of five minutes, as the library shows them."""
        request = CryptoBarsRequest(
            symbol_or_symbols=symbol,
            timeframe=TimeFrame(5, TimeFrameUnit.Minute),
            start=datetime.now(UTC) - timedelta(minutes=50),
        )
        bars: Any = await asyncio.to_thread(self._data.get_crypto_bars, request)
        return [
            (int(b.timestamp.timestamp()), *(Decimal(str(v)) for v in (b.open, b.high, b.low, b.close, b.volume)))
            for b in bars[symbol]
        ]

    async def buy(self, symbol: str, cost: Decimal) -> None:
        """Buy at the market's price for about `cost`, in US dollars."""
        await self._market_order(symbol, Side.BUY, notional=float(cost.quantize(_CENT, ROUND_DOWN)))

    async def sell(self, symbol: str, share: Decimal) -> None:
        """Sell this share of what is held and free, at the market's price; nothing if nothing is held."""
        for position in await asyncio.to_thread(self._client.get_all_positions):
            if position.symbol == symbol.replace("/", ""):
                held = Decimal(position.qty_available)
                quantity = (held * share).quantize(_SMALLEST_COIN, ROUND_DOWN)
                await self._market_order(symbol, Side.SELL, qty=float(quantity))

    async def _market_order(self, symbol: str, side: Side, **size: float) -> None:
        request = MarketOrderRequest(symbol=symbol, side=OrderSide(side.value), time_in_force=TimeInForce.GTC, **size)
        await asyncio.to_thread(self._client.submit_order, request)


@asynccontextmanager
async def a_person(broker: Broker, url: str, key: Credentials) -> AsyncIterator[CcxtPerson | AlpacaPerson]:
    """With the key, at the paper broker's URL."""
    if broker is Broker.ALPACA:
        yield AlpacaPerson(
            TradingClient(key.api_key.get_secret_value(), key.api_secret.get_secret_value(), url_override=url),
            CryptoHistoricalDataClient(url_override=url),
        )
        return
    client: Any = getattr(ccxt, broker.value)(
        {
            "apiKey": key.api_key.get_secret_value(),
            "secret": key.api_secret.get_secret_value(),
            "password": key.passphrase.get_secret_value() if key.passphrase else "",
            "number": str,
            "enableRateLimit": False,
            "timeout_on_exit": 0,
            # Binance: spot only, and no request for the margin markets of currencies.
            "options": {"fetchMarkets": {"types": ["spot"]}, "fetchMargins": False, "fetchCurrencies": False},
        }
    )
    client.urls["api"] |= {name: url + path for name, path in terms_of(broker).ccxt_paths.items()}
    try:
        yield CcxtPerson(client)
    finally:
        await client.close()
