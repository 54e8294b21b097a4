"""Tests that the gateway finds all fills, although Binance lists them for one symbol at a time."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from redis.asyncio import Redis

from shared.brokers.binance import fill_search
from shared.brokers.binance.account import BinanceAccount
from shared.brokers.errors import OutcomeUnknown
from shared.brokers.guarded import Guard, GuardedAccount
from shared.domain.fill import Side, SizeType
from shared.domain.identity import Broker
from shared.messaging.circuit import RedisCircuit
from shared.messaging.keys import BrokerKeys
from shared.messaging.scripts import ScriptRunner
from tests.support.recording_server import Recorded, RecordingServer
from tests.unit.shared.brokers.binance.conftest import refused

DAY = timedelta(days=1)


class Exchange:
    """The history of a Binance account, in which balances and trades agree to the last digit."""

    def __init__(self, server: RecordingServer, **balances: str) -> None:
        self.server = server
        self.balances = {currency: Decimal(amount) for currency, amount in balances.items()}
        self.trades: dict[str, list[dict[str, Any]]] = {}
        self.hidden: set[int] = set()
        self.most_on_a_page = 1_000
        self.quote_sized: set[int] = set()
        self.next_id = 100
        server.answers |= {"GET account": self.account, "GET myTrades": self.my_trades, "GET order": self.order}

    def trade(
        self, base: str, quote: str, side: str, quantity: str, price: str, *, fee_in: str = "", **more: Any
    ) -> dict[str, Any]:
        """Trade with a fee of 0.1% of what is received, or of 0.001 in the currency `fee_in`."""
        sign = 1 if side == "buy" else -1
        amount = Decimal(quantity)
        cost = amount * Decimal(price)
        fee_currency = fee_in or (base if side == "buy" else quote)
        fee = Decimal("0.001") if fee_in else (amount if side == "buy" else cost) / 1_000
        for currency, change in ((base, sign * amount), (quote, -sign * cost), (fee_currency, -fee)):
            self.balances[currency] = self.balances.get(currency, Decimal(0)) + change
        self.next_id += 1
        done = {
            "symbol": base + quote,
            "id": self.next_id,
            "orderId": self.next_id * 10,
            "price": price,
            "qty": quantity,
            "quoteQty": str(cost),
            "commission": str(fee),
            "commissionAsset": fee_currency,
            "time": milliseconds(datetime.now(UTC)),
            "isBuyer": side == "buy",
            **more,
        }
        self.trades.setdefault(base + quote, []).append(done)
        return done

    def account(self, _: Recorded) -> Any:
        return {
            "balances": [
                {"asset": currency, "free": str(total), "locked": "0"} for currency, total in self.balances.items()
            ]
        }

    def my_trades(self, request: Recorded) -> Any:
        trades = [trade for trade in self.trades.get(request.fields["symbol"], []) if trade["id"] not in self.hidden]
        limit = min(int(request.fields.get("limit", "500")), self.most_on_a_page)
        if "fromId" in request.fields:
            return [trade for trade in trades if trade["id"] >= int(request.fields["fromId"])][:limit]
        if "startTime" in request.fields:
            end = int(request.fields.get("endTime", str(1 << 62)))
            return [trade for trade in trades if int(request.fields["startTime"]) <= trade["time"] <= end][:limit]
        return trades[-limit:]

    def order(self, request: Recorded) -> Any:
        order_id = int(request.fields["orderId"])
        in_quote = "100.0" if order_id in self.quote_sized else "0.00000000"
        return {"orderId": order_id, "symbol": request.fields["symbol"], "origQuoteOrderQty": in_quote}

    def asked(self) -> Counter[str]:
        """How often the trades of each symbol were requested since the last call."""
        counted = Counter(request.fields["symbol"] for request in self.server.sent_to("GET myTrades"))
        self.server.requests.clear()
        return counted


def milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000)


@pytest.fixture
def exchange(binance: RecordingServer, account: BinanceAccount) -> Exchange:
    del account
    return Exchange(binance, USDT="10000", BTC="1")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the waits to zero: a difference in the balances is searched at the next call."""
    monkeypatch.setattr(fill_search, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(fill_search, "HOT_SECONDS", 0.0)


async def test_a_fill_is_read_in_full(exchange: Exchange, account: BinanceAccount) -> None:
    """Amounts are exact, the fee has its currency, and the id contains the symbol."""
    since = datetime.now(UTC) - timedelta(minutes=1)
    trade = exchange.trade("BTC", "USDT", "sell", "0.01000000", "50000.10")
    (fill,) = await account.fills_since(since)
    assert fill.model_dump() == {
        "fill_id": "BTCUSDT-101",
        "order_id": "1010",
        "symbol": "BTC/USDT",
        "side": Side.SELL,
        "price": "50000.1",
        "quantity": "0.01",
        "cost": "500.001",
        "fee": "0.500001",
        "fee_currency": "USDT",
        "size_type": SizeType.BASE,
        "executed_at": datetime.fromtimestamp(trade["time"] / 1_000, UTC),
    }


async def test_the_size_type_is_the_orders_and_asked_for_once(
    binance: RecordingServer, exchange: Exchange, account: BinanceAccount
) -> None:
    """An order with quoteOrderQty was sized in dollars by the master. Each order is read once."""
    since = datetime.now(UTC) - timedelta(minutes=1)
    exchange.quote_sized.add(1_020)
    for _ in range(2):
        exchange.trade("BTC", "USDT", "buy", "0.01", "50000")
    exchange.trade("BTC", "USDT", "buy", "0.01", "50000", orderId=1_020)
    for _ in range(2):
        fills = await account.fills_since(since)
    assert [fill.size_type for fill in fills] == [SizeType.BASE, SizeType.QUOTE, SizeType.QUOTE]
    assert len(binance.sent_to("GET order")) == 2


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


async def test_many_trades_are_read_page_by_page(exchange: Exchange, account: BinanceAccount) -> None:
    """Pages follow by fromId, also with smaller pages than Binance's. Each trade is returned once, oldest first."""
    since = datetime.now(UTC) - timedelta(minutes=1)
    exchange.most_on_a_page = 7
    for _ in range(30):
        exchange.trade("BTC", "USDT", "buy", "0.001", "50000")
    fills = await account.fills_since(since)
    assert [fill.fill_id for fill in fills] == [f"BTCUSDT-{number}" for number in range(101, 131)]


async def test_a_start_of_long_ago_is_reached(exchange: Exchange, account: BinanceAccount) -> None:
    """Binance accepts spans up to 24 hours, and the newest page may not reach back far enough."""
    now = datetime.now(UTC)
    for number in range(620):
        at = milliseconds(now - 3 * DAY + timedelta(minutes=number))
        exchange.trade("BTC", "USDT", "buy", "0.0001", "50000", time=at)
    since = now - 3 * DAY + timedelta(minutes=20)
    fills = await account.fills_since(since)
    assert [fill.fill_id for fill in fills] == [f"BTCUSDT-{number}" for number in range(121, 721)]


async def test_the_moment_itself_is_in_and_earlier_ones_are_not(exchange: Exchange, account: BinanceAccount) -> None:
    """A later call from an earlier moment returns the fills between the two."""
    moment = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
    for seconds in (-1, 0, 1):
        exchange.trade("BTC", "USDT", "buy", "0.01", "50000", time=milliseconds(moment + timedelta(seconds=seconds)))
    assert [fill.fill_id for fill in await account.fills_since(moment)] == ["BTCUSDT-102", "BTCUSDT-103"]
    everything = await account.fills_since(moment - timedelta(minutes=5))
    assert [fill.fill_id for fill in everything] == ["BTCUSDT-101", "BTCUSDT-102", "BTCUSDT-103"]


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


async def test_a_failed_question_loses_nothing(
    binance: RecordingServer, exchange: Exchange, account: BinanceAccount
) -> None:
    """Whichever request fails, the next call finds the fills that this call would have found."""
    since = datetime.now(UTC) - timedelta(minutes=1)
    await account.fills_since(since)
    exchange.trade("BTC", "USDT", "buy", "0.01", "50000")
    for name in ("GET account", "GET myTrades", "GET order"):
        kept = binance.answers[name]
        binance.answers[name] = web.Response(status=502)
        with pytest.raises(OutcomeUnknown):
            await account.fills_since(since)
        binance.answers[name] = kept
    assert [fill.symbol for fill in await account.fills_since(since)] == ["BTC/USDT"]


async def test_a_pair_that_was_delisted_meanwhile_is_passed_over(
    binance: RecordingServer, exchange: Exchange, account: BinanceAccount
) -> None:
    """The other pairs are still read."""
    since = datetime.now(UTC) - timedelta(minutes=1)
    exchange.trade("BTC", "USDT", "buy", "0.01", "50000")

    def answer(request: Recorded) -> Any:
        return (
            refused(-1121, "Invalid symbol.") if request.fields["symbol"] == "BNBUSDT" else exchange.my_trades(request)
        )

    binance.answers["GET myTrades"] = answer
    assert [fill.symbol for fill in await account.fills_since(since)] == ["BTC/USDT"]


@pytest.mark.parametrize(
    "change", [{"qty": "?"}, {"isBuyer": None}, {"isBuyer": "false"}, {"time": None}, {"orderId": None}, {"id": None}]
)
async def test_one_fill_that_cannot_be_read_fails_the_reading(
    exchange: Exchange, account: BinanceAccount, change: dict[str, Any]
) -> None:
    """Leaving the fill out would lose it."""
    exchange.server.answers["GET myTrades"] = [
        {**exchange.trade("BTC", "USDT", "buy", "0.01", "50000"), **change},
    ]
    with pytest.raises(OutcomeUnknown):
        await account.fills_since(datetime.now(UTC) - timedelta(minutes=1))


@pytest.mark.parametrize("answer", [{}, "text", ["text"], None])
async def test_trades_of_a_wrong_shape_are_an_error(exchange: Exchange, account: BinanceAccount, answer: Any) -> None:
    """The result is not an empty list."""
    exchange.server.answers["GET myTrades"] = web.json_response(answer)
    with pytest.raises(OutcomeUnknown):
        await account.fills_since(datetime.now(UTC) - timedelta(minutes=1))
