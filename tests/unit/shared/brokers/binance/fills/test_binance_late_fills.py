"""Tests that no fill is lost that the search finds late, after an absence of the reader or an outage of Binance."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from shared.brokers.binance import fill_search
from shared.brokers.binance.account import BinanceAccount
from shared.brokers.errors import OutcomeUnknown
from tests.unit.shared.brokers.binance.fills.conftest import Exchange, milliseconds


async def test_a_sale_during_a_long_absence_is_found_although_its_pair_comes_late(
    exchange: Exchange, account: BinanceAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader continues from the newest fill at once. Pairs that still wait are read from the old start."""
    monkeypatch.setattr(fill_search, "LIKELY_AT_MOST", 1)
    monkeypatch.setattr(fill_search, "SYMBOLS_AT_ONCE", 1)
    monkeypatch.setattr(fill_search, "SYMBOLS_A_SECOND", 1_000_000.0)
    now = datetime.now(UTC)
    exchange.balances["XRP"] = Decimal(10)
    exchange.trade("XRP", "USDT", "sell", "10", "0.5", time=milliseconds(now - timedelta(hours=4)))
    exchange.trade("BTC", "USDT", "buy", "0.01", "50000", time=milliseconds(now))
    assert [fill.symbol for fill in await account.fills_since(now - timedelta(hours=5))] == ["BTC/USDT"]
    symbols: set[str] = set()
    for _ in range(8):
        symbols |= {fill.symbol for fill in await account.fills_since(now - timedelta(minutes=5))}
    assert symbols == {"BTC/USDT", "XRP/USDT"}
    assert not account.is_searching


async def test_a_late_fill_is_told_until_a_ledger_that_was_away_can_record_it(
    exchange: Exchange, account: BinanceAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A returned fill is not yet recorded. If the database was down, the reader asks again from after the fill."""
    clock = [1_000.0]
    monkeypatch.setattr(fill_search, "monotonic", lambda: clock[0])
    monkeypatch.setattr(fill_search, "LIKELY_AT_MOST", 1)
    monkeypatch.setattr(fill_search, "SYMBOLS_AT_ONCE", 1)
    now = datetime.now(UTC)
    since = now - timedelta(minutes=5)
    exchange.balances["XRP"] = Decimal(10)
    exchange.trade("XRP", "USDT", "sell", "10", "0.5", time=milliseconds(now - timedelta(minutes=10)))
    exchange.trade("BTC", "USDT", "buy", "0.01", "50000", time=milliseconds(now))
    await account.fills_since(now - timedelta(minutes=20))
    symbols: set[str] = set()
    while "XRP/USDT" not in symbols and clock[0] < 1_060:
        clock[0] += 1
        symbols = {fill.symbol for fill in await account.fills_since(since)}
    clock[0] += 600
    assert {fill.symbol for fill in await account.fills_since(since)} == {"BTC/USDT", "XRP/USDT"}


async def test_what_was_traded_while_binance_could_not_be_asked_is_found(
    exchange: Exchange, account: BinanceAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search starts at the last reading without an unexplained difference, not at the present."""
    monkeypatch.setattr(fill_search, "OVERLAP", timedelta(seconds=0.1))
    since = datetime.now(UTC) - timedelta(minutes=1)
    for _ in range(2):
        assert await account.fills_since(since) == []
    kept = exchange.server.answers.pop("GET account")
    await asyncio.sleep(0.2)
    exchange.trade("BTC", "USDT", "sell", "0.4", "50000")
    with pytest.raises(OutcomeUnknown):
        await account.fills_since(since)
    await asyncio.sleep(0.4)
    exchange.server.answers["GET account"] = kept
    assert [fill.symbol for fill in await account.fills_since(since)] == ["BTC/USDT"]


async def test_a_reader_who_goes_on_to_the_newest_fill_after_an_outage_leaves_no_older_one(
    exchange: Exchange, account: BinanceAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two pairs were traded during the outage. One is read at once, the other later and from the same start."""
    for name in ("OVERLAP", "KEPT"):
        monkeypatch.setattr(fill_search, name, timedelta(seconds=0.05))
    monkeypatch.setattr(fill_search, "LIKELY_AT_MOST", 1)
    monkeypatch.setattr(fill_search, "LIKELY_SECONDS", 0.0)
    since = datetime.now(UTC) - timedelta(minutes=1)
    exchange.balances["XRP"] = Decimal(10)
    for _ in range(2):
        assert await account.fills_since(since) == []
    monkeypatch.setattr(fill_search, "SYMBOLS_AT_ONCE", 1)
    monkeypatch.setattr(fill_search, "SYMBOLS_A_SECOND", 1_000_000.0)
    await asyncio.sleep(0.2)
    exchange.trade("XRP", "USDT", "sell", "10", "0.5")
    await asyncio.sleep(0.4)
    exchange.trade("BTC", "USDT", "sell", "0.4", "50000")
    (newest,) = await account.fills_since(since)
    symbols = {newest.symbol}
    for _ in range(12):
        symbols |= {fill.symbol for fill in await account.fills_since(newest.executed_at)}
    assert symbols == {"BTC/USDT", "XRP/USDT"}
