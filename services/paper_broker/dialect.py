"""Defines the interface of a broker's dialect, which answers HTTP requests but opens no sockets.

A new broker is one folder with the broker's name. The module `dialect` in it has a class of this shape, and the
constant `DIALECT` that names the class.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from importlib import import_module
from typing import Protocol, runtime_checkable

from shared.domain.identity import Broker
from shared.domain.symbol import Symbol
from shared.exchange.accounts import Account
from shared.exchange.charges import ChargeRates
from shared.exchange.exchange import Exchange, Identifiers
from shared.exchange.instruments import PaperInstrument
from shared.exchange.market_modes import MarketMode
from shared.exchange.orders import ExecutionTerms


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. `query` is what follows the question mark, undecoded; header names ignore case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    address: str = "127.0.0.1"
    """The IP address of the caller."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP reply."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class Dialect(Protocol):
    """One broker's wire format over the exchange."""

    permission_names: frozenset[str]
    default_permissions: frozenset[str]
    fee_rates: ChargeRates
    market_modes: frozenset[MarketMode]
    """The modes that a market of this broker can be in, besides open."""
    has_largest_market_order: bool
    """Whether the broker refuses market orders above a size."""

    @property
    def instruments(self) -> Mapping[Symbol, PaperInstrument]:
        """What the broker lists, by canonical symbol."""
        ...

    def identifiers(self, seed: int) -> Identifiers:
        """How this broker names orders and fills."""
        ...

    def new_key(self) -> tuple[str, str]:
        """A fresh (api_key, api_secret) in the broker's form."""
        ...

    def endpoint(self, request: Request) -> str:
        """Returns the broker's name for the called endpoint, or the path if it has no name. Faults are selected by it."""
        ...

    def api_key(self, request: Request) -> str | None:
        """The key that a request names, whether it is right or not."""
        ...

    def places_order(self, endpoint: str) -> bool: ...

    def answer(self, request: Request, exchange: Exchange, execution: ExecutionTerms) -> Reply:
        """Serve one request. An order that it places is executed as `execution` says."""
        ...

    def forget_counts(self) -> None:
        """Forget all counted requests and bans, as if nothing had been sent for days."""
        ...

    def fault_reply(self, kind: str, endpoint: str) -> Reply:
        """The reply of a broken broker: kinds rate_limit, invalid_nonce, maintenance, internal_error."""
        ...


@runtime_checkable
class HasPassphrases(Protocol):
    """A dialect whose keys have a third part besides key and secret."""

    def passphrase(self, api_secret: str) -> str:
        """The passphrase that belongs to the key of this secret, the same at every call."""
        ...


@runtime_checkable
class LendsMoney(Protocol):
    """A dialect of a broker that lends money for some purchases."""

    def buying_power(self, exchange: Exchange, account: Account, instrument: PaperInstrument) -> Decimal:
        """What the account may spend on purchases of the instrument."""
        ...


@runtime_checkable
class DialectMaker(Protocol):
    """The class of a dialect."""

    def __call__(self, *, enforces_rate_limits: bool) -> Dialect: ...


def dialect_of(broker: Broker) -> DialectMaker:
    """Return the dialect in the folder that has the broker's name."""
    name = f"{__package__}.{broker.value}.dialect"
    found = import_module(name).DIALECT
    if not isinstance(found, DialectMaker):
        raise TypeError(f"{name}.DIALECT must be the class of a dialect")
    return found
