"""Reads Binance's myTrades to the end: all trades of the account in a symbol or an order, oldest first."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.brokers.binance.replies import milliseconds, moment, whole_number

PAGE = 500
"""Binance's default limit. A server that ignores the limit therefore sends pages of the same size."""
LONGEST_SPAN = timedelta(hours=24)
"""The longest time allowed between `startTime` and `endTime`."""

Trade = Mapping[str, Any]
ReadTrades = Callable[[dict[str, Any]], Awaitable[Sequence[Trade]]]
"""Sends one signed myTrades request and checks that the reply is a list of objects."""


async def trades_since(read: ReadTrades, wire_name: str, since: datetime) -> list[Trade]:
    """All trades at or after `since`."""
    request: dict[str, Any] = {"symbol": wire_name, "limit": PAGE}
    if datetime.now(UTC) - since < LONGEST_SPAN:
        return _from(since, await _pages(read, {**request, "startTime": milliseconds(since)}))
    # The start is long ago. In most cases the newest page reaches back to it, which the page itself shows.
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
    """Read page after page by `fromId`. Only a page without new trades is certainly the end.

    With `whole_if_short`, a page that is not full also counts as the end.
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
    """The id of the first trade from `since` on, searched day by day; None when there is none before `until`."""
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
