"""Tests that the gateway reads all fills of an account at Kraken and of compatible servers."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.brokers.errors import NotVisibleYet, OutcomeUnknown
from shared.brokers.port.account import BrokerAccount, LearnsFees
from shared.domain.copying.traded_position import apply_fill
from shared.domain.fill import Side
from tests.support.recording_server import Recorded, RecordingServer

MOST_REQUESTS = 8
SINCE = datetime(2021, 3, 25, 9, 0, 0, 500_000, tzinfo=UTC)


def seconds(moment: datetime) -> str:
    return f"{moment.timestamp():.4f}"


def trade(number: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "ordertxid": f"O{number:05}-BBBBB-CCCCCC",
        "pair": "XXBTZUSD",
        "time": seconds(SINCE + timedelta(seconds=number)),
        "type": "buy",
        "price": "30000.10000",
        "cost": "3000.01000",
        "fee": "7.80003",
        "vol": "0.10000000",
        **changes,
    }


async def test_fills_come_oldest_first_and_complete(server: RecordingServer, account: BrokerAccount) -> None:
    """Kraken sends the newest first. Each fill is returned once, even if a new fill shifts the pages meanwhile."""
    newest_first = [(f"T{number:03}", trade(number)) for number in reversed(range(120))]

    def history(request: Recorded) -> Any:
        offset = int(request.fields.get("ofs", "0"))
        if offset:
            offset -= 1  # A new fill has arrived since the first page.
        return {"trades": dict(newest_first[offset : offset + 50]), "count": 120}

    server.answers["TradesHistory"] = history
    server.answers["QueryOrders"] = {}
    fills = await account.fills_since(SINCE)
    assert [fill.fill_id for fill in fills] == [f"T{number:03}" for number in range(120)]
    assert [request.fields.get("ofs") for request in server.sent_to("TradesHistory")] == [None, "50", "100"]


@pytest.mark.parametrize("at_each_request", [1, 30, 49])
async def test_an_account_that_never_stops_trading_is_read(
    server: RecordingServer, account: BrokerAccount, at_each_request: int
) -> None:
    """Trades are executed before each reply. The fills are complete up to the last reply, and the reading ends."""
    done = [(f"T{number:03}", trade(number)) for number in range(120)]

    def history(request: Recorded) -> Any:
        offset = int(request.fields.get("ofs", "0"))
        if len(server.sent_to("TradesHistory")) <= MOST_REQUESTS:
            done.extend((f"T{number:03}", trade(number)) for number in range(len(done), len(done) + at_each_request))
        return {"trades": dict(done[::-1][offset : offset + 50]), "count": len(done)}

    server.answers["TradesHistory"] = history
    fills = await account.fills_since(SINCE)
    assert [fill.fill_id for fill in fills] == [fill_id for fill_id, _ in done]
    assert len(server.sent_to("TradesHistory")) < 4 * MOST_REQUESTS


async def test_the_next_reading_reads_only_what_is_new(server: RecordingServer, account: BrokerAccount) -> None:
    """Kraken's count shows that the first page and the fills of the last reading are all. One page costs 2 of 15 units.

    A fill that becomes visible late, on a later page, is found too, because the count then demands it.
    """
    done = [(f"T{number:03}", trade(number)) for number in range(120)]
    late = done.pop(20)

    def history(request: Recorded) -> Any:
        offset = int(request.fields.get("ofs", "0"))
        return {"trades": dict(done[::-1][offset : offset + 50]), "count": len(done)}

    async def requests_of_a_reading() -> int:
        before = len(server.sent_to("TradesHistory"))
        fills = await account.fills_since(SINCE)
        assert [fill.fill_id for fill in fills] == [fill_id for fill_id, _ in done]
        return len(server.sent_to("TradesHistory")) - before

    server.answers["TradesHistory"] = history
    assert await requests_of_a_reading() == 3
    done.append(("T120", trade(120)))
    assert await requests_of_a_reading() == 1
    done.insert(20, late)
    assert await requests_of_a_reading() == 3


async def test_without_a_count_every_page_is_read_again(server: RecordingServer, account: BrokerAccount) -> None:
    """A compatible server may leave the count out. A fill that becomes visible late on a later page is found there too."""
    done = [(f"T{number:03}", trade(number)) for number in range(120)]
    late = done.pop(20)

    def history(request: Recorded) -> Any:
        offset = int(request.fields.get("ofs", "0"))
        return {"trades": dict(done[::-1][offset : offset + 50])}

    server.answers["TradesHistory"] = history
    await account.fills_since(SINCE)
    done.insert(20, late)
    assert len(await account.fills_since(SINCE)) == 120


async def test_a_fill_that_is_counted_and_never_listed_is_reported(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The list is not taken for complete. The error says what is missing, and the reading ends."""
    newest_first = [(f"T{number:03}", trade(number)) for number in reversed(range(60))]

    def history(request: Recorded) -> Any:
        offset = int(request.fields.get("ofs", "0"))
        # The second page repeats the last entry of the first.
        return {"trades": dict(newest_first[max(0, offset - 1) :][:50]), "count": 61}

    server.answers["TradesHistory"] = history
    with pytest.raises(NotVisibleYet, match="counts 61 entries of trades but its pages hold 60"):
        await account.fills_since(SINCE)
    assert len(server.sent_to("TradesHistory")) == 3


async def test_a_fill_is_read_in_full(server: RecordingServer, account: BrokerAccount) -> None:
    """Amounts and time are exact, and the fee is in the quote currency."""
    server.answers["TradesHistory"] = {"trades": {"T1": trade(time=1616665496.1337, type="sell")}, "count": 1}
    server.answers["QueryOrders"] = {}
    (fill,) = await account.fills_since(SINCE)
    assert fill.model_dump() == {
        "fill_id": "T1",
        "order_id": "O00000-BBBBB-CCCCCC",
        "symbol": "BTC/USD",
        "side": Side.SELL,
        "price": "30000.1",
        "quantity": "0.1",
        "cost": "3000.01",
        "fee": "7.80003",
        "fee_currency": "USD",
        "executed_at": datetime(2021, 3, 25, 9, 44, 56, 133_700, tzinfo=UTC),
    }


@pytest.mark.parametrize(
    ("flags", "fee", "currency"),
    [("fcib", "0.00026", "BTC"), ("fcib,viqc", "0.00026", "BTC"), ("fciq", "7.80003", "USD"), ("", "7.80003", "USD")],
)
async def test_a_fee_has_the_currency_that_it_was_taken_in(
    server: RecordingServer, account: BrokerAccount, flags: str, fee: str, currency: str
) -> None:
    """Kraken reports 7.80003 USD in any case. With the flag fcib it took the same value in the coin.

    The fill does not wait for the flags, which only its order has.
    """
    server.answers["TradesHistory"] = {"trades": {"T1": trade()}, "count": 1}
    server.answers["QueryOrders"] = lambda request: {request.fields["txid"]: {"oflags": flags}}
    assert isinstance(account, LearnsFees)
    (fill,) = await account.fills_since(SINCE)
    assert (fill.fee, fill.fee_currency, account.knows_fee(fill)) == (Decimal("7.80003"), "USD", False)
    assert [request.path.rpartition("/")[2] for request in server.requests] == ["TradesHistory"]
    await account.learn_fees()
    (fill,) = await account.fills_since(SINCE)
    assert account.knows_fee(fill)
    assert (fill.fee, fill.fee_currency) == (Decimal(fee), currency)


async def test_a_master_that_pays_its_fees_in_coins_is_flat_after_each_round_trip(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """It sells all that it received, 20 times. Each sale closes the whole traded position, and nothing adds up."""
    round_trips = 20
    server.answers["TradesHistory"] = {
        "trades": {
            f"T{number:02}": trade(number, time=seconds(SINCE + timedelta(minutes=number)), **side)
            for number, side in enumerate([{"type": "buy"}, {"type": "sell", "vol": "0.09974"}] * round_trips)
        },
        "count": 2 * round_trips,
    }
    server.answers["QueryOrders"] = lambda request: {
        # Orders with an even number bought.
        txid: {"oflags": "fcib" if int(txid[1:6]) % 2 == 0 else "fciq"}
        for txid in request.fields["txid"].split(",")
    }
    assert isinstance(account, LearnsFees)
    await account.fills_since(SINCE)
    await account.learn_fees()
    positions = {"BTC": Decimal(0)}
    for fill in await account.fills_since(SINCE):
        change = apply_fill(positions, fill)
        positions |= change.positions
        assert change.fraction_closed == (1 if fill.side is Side.SELL else 0)
        assert positions == {"BTC": 0 if fill.side is Side.SELL else Decimal("0.09974")}


async def test_the_start_overlaps_and_the_moment_itself_is_in(server: RecordingServer, account: BrokerAccount) -> None:
    """Kraken's start is exclusive and in seconds. It is sent a second early, and older fills are left out."""
    server.answers["TradesHistory"] = {
        "trades": {
            "T3": trade(time=seconds(SINCE + timedelta(seconds=1))),
            "T2": trade(time=seconds(SINCE)),
            "T1": trade(time=seconds(SINCE - timedelta(milliseconds=1))),
        },
        "count": 3,
    }
    server.answers["QueryOrders"] = {}
    assert [fill.fill_id for fill in await account.fills_since(SINCE)] == ["T2", "T3"]
    assert int(server.requests[0].fields["start"]) == int(SINCE.timestamp()) - 1


async def test_the_orders_of_fills_are_read_once_and_20_in_a_request(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The fills of a master are read again, with overlap, at every poll."""
    server.answers["TradesHistory"] = {"trades": {f"T{number:02}": trade(number) for number in range(25)}, "count": 25}
    server.answers["QueryOrders"] = lambda request: {
        txid: {"oflags": "fciq"} for txid in request.fields["txid"].split(",")
    }
    assert isinstance(account, LearnsFees)
    for _ in range(2):
        await account.fills_since(SINCE)
        await account.learn_fees()
    assert [len(request.fields["txid"].split(",")) for request in server.sent_to("QueryOrders")] == [20, 5]


async def test_an_order_that_kraken_never_returns_is_given_up(server: RecordingServer, account: BrokerAccount) -> None:
    """It counts as one without flags, so its fee was taken in quote currency."""
    server.answers["TradesHistory"] = {"trades": {"T1": trade()}, "count": 1}
    server.answers["QueryOrders"] = {}
    assert isinstance(account, LearnsFees)
    for _ in range(5):
        (fill,) = await account.fills_since(SINCE)
        await account.learn_fees()
    assert len(server.sent_to("QueryOrders")) == 3
    assert (fill.fee_currency, account.knows_fee(fill)) == ("USD", True)


async def test_pages_without_a_count_are_read_to_the_end(server: RecordingServer, account: BrokerAccount) -> None:
    """An empty page is the end."""
    newest_first = [(f"T{number:03}", trade(number)) for number in reversed(range(70))]

    def history(request: Recorded) -> Any:
        offset = int(request.fields.get("ofs", "0"))
        return {"trades": dict(newest_first[offset : offset + 50])}

    server.answers["TradesHistory"] = history
    server.answers["QueryOrders"] = {}
    assert len(await account.fills_since(SINCE)) == 70


async def test_a_server_without_count_and_offset_does_not_loop(server: RecordingServer, account: BrokerAccount) -> None:
    """The second page repeats the first, so the list is complete."""
    server.answers["TradesHistory"] = {"trades": {"T1": trade()}}
    server.answers["QueryOrders"] = {}
    assert [fill.fill_id for fill in await account.fills_since(SINCE)] == ["T1"]
    assert len(server.sent_to("TradesHistory")) == 2


async def test_a_count_that_the_pages_do_not_hold_is_not_taken_for_complete(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """A server that ignores `ofs` repeats its page, so fills would be missing."""
    page = {f"T{number:02}": trade(number) for number in range(50)}
    server.answers["TradesHistory"] = {"trades": page, "count": 90}
    with pytest.raises(OutcomeUnknown, match="90"):
        await account.fills_since(SINCE)


@pytest.mark.parametrize("result", [{"trades": {}, "count": 0}, {"trades": {}}, {"trades": None}, {}])
async def test_no_fills_is_an_answer(server: RecordingServer, account: BrokerAccount, result: Any) -> None:
    """Each form of an empty reply is accepted."""
    server.answers["TradesHistory"] = result
    assert await account.fills_since(SINCE) == []


@pytest.mark.parametrize(
    "entry", [trade(vol="?"), trade(type="lend"), trade(time=None), trade(ordertxid=None), trade(pair=None), "T", None]
)
async def test_one_fill_that_cannot_be_read_fails_the_reading(
    server: RecordingServer, account: BrokerAccount, entry: Any
) -> None:
    """Leaving the fill out would lose it."""
    server.answers["TradesHistory"] = {"trades": {"T1": entry, "T2": trade()}, "count": 2}
    server.answers["QueryOrders"] = {}
    with pytest.raises(OutcomeUnknown):
        await account.fills_since(SINCE)
