"""Which broker is spoken to by which gateway: a name in, an unopened connection out."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from shared.brokers.guarded import Circuit, Guard, GuardedConnection
from shared.brokers.limits import RULES, Budget, RateLimits, address_of
from shared.brokers.port.connection import BrokerConnection, NonceSource
from shared.domain.accounts.credentials import Credentials
from shared.domain.errors import NijaError
from shared.domain.identity import Broker

DEFAULT_REQUEST_TIMEOUT_SECONDS = 8.0

_Build = Callable[[str | None, NonceSource, str | None, float], BrokerConnection]


@runtime_checkable
class CountsRequests(Protocol):
    """A connection whose clients count each request themselves, once they are given a budget."""

    budget: Budget | None


@runtime_checkable
class ShowsMarketsToKeyHolders(Protocol):
    """A connection to a broker that tells its markets to nobody else."""

    def lend_key(self, credentials: Credentials) -> None:
        """Let `open` read the markets with this key."""
        ...


class BrokerNotSupported(NijaError):
    """No gateway speaks to this broker."""


def _kraken(base_url: str | None, nonces: NonceSource, proxy: str | None, timeout_seconds: float) -> BrokerConnection:
    # ccxt costs 0.4 s and 100 MiB to import, so only a process that trades there pays for it.
    from shared.brokers.kraken.connection import KrakenConnection

    return KrakenConnection(base_url=base_url, nonces=nonces, proxy=proxy, request_timeout_seconds=timeout_seconds)


def _coinbase(base_url: str | None, _: NonceSource, proxy: str | None, timeout_seconds: float) -> BrokerConnection:
    # A token has a random nonce of its own, so none is reserved.
    from shared.brokers.coinbase.connection import CoinbaseConnection

    return CoinbaseConnection(base_url=base_url, proxy=proxy, request_timeout_seconds=timeout_seconds)


def _okx(base_url: str | None, _: NonceSource, proxy: str | None, timeout_seconds: float) -> BrokerConnection:
    # OKX checks a time stamp, so no nonce is reserved.
    from shared.brokers.okx.connection import OkxConnection

    return OkxConnection(base_url=base_url, proxy=proxy, request_timeout_seconds=timeout_seconds)


def _binance(base_url: str | None, _: NonceSource, proxy: str | None, timeout_seconds: float) -> BrokerConnection:
    # Requests carry the time of day, which no two processes have to share.
    from shared.brokers.binance.connection import BinanceConnection

    return BinanceConnection(base_url=base_url, proxy=proxy, request_timeout_seconds=timeout_seconds)


def _alpaca(base_url: str | None, _: NonceSource, proxy: str | None, timeout_seconds: float) -> BrokerConnection:
    # Alpaca knows neither nonces nor signatures.
    from shared.brokers.alpaca.connection import AlpacaConnection

    return AlpacaConnection(base_url=base_url, proxy=proxy, request_timeout_seconds=timeout_seconds)


_BUILDERS: dict[Broker, _Build] = {
    Broker.ALPACA: _alpaca,
    Broker.BINANCE: _binance,
    Broker.COINBASE: _coinbase,
    Broker.KRAKEN: _kraken,
    Broker.OKX: _okx,
}


def connect(
    broker: Broker,
    *,
    base_url: str | None,
    nonces: NonceSource,
    proxy: str | None = None,
    request_timeout_seconds: float = DEFAULT_REQUEST_TIMEOUT_SECONDS,
    limits: RateLimits | None = None,
    circuit: Circuit | None = None,
    markets_key: Credentials | None = None,
) -> BrokerConnection:
    """A connection to `broker`, not yet opened.

    `base_url` sends the broker's traffic to another server; `proxy` is an http(s) URL. `limits`: the buckets to
    count requests in; None: nobody counts. `circuit`: what holds requests back while the broker hangs; None: nothing.
    `markets_key`: for a broker that shows its markets to key holders only (Alpaca); others never see it.
    Raises BrokerNotSupported, or InvalidBrokerUrl for an address that no request could be sent to.
    """
    build = _BUILDERS.get(broker)
    if build is None:
        supported = ", ".join(sorted(known.value for known in _BUILDERS))
        raise BrokerNotSupported(f"there is no gateway for {broker.value}; supported are: {supported}")
    connection = build(
        checked_url(base_url, f"{broker.name}_BASE_URL"),
        nonces,
        checked_url(proxy, f"{broker.name}_PROXY"),
        request_timeout_seconds,
    )
    if markets_key is not None and isinstance(connection, ShowsMarketsToKeyHolders):
        connection.lend_key(markets_key)
    if limits is not None and isinstance(connection, CountsRequests):
        connection.budget = Budget(limits, RULES[broker], address_of(proxy))
    return connection if circuit is None else GuardedConnection(connection, Guard(circuit))


def supported_brokers() -> list[Broker]:
    """The brokers with a gateway, in the enum's order."""
    return [broker for broker in Broker if broker in _BUILDERS]


class InvalidBrokerUrl(NijaError, ValueError):
    """A setting that should be an http or https address and is not."""


def checked_url(url: str | None, setting: str) -> str | None:
    """Return `url`, None when it is empty; raise InvalidBrokerUrl that names the setting."""
    if not url:
        return None
    scheme, separator, rest = url.partition("://")
    host = rest.partition("/")[0]
    if not separator or scheme not in ("http", "https") or not host or any(c.isspace() or c in "?#" for c in url):
        # What stands before an @ may be a password.
        shown = url.rpartition("@")[2]
        raise InvalidBrokerUrl(f"{setting} is {shown!r}; it should be an address like https://127.0.0.1:8123")
    return url
