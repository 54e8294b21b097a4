"""myTrades to its end: a symbol and a beginning in, all trades of the account in it out, oldest first."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.brokers.binance.replies import milliseconds, moment, whole_number

PAGE = 500
"""What Binance gives when no limit is named, so a server that knows no limit gives pages of the same size."""
LONGEST_SPAN = timedelta(hours=24)
"""Between `startTime` and `endTime`."""

Trade = Mapping[str, Any]
ReadTrades = Callable[[dict[str, Any]], Awaitable[Sequence[Trade]]]
"""Sends one signed myTrades request and checks that the reply is a list of objects."""


async def trades_since(read: ReadTrades, wire_name: str, since: datetime) -> list[Trade]:
    """All trades at or after `since`."""
    request: dict[str, Any] = {"symbol": wire_name, "limit": PAGE}
    if datetime.now(UTC) - since < LONGEST_SPAN:
        return _from(since, await _pages(read, {**request, "startTime": milliseconds(since)}))
    # A start of long ago: most often the newest page reaches back to it, and says so.
    newest = list(await read(request))
    if len(newest) < PAGE or min(moment(trade["time"]) for trade in newest) < since:
        return _from(since, newest)
    first_id = await _first_id(read, request, since, min(moment(trade["time"]) for trade in newest))
    if first_id is None:
        return _from(since, newest)
    return _from(since, await _pages(read, {**request, "fromId": first_id}))


async def trades_of_order(read: ReadTrades, wire_name: str, order_id: str) -> list[Trade]:
    """All trades of one order."""
    trades = await _pages(read, {"symbol": wire_name, "orderId": order_id, "limit": PAGE}, whole_if_short=True)
    return [trade for trade in trades if whole_number(trade["orderId"]) == int(order_id)]


async def _pages(read: ReadTrades, request: dict[str, Any], *, whole_if_short: bool = False) -> list[Trade]:
    """Page after page by `fromId`. Only a page that brings nothing new tells the end for certain; `whole_if_short`
    believes one that is not full.
    """
    trades: dict[int, Trade] = {}
    while True:
        page = {whole_number(trade["id"]): trade for trade in await read(request)}
        brought_new = not page.keys() <= trades.keys()
        trades.update(page)
        if not brought_new or (whole_if_short and len(page) < PAGE):
            return [trades[trade_id] for trade_id in sorted(trades)]
        request = {name: value for name, value in request.items() if name != "startTime"}
        request["fromId"] = max(trades) + 1


async def _first_id(read: ReadTrades, request: dict[str, Any], since: datetime, until: datetime) -> int | None:
    """The id of the first trade from `since` on, sought a day at a time; None: there is none before `until`."""
    start = since
    while start <= until:
        end = start + LONGEST_SPAN
        span = {"startTime": milliseconds(start), "endTime": milliseconds(end)}
        page = await read({**request, **span})
        if page:
            return min(whole_number(trade["id"]) for trade in page)
        start = end
    return None


def _from(since: datetime, trades: Sequence[Trade]) -> list[Trade]:
    kept = [trade for trade in trades if moment(trade["time"]) >= since - timedelta(milliseconds=1)]
    return sorted(kept, key=lambda trade: whole_number(trade["id"]))
