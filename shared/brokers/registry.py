"""Chooses the gateway for a broker and creates its connection, not yet opened."""

from collections.abc import Mapping
from importlib import import_module
from typing import Final, Protocol, runtime_checkable

from shared.brokers.guarded import Circuit, Guard, GuardedConnection
from shared.brokers.limits import Budget, RateLimits, address_of
from shared.brokers.port.connection import BrokerConnection, NonceSource
from shared.brokers.profile import BrokerProfile
from shared.domain.accounts.credentials import Credentials
from shared.domain.errors import NijaError
from shared.domain.identity import Broker

DEFAULT_REQUEST_TIMEOUT_SECONDS = 8.0


@runtime_checkable
class CountsRequests(Protocol):
    """A connection whose clients count each request themselves, once they have a budget."""

    budget: Budget | None


@runtime_checkable
class ShowsMarketsToKeyHolders(Protocol):
    """A connection to a broker that shows its markets only to key holders."""

    def lend_key(self, credentials: Credentials) -> None:
        """Let `open` read the markets with this key."""
        ...


def _profile_in_folder_of(broker: Broker) -> BrokerProfile:
    """Return the profile in the folder that has the broker's name."""
    name = f"{__package__}.{broker.value}.profile"
    found = import_module(name).PROFILE
    if not isinstance(found, BrokerProfile) or found.broker is not broker:
        raise TypeError(f"{name}.PROFILE must be the profile of {broker.value}")
    return found


_PROFILES: Final[Mapping[Broker, BrokerProfile]] = {broker: _profile_in_folder_of(broker) for broker in Broker}
EXAMPLE_BROKER: Final = Broker.KRAKEN
"""The broker that a command uses when no broker is given."""
QUICK_EXAMPLE_BROKER: Final = Broker.OKX
"""The same for commands that need many fills: its limits allow to poll a master every two seconds, Kraken's do not."""


def profile_of(broker: Broker) -> BrokerProfile:
    """Return the facts of a broker."""
    return _PROFILES[broker]


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

    `base_url` sends the broker's traffic to another server; `proxy` is an http(s) URL. `limits`: the buckets in which
    requests are counted; None means that requests are not counted. `circuit`: holds requests back while the broker
    hangs; None means that none are held back. `markets_key`: for a broker that shows its markets to key holders only
    (Alpaca); others never see it. Raises InvalidBrokerUrl for an address that cannot be used.
    """
    profile = profile_of(broker)
    connection = profile.connect(
        checked_url(base_url, f"{broker.name}_BASE_URL"),
        nonces,
        checked_url(proxy, f"{broker.name}_PROXY"),
        request_timeout_seconds,
    )
    if markets_key is not None and isinstance(connection, ShowsMarketsToKeyHolders):
        connection.lend_key(markets_key)
    if limits is not None and isinstance(connection, CountsRequests):
        connection.budget = Budget(limits, profile.rate_rules, address_of(proxy))
    return connection if circuit is None else GuardedConnection(connection, Guard(circuit))


def supported_brokers() -> list[Broker]:
    """The brokers with a gateway, in the enum's order."""
    return list(_PROFILES)


class InvalidBrokerUrl(NijaError, ValueError):
    """A setting that should be an http or https address and is not."""


def checked_url(url: str | None, setting: str) -> str | None:
    """Return `url`, None when it is empty; raise InvalidBrokerUrl that names the setting."""
    if not url:
        return None
    scheme, separator, rest = url.partition("://")
    host = rest.partition("/")[0]
    if not separator or scheme not in ("http", "https") or not host or any(c.isspace() or c in "?#" for c in url):
        # The part before an @ may be a password.
        shown = url.rpartition("@")[2]
        raise InvalidBrokerUrl(f"{setting} is {shown!r}; it should be an address like https://127.0.0.1:8123")
    return url
