"""Holds what questions about capital read from; a front end opens it once for all its questions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from time import monotonic
from typing import Final, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from shared.brokers.port.connection import BrokerConnection
from shared.brokers.port.market_data import MarketData
from shared.domain.identity import Broker, MasterAccount
from shared.queries.capital.models import SymbolLeverage
from shared.queries.connections import Connections

REMEMBERED_SECONDS: Final = 60.0
MOST_REMEMBERED: Final = 1_000

V = TypeVar("V")


class AccountName(BaseModel):
    """One broker account."""

    model_config = ConfigDict(frozen=True)

    broker: Broker
    account: MasterAccount

    def __str__(self) -> str:
        return f"{self.broker.value}:{self.account}"


class Markets(Protocol):
    """Where market data come from."""

    async def of(self, broker: Broker) -> MarketData:
        """The market data of a broker. Raises BrokerError, RedisError, OSError."""
        ...

    async def connection(self, broker: Broker) -> BrokerConnection:
        """The connection to a broker. Raises BrokerError, RedisError, OSError."""
        ...


class Memory(Generic[V]):
    """Remembers answers for a minute, so that the same question causes no further requests. Belongs to one process."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._known: dict[tuple[object, ...], tuple[float, V]] = {}

    def get(self, question: tuple[object, ...]) -> V | None:
        """The answer to the same question of less than a minute ago."""
        known = self._known.get(question)
        return known[1] if known is not None and known[0] > self._clock() else None

    def put(self, question: tuple[object, ...], answer: V) -> None:
        """Remember an answer. The oldest one is forgotten when there are too many."""
        self._known.pop(question, None)
        self._known[question] = (self._clock() + REMEMBERED_SECONDS, answer)
        while len(self._known) > MOST_REMEMBERED:
            del self._known[next(iter(self._known))]


Clock = Callable[[], datetime]
"""Returns the present time, in UTC."""


def utc_now() -> datetime:
    """The time of this machine."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class CapitalSources:
    """The connections, the markets, and what the settings say about stocks."""

    connections: Connections
    markets: Markets
    stocks: tuple[str, ...]
    """Shares that an account may buy."""
    leverages: Memory[SymbolLeverage] = field(default_factory=Memory)
    closes: Memory[Mapping[datetime, Decimal]] = field(default_factory=Memory)
    ranges: Memory[Decimal] = field(default_factory=Memory)
    """ATR in percent, by broker and symbol."""
    now: Clock = utc_now
