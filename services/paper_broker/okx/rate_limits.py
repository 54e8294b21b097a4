"""Enforces OKX's limits, and raises OKX's error for a request that is one too many.

Counted per account and instrument for orders and their cancellation and reading, per account and path for other private
reads, per address and path for public ones, all in windows of two seconds; and per account over all its orders. The
numbers are OKX's own, from its reference. They are stated here again on purpose: a copy of nija's table could not show
an error in it.
"""

from collections.abc import Sequence

from services.paper_broker.okx import replies
from shared.exchange.accounts import ApiKey
from shared.exchange.rate_counter import Counters, SlidingWindow

_WINDOW_SECONDS = 2
_ORDERS, _ORDERS_IN_BATCHES, _ORDERS_OF_ACCOUNT = 60, 300, 1_000
_PER_INSTRUMENT = "trade/order"
_MOST_READS = 20
_READS = {
    "trade/order": 60,
    "trade/orders-pending": 60,
    "trade/orders-history": 40,
    "trade/fills": 60,
    "trade/fills-history": 10,
    "account/balance": 10,
    "account/config": 5,
    "account/trade-fee": 5,
    "asset/balances": 12,
    "asset/currencies": 12,
}
_PUBLIC = {"market/books": 40, "market/candles": 40, "market/trades": 100, "public/time": 10}


class OkxRateCounters:
    """All counters of one paper OKX; they are not kept over a restart."""

    def __init__(self) -> None:
        self._reads = {path: _windows(most) for path, most in _READS.items()}
        self._other_reads = _windows(_MOST_READS)
        self._public = {path: _windows(most) for path, most in _PUBLIC.items()}
        self._other_public = _windows(_MOST_READS)
        self._orders, self._batches = _windows(_ORDERS), _windows(_ORDERS_IN_BATCHES)
        self._cancels, self._cancel_batches = _windows(_ORDERS), _windows(_ORDERS_IN_BATCHES)
        self._account = _windows(_ORDERS_OF_ACCOUNT)

    def count_public(self, address: str, path: str, instrument_type: str, now: int) -> None:
        """Count a public read of `path` at `now` (microseconds since 1970). Raises OkxError."""
        windows = self._public.get(path, self._other_public)
        _count(windows.of(address, path, instrument_type if path == "public/instruments" else ""), now)

    def count_read(self, key: ApiKey, path: str, instrument_id: str, now: int) -> None:
        """Count a private read of `path`. Raises OkxError."""
        windows = self._reads.get(path, self._other_reads)
        _count(windows.of(key.account.name, path, instrument_id if path == _PER_INSTRUMENT else ""), now)

    def count_orders(self, key: ApiKey, instrument_ids: Sequence[str], now: int) -> None:
        """Count new orders. One order counts as one, also when it comes as a list. Raises OkxError."""
        windows = self._orders if len(instrument_ids) == 1 else self._batches
        for instrument_id in instrument_ids:
            _count(windows.of(key.account.name, instrument_id), now)
            if not self._account.of(key.account.name).admits(now):
                raise replies.OkxError(replies.ACCOUNT_RATE_LIMIT)

    def count_cancels(self, key: ApiKey, instrument_ids: Sequence[str], now: int) -> None:
        """Count cancellations. Raises OkxError."""
        windows = self._cancels if len(instrument_ids) == 1 else self._cancel_batches
        for instrument_id in instrument_ids:
            _count(windows.of(key.account.name, instrument_id), now)


def _windows(most: int) -> Counters[SlidingWindow]:
    return Counters(lambda: SlidingWindow(most, _WINDOW_SECONDS))


def _count(window: SlidingWindow, now: int) -> None:
    if not window.admits(now):
        raise replies.OkxError(replies.RATE_LIMIT)
