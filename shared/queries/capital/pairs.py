"""Finds the listed pair that a user means."""

from typing import Any

from shared.brokers.registry import profile_of
from shared.domain.capital.holdings import CASH
from shared.domain.capital.pair import resolve_pair
from shared.domain.instrument import Instrument
from shared.domain.symbol import Symbol
from shared.messaging.keys import BrokerKeys
from shared.queries.capital.accounts import listed_instruments
from shared.queries.capital.errors import UnknownPair
from shared.queries.capital.sources import AccountName
from shared.queries.connections import Connections


def find_instrument(connections: Connections, name: AccountName, text: str) -> Instrument:
    """Return the pair of an account that a text names: `BTCUSDT`, `BTC-USD`, `BTC/USD` or `BTC`.

    Raises UnknownPair, and RedisError.
    """
    redis, keys = connections.redis_of(name.broker), BrokerKeys(name.broker)
    names: Any = redis.hkeys(keys.instruments)
    listed = {Symbol.parse(each) for each in names}
    symbol = resolve_pair(text, listed, profile_of(name.broker).cash_currencies)
    if symbol is None:
        raise UnknownPair(f"{name.broker.value} lists no pair {text[:40]!r}; a pair is for example BTC-USD")
    if symbol.quote not in CASH:
        raise UnknownPair(f"{symbol} is not paid with cash; name a pair like {symbol.base}-USD")
    found = listed_instruments(redis, keys, [symbol]).get(symbol)
    if found is None:
        raise UnknownPair(f"{symbol} cannot be traded at {name.broker.value}")
    return found
