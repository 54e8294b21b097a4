"""Enforces Alpaca's limits: 200 requests a minute for each account to the trading API, and as many to the data API.

Data requests without a key are counted per address. The numbers are Alpaca's own, for its free plan. They are stated
here again on purpose: a copy of nija's table could not show an error in it.
"""

from services.paper_broker.alpaca import replies
from shared.exchange.accounts import ApiKey
from shared.exchange.rate_counter import MICROSECONDS, Counters, SlidingWindow

MOST_A_MINUTE = 200


class AlpacaRateCounters:
    """All counters of one paper Alpaca; they are not kept over a restart."""

    def __init__(self) -> None:
        self._trading = Counters(lambda: SlidingWindow(MOST_A_MINUTE, 60))
        self._data = Counters(lambda: SlidingWindow(MOST_A_MINUTE, 60))

    def count(self, key: ApiKey, now: int) -> None:
        """Count a trading request at `now` (microseconds since 1970). Raises AlpacaError when it is one too many."""
        window = self._trading.of(key.account.name)
        if not window.admits(now):
            raise replies.rate_limited(MOST_A_MINUTE, window.frees_at(now) // MICROSECONDS + 1)

    def count_data(self, sender: str, now: int) -> None:
        """Count a data request of an account or an address. Raises TooManyDataRequests when it is one too many."""
        if not self._data.of(sender).admits(now):
            raise replies.TooManyDataRequests
