"""Tests a paper broker whose market is in the past, and a trader's clock that follows it over HTTP."""

import asyncio
import signal
import time
import urllib.error
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.strategy_trader.market_time import NoPaperMarket, PaperMarketTime
from shared.exchange.clock import microseconds
from tests.support.candle_file import minutes_file
from tests.support.strategy import STARTS_AT

SINCE = STARTS_AT + timedelta(hours=20)
UNTIL = SINCE + timedelta(hours=2)
FIVE = timedelta(minutes=5)
DEADLINE_SECONDS = 20


def options(folder: Path) -> tuple[str, ...]:
    """A market of two hours, and a journal."""
    span = ("--market-from", SINCE.isoformat(), "--market-until", UNTIL.isoformat())
    return ("--candles", str(minutes_file(folder)), *span, "--state", str(folder / "state"))


@pytest.fixture
def past(tmp_path: Path, run_paper: Any) -> Iterator[Any]:
    """A paper Kraken with a market in the past that was not released yet."""
    with run_paper(tmp_path, *options(tmp_path)) as paper:
        yield paper


def move(paper: Any, moment: datetime) -> Any:
    return paper.call("POST", "/paper/market-clock", {"wait_for": microseconds(moment)})


def release(paper: Any) -> None:
    orders = paper.call("GET", "/paper/market-clock")["orders"]
    paper.call("POST", "/paper/market-clock", {"released": orders})


async def test_candles_have_the_time_of_the_market_and_the_clock_that_of_the_machine(past: Any, connect: Any) -> None:
    """The newest candle of five minutes is the one in which the market stands."""
    release(past)
    move(past, SINCE + timedelta(minutes=37))
    client = connect(past)
    candles = await client.fetch_ohlcv("BTC/USD", "5m")
    assert candles[-1][0] == (SINCE + timedelta(minutes=35)).timestamp() * 1000
    assert abs(await client.fetch_time() - time.time() * 1000) < 5_000


async def test_an_order_lets_the_market_stand_until_it_is_released(past: Any, connect: Any) -> None:
    """The market has not moved meanwhile, although its trader waited."""
    release(past)
    name, keys = past.account({"USD": "1000"})
    await connect(past, keys[0]).create_order("BTC/USD", "market", "buy", 0.1)
    assert past.orders(name)[0]["status"] == "filled"
    shown = move(past, SINCE + FIVE)
    assert (shown["now"], shown["waits_for"]) == (microseconds(SINCE), microseconds(SINCE + FIVE))
    release(past)
    assert move(past, SINCE + FIVE)["now"] == microseconds(SINCE + FIVE)


async def test_a_killed_paper_broker_goes_on_where_its_market_stood(past: Any) -> None:
    """It has to be released again, because it does not know whether all copies are settled."""
    release(past)
    move(past, SINCE + FIVE)
    past.stop(signal.SIGKILL)
    past.start()
    assert move(past, SINCE + 2 * FIVE)["now"] == microseconds(SINCE + FIVE)
    release(past)
    assert move(past, SINCE + 2 * FIVE)["now"] == microseconds(SINCE + 2 * FIVE)


async def test_a_trader_waits_for_the_market_and_for_its_own_orders(past: Any) -> None:
    """It notes when the market moved, and returns at once where the market may move."""
    under_way: list[str] = ["an entry"]
    async with PaperMarketTime(past.url, lambda: under_way) as clock:
        assert clock.now() == SINCE
        waiting = asyncio.create_task(clock.wait_for(asyncio.Event(), SINCE + FIVE))
        release(past)
        await asyncio.sleep(0.5)
        assert not waiting.done()
        assert clock.now() == SINCE
        before = datetime.now(UTC)
        under_way.clear()
        await asyncio.wait_for(waiting, DEADLINE_SECONDS)
        assert clock.now() == SINCE + FIVE
        assert (clock.at(before), clock.at(datetime.now(UTC))) == (SINCE, SINCE + FIVE)


async def test_a_trader_that_is_to_stop_does_not_wait_for_the_market(past: Any) -> None:
    """The event ends the wait although the market stands."""
    stopping = asyncio.Event()
    async with PaperMarketTime(past.url, list) as clock:
        waiting = asyncio.create_task(clock.wait_for(stopping, SINCE + FIVE))
        await asyncio.sleep(0.3)
        stopping.set()
        await asyncio.wait_for(waiting, 2)
        assert clock.now() == SINCE


async def test_a_market_of_today_cannot_be_followed(paper: Any) -> None:
    """The trader's process ends with a text that names the setting."""
    with pytest.raises(NoPaperMarket, match="NIJA_PAPER_MARKET_CLOCK is on, but http://127.0.0.1:.* is no paper"):
        async with PaperMarketTime(paper.url, list):
            pass


def test_what_is_no_request_about_the_market_is_refused(past: Any, paper: Any) -> None:
    """400 with what would be right; 404 where the market has the time of the machine."""
    for document in ({}, {"wait_for": "noon"}, {"wait_for": 1, "released": 1}):
        with pytest.raises(urllib.error.HTTPError, match="400"):
            past.call("POST", "/paper/market-clock", document)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        paper.call("GET", "/paper/market-clock")


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (("--market-from", "2024-01-01T20:00"), "--market-from needs --candles, the file whose times it means"),
        (("--market-until", "2024-01-01T20:00"), "--market-until needs --market-from, where the market begins"),
        (("--market-from", "noon"), "'noon' is not a time such as 2022-01-04T00:00"),
    ],
)
def test_an_option_that_cannot_be_followed_is_named(spawn_paper: Any, chosen: tuple[str, ...], expected: str) -> None:
    """Exit code 2 and one line that says what would be right."""
    process = spawn_paper(*chosen)
    _, error = process.communicate(timeout=DEADLINE_SECONDS)
    assert (process.returncode, expected in error, "Traceback" in error) == (2, True, False)


def test_a_time_outside_the_file_is_refused(tmp_path: Path, spawn_paper: Any) -> None:
    """The text names what the file has."""
    file = str(minutes_file(tmp_path))
    process = spawn_paper("--candles", file, "--market-from", "2023-12-31")
    _, error = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 2
    assert "both in the file, 2024-01-01T00:02 to 2024-01-02T02:42 UTC" in error
