"""Tests that every gateway reads the same candles of a market in the past, by the time of that market."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from services.backtest.against_live import as_shown
from services.backtest.candle_file import read_history
from shared.brokers.market_reader import MarketReader
from shared.brokers.port.connection import NonceSource
from shared.brokers.registry import connect
from shared.domain.market_data import Interval
from shared.exchange.clock import microseconds
from tests.contract.brokers import Terms
from tests.contract.paper import PaperServer
from tests.support.candle_file import minutes_file
from tests.support.strategy import STARTS_AT

SINCE = STARTS_AT + timedelta(hours=25, minutes=10)
STANDS_AT = SINCE + timedelta(minutes=6)
WINDOW = 300


@pytest.fixture
def past(terms: Terms, tmp_path: Path) -> Iterator[PaperServer]:
    """A paper broker without limits, whose market stands six minutes after its beginning."""
    file = str(minutes_file(tmp_path))
    options = ("--candles", file, "--market-from", SINCE.isoformat(), "--no-rate-limits")
    server = PaperServer(terms.broker, tmp_path, *options)
    server.ask("POST", "market-clock", {"released": 0})
    server.ask("POST", "market-clock", {"wait_for": microseconds(STANDS_AT)})
    yield server
    server.stop()


async def test_a_window_of_the_past_is_that_of_the_backtest(
    terms: Terms, past: PaperServer, nonces: NonceSource, tmp_path: Path
) -> None:
    """300 closed candles of five minutes equal those that the backtest makes of the file, to the last digit of volume."""
    opened = connect(terms.broker, base_url=past.url, nonces=nonces, markets_key=past.new_account("a", {}))
    await opened.open()
    try:
        reader = opened.market_data
        assert isinstance(reader, MarketReader)
        reader.now = lambda: STANDS_AT
        read = await reader.candles(terms.symbol, Interval.FIVE_MINUTES, limit=WINDOW + 2)
        tick: Decimal = opened.instruments()[terms.symbol].price_tick
    finally:
        await opened.close()
    closed = [candle for candle in read if candle.is_closed][-WINDOW:]
    newest: datetime = SINCE + timedelta(minutes=5)
    history = as_shown(read_history(tmp_path / "candles.csv", until=newest), tick)
    assert len(closed) == WINDOW
    assert closed == list(history.candles[-WINDOW:])
    assert [candle.opened_at for candle in read if not candle.is_closed] == [newest]
