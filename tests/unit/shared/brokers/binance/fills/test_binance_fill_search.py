"""Tests that the gateway finds the symbols that were traded, although Binance lists fills for one symbol at a time."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from redis.asyncio import Redis

from shared.brokers.binance import fill_search
from shared.brokers.binance.account import BinanceAccount
from shared.brokers.guarded import Guard, GuardedAccount
from shared.brokers.port.connection import BrokerConnection
from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.messaging.circuit import RedisCircuit
from shared.messaging.keys import BrokerKeys
from shared.messaging.scripts import ScriptRunner
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.binance.conftest import SYMBOLS, listed
from tests.unit.shared.brokers.binance.fills.conftest import Exchange


async def test_nothing_is_asked_while_balances_stand_still(exchange: Exchange, account: BinanceAccount) -> None:
    """A poll then costs one reading of the account, with a weight of 20."""
    since = datetime.now(UTC) - timedelta(minutes=1)
    exchange.trade("BTC", "USDT", "buy", "0.01", "50000")
    first = await account.fills_since(since)
    assert len(first) == 1
    exchange.asked()
    assert await account.fills_since(since) == first
    assert exchange.asked() == {}


async def test_a_fill_costs_the_question_for_its_own_symbol(exchange: Exchange, account: BinanceAccount) -> None:
    """Both balances of the pair changed, so the pair is read, and its trades explain the change."""
    since = datetime.now(UTC) - timedelta(minutes=1)
    await account.fills_since(since)
    exchange.asked()
    exchange.trade("ETH", "USDT", "buy", "1", "3000")
    assert [fill.symbol for fill in await account.fills_since(since)] == ["ETH/USDT"]
    assert exchange.asked().keys() == {"ETHUSDT"}
    await account.fills_since(since)
    assert exchange.asked() == {}


async def test_a_round_trip_between_two_polls_is_not_lost(exchange: Exchange, account: BinanceAccount) -> None:
    """A coin that was never held is bought and fully sold. Only the balance of dollars shows a difference."""
    since = datetime.now(UTC) - timedelta(minutes=1)
    assert await account.fills_since(since) == []
    exchange.trade("BNB", "USDT", "buy", "1", "300", fee_in="USDT")
    exchange.trade("BNB", "USDT", "sell", "1", "301", fee_in="USDT")
    assert exchange.balances["BNB"] == 0
    await account.fills_since(since)
    fills = await account.fills_since(since)
    assert [(fill.symbol, fill.side) for fill in fills] == [("BNB/USDT", Side.BUY), ("BNB/USDT", Side.SELL)]


async def test_a_round_trip_before_the_first_call_is_not_lost(exchange: Exchange, account: BinanceAccount) -> None:
    """This is the case after a restart. All pairs that connect to a held asset are read, also through another coin."""
    since = datetime.now(UTC) - timedelta(minutes=1)
    exchange.trade("ETH", "USDT", "buy", "1", "3000", fee_in="USDT")
    exchange.trade("ETH", "BTC", "sell", "1", "0.06", fee_in="USDT")
    exchange.trade("USDT", "TRY", "sell", "100", "40", fee_in="USDT")
    exchange.trade("USDT", "TRY", "buy", "100", "40", fee_in="USDT")
    fills = await account.fills_since(since)
    assert [fill.symbol for fill in fills] == ["ETH/USDT", "ETH/BTC", "USDT/TRY", "USDT/TRY"]


async def test_a_fill_that_shows_later_than_its_balances_is_found(exchange: Exchange, account: BinanceAccount) -> None:
    """An unexplained difference is searched at every call."""
    since = datetime.now(UTC) - timedelta(minutes=1)
    await account.fills_since(since)
    trade = exchange.trade("BTC", "USDT", "buy", "0.01", "50000")
    exchange.hidden.add(trade["id"])
    for _ in range(3):
        assert await account.fills_since(since) == []
    exchange.hidden.clear()
    assert [fill.symbol for fill in await account.fills_since(since)] == ["BTC/USDT"]


async def test_a_fee_in_a_third_coin_is_explained_too(exchange: Exchange, account: BinanceAccount) -> None:
    """The fee in BNB explains the difference, so no other pair is read."""
    exchange.balances["BNB"] = Decimal(1)
    since = datetime.now(UTC) - timedelta(minutes=1)
    await account.fills_since(since)
    exchange.trade("BTC", "USDT", "buy", "0.01", "50000", fee_in="BNB")
    (fill,) = await account.fills_since(since)
    assert (fill.fee, fill.fee_currency) == (Decimal("0.001"), "BNB")
    exchange.asked()
    await account.fills_since(since)
    assert exchange.asked() == {}


async def test_a_deposit_is_searched_once_and_then_believed(
    exchange: Exchange, account: BinanceAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All pairs of the currency are read and no fill is invented. After that, the difference is accepted."""
    monkeypatch.setattr(fill_search, "WRITE_OFF_SECONDS", 0.0)
    since = datetime.now(UTC) - timedelta(minutes=1)
    await account.fills_since(since)
    exchange.asked()
    exchange.balances["USDT"] += 500
    for _ in range(4):
        assert await account.fills_since(since) == []
    assert {"BTCUSDT", "ETHUSDT", "BNBUSDT", "USDTTRY", "XRPUSDT"} <= exchange.asked().keys()
    assert await account.fills_since(since) == []
    assert exchange.asked() == {}


async def test_a_deposit_to_an_account_with_many_coins_ends_too(
    exchange: Exchange, account: BinanceAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Likely pairs that exceed the allowance of each call do not keep other pairs from their turn forever."""
    clock = [1_000.0]
    monkeypatch.setattr(fill_search, "monotonic", lambda: clock[0])
    monkeypatch.setattr(fill_search, "SYMBOLS_AT_ONCE", 1)
    exchange.balances |= {"ETH": Decimal(1), "BNB": Decimal(1), "XRP": Decimal(1)}
    since = datetime.now(UTC) - timedelta(minutes=1)
    await account.fills_since(since)
    for _ in range(60):
        clock[0] += 1
        await account.fills_since(since)
    exchange.balances["USDT"] += 500
    exchange.asked()
    for _ in range(120):
        clock[0] += 1
        await account.fills_since(since)
    assert exchange.asked()["USDTTRY"] == 1
    assert await account.fills_since(since) == []
    assert exchange.asked() == {}


async def test_a_search_keeps_within_its_allowance(
    exchange: Exchange, account: BinanceAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pairs beyond the allowance are read in the next calls. A fill that is found there is returned late."""
    monkeypatch.setattr(fill_search, "LIKELY_AT_MOST", 1)
    monkeypatch.setattr(fill_search, "SYMBOLS_AT_ONCE", 2)
    monkeypatch.setattr(fill_search, "SYMBOLS_A_SECOND", 1_000_000.0)
    since = datetime.now(UTC) - timedelta(minutes=1)
    exchange.trade("BTC", "USDT", "buy", "0.01", "50000")
    exchange.trade("XRP", "USDT", "buy", "10", "0.5", fee_in="USDT")
    exchange.trade("XRP", "USDT", "sell", "10", "0.6", fee_in="USDT")
    counts, found = [], []
    for _ in range(6):
        found = await account.fills_since(since)
        counts.append(exchange.asked().total())
    later = datetime.now(UTC) + timedelta(seconds=1)
    assert {fill.symbol for fill in found} == {"BTC/USDT", "XRP/USDT"}
    assert max(counts[1:]) <= 2 * 2  # Each reading of a pair with trades ends with an empty page.
    assert await account.fills_since(later) == []


async def test_an_account_says_that_it_searches_also_through_the_circuit(
    exchange: Exchange, account: BinanceAccount, monkeypatch: pytest.MonkeyPatch, fresh_redis_url: str
) -> None:
    """It searches while pairs wait for their first reading, and while a change of the balances is unexplained."""
    monkeypatch.setattr(fill_search, "LIKELY_AT_MOST", 1)
    monkeypatch.setattr(fill_search, "SYMBOLS_AT_ONCE", 2)
    monkeypatch.setattr(fill_search, "SYMBOLS_A_SECOND", 1_000_000.0)
    since = datetime.now(UTC) - timedelta(minutes=1)
    async with Redis.from_url(fresh_redis_url) as redis:
        guard = Guard(RedisCircuit(ScriptRunner(redis), BrokerKeys(Broker.BINANCE)))
        guarded = GuardedAccount(account, guard, "k1")
        searching = [guarded.is_searching]
        for _ in range(8):
            await guarded.fills_since(since)
            searching.append(guarded.is_searching)
        exchange.balances["USDT"] += 500
        await guarded.fills_since(since)
        searching.append(guarded.is_searching)
    assert searching[:2] == [False, True]
    assert searching[-2:] == [False, True]


async def test_markets_that_are_loaded_again_start_no_new_search(
    binance: RecordingServer, exchange: Exchange, account: BinanceAccount, connection: BrokerConnection
) -> None:
    """The account stays in use. Only pairs that are newly listed are read, from where the first search began."""
    since = datetime.now(UTC) - timedelta(minutes=1)
    exchange.trade("BTC", "USDT", "buy", "0.01", "50000")
    assert [fill.symbol for fill in await account.fills_since(since)] == ["BTC/USDT"]
    exchange.trade("NEW", "USDT", "buy", "10", "2")
    exchange.asked()
    binance.answers["GET exchangeInfo"] = {"symbols": [*SYMBOLS, listed("NEW", "USDT")]}
    await connection.reload()
    fills = await account.fills_since(since)
    assert sorted(fill.symbol for fill in fills) == ["BTC/USDT", "NEW/USDT"]
    assert exchange.asked().keys() == {"NEWUSDT"}
