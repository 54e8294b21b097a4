"""Enforces Alpaca's limit: 200 requests a minute for each account, orders and reads alike."""

from services.paper_broker.alpaca import replies
from shared.exchange.accounts import ApiKey
from shared.exchange.rate_counter import RateCounter

_MOST = 200.0
_DECAY = _MOST / 60


class AlpacaRateCounters:
    """All counters of one paper Alpaca; they are not kept over a restart."""

    def __init__(self) -> None:
        self._counters: dict[str, RateCounter] = {}

    def count(self, key: ApiKey, now: int) -> None:
        """Count a request; AlpacaError when it is one too many. `now` in microseconds since 1970."""
        counter = self._counters.setdefault(key.account.name, RateCounter(_MOST, _DECAY))
        if not counter.admits(1.0, now):
            raise replies.AlpacaError(replies.RATE_LIMITED, "rate limit exceeded")
