"""The paper Kraken serves market data that unmodified ccxt can read."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

DEADLINE_SECONDS = 20


async def test_markets_have_krakens_ids_lots_and_minimums(paper: Any, connect: Any) -> None:
    """More than a dozen pairs are listed, with everything that ccxt reads from AssetPairs."""
    markets = await connect(paper).load_markets()
    bitcoin = markets["BTC/USD"]
    assert len(markets) >= 13
    assert {"ETH/USD", "SOL/USD", "DOGE/USD"} <= set(markets)
    assert bitcoin["id"] == "XXBTZUSD"
    assert (bitcoin["info"]["base"], bitcoin["info"]["quote"], bitcoin["wsId"]) == ("XXBT", "ZUSD", "XBT/USD")
    assert (bitcoin["precision"]["amount"], bitcoin["precision"]["price"]) == (1e-8, 0.1)
    assert (bitcoin["limits"]["amount"]["min"], bitcoin["limits"]["cost"]["min"]) == (0.00005, 0.5)
    assert (bitcoin["taker"], bitcoin["maker"]) == (0.0026, 0.0016)


async def test_market_data_agree_with_each_other(paper: Any, connect: Any) -> None:
    """Ticker, tickers, order book and candles agree on the price."""
    client = connect(paper)
    ticker = await client.fetch_ticker("BTC/USD")
    tickers = await client.fetch_tickers(["BTC/USD", "SOL/USD"])
    book = await client.fetch_order_book("BTC/USD", 10)
    candles = await client.fetch_ohlcv("ETH/USD", "5m")
    assert ticker["last"] == 50_000
    assert ticker["bid"] < 50_000 < ticker["ask"]
    assert set(tickers) == {"BTC/USD", "SOL/USD"}
    assert (book["bids"][0][0], book["asks"][0][0]) == (ticker["bid"], ticker["ask"])
    assert len(book["asks"]) == 10
    assert len(candles) > 500
    assert {after[0] - before[0] for before, after in pairwise(candles)} == {300_000}
    assert all(low <= min(open_, close) <= max(open_, close) <= high for _, open_, high, low, close, _ in candles)


async def test_candles_begin_at_since(paper: Any, connect: Any) -> None:
    """With `since`, ccxt gets no candle from before that time."""
    client = connect(paper)
    candles = await client.fetch_ohlcv("ETH/USD", "1m")
    later = await client.fetch_ohlcv("ETH/USD", "1m", since=candles[-10][0])
    assert later[0][0] == candles[-10][0]


async def test_time_and_status_are_answered(paper: Any, connect: Any) -> None:
    """The server uses the clock of this machine."""
    client = connect(paper)
    assert abs(await client.fetch_time() - time.time() * 1000) < 5_000
    assert (await client.fetch_status())["status"] == "ok"


async def test_prices_follow_a_candle_file(tmp_path: Path, run_paper: Any, connect: Any) -> None:
    """BTC/USD follows the prices in the file, and the other pairs keep their seeded prices."""
    moments = [datetime(2022, 1, 1, tzinfo=UTC) + timedelta(minutes=number) for number in range(2_000)]
    rows = [f"{moment:%Y-%m-%dT%H:%M:%SZ},{p},{p},{p},{p},1" for p, moment in enumerate(moments, start=30_000)]
    path = tmp_path / "candles.csv"
    path.write_text("\n".join(("timestamp_utc,open,high,low,close,quote_volume", *rows)) + "\n")
    with run_paper(tmp_path, "--candles", str(path), "--candle-seconds", "0.01") as paper:
        client = connect(paper)
        first = (await client.fetch_ticker("BTC/USD"))["last"]
        assert 30_000 <= first < 32_000
        until = time.monotonic() + DEADLINE_SECONDS
        # At the end of the file, the prices begin again with the first one.
        while (await client.fetch_ticker("BTC/USD"))["last"] == first:
            assert time.monotonic() < until
            await asyncio.sleep(0.5)
        assert (await client.fetch_ticker("ETH/USD"))["last"] < 5_000
