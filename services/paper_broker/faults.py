"""Switches faults on and off, and draws from a seeded generator which of them hit a request.

`POST /paper/faults` names the faults. A request gets those that apply to its endpoint and account, in the order in
which they were switched on. The server carries them out.
"""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

from shared.domain.errors import NijaError
from shared.exchange.orders import AT_ONCE, ExecutionTerms

_MICROSECONDS = 1_000_000


class FaultKind(StrEnum):
    """What can go wrong."""

    LATENCY = "latency"
    HANG = "hang"
    REPLY_LOST = "reply_lost"
    RESET = "reset"
    HTTP_ERROR = "http_error"
    RATE_LIMIT = "rate_limit"
    INVALID_NONCE = "invalid_nonce"
    MAINTENANCE = "maintenance"
    HTML = "html"
    TRUNCATED = "truncated"
    PARTIAL_FILL = "partial_fill"
    LATE_FILL = "late_fill"
    LATE_VISIBILITY = "late_visibility"


ORDER_KINDS = frozenset({FaultKind.PARTIAL_FILL, FaultKind.LATE_FILL, FaultKind.LATE_VISIBILITY})
"""Kinds that change how an accepted order is executed; they only hit calls that place one."""

_COMMON = frozenset({"kind", "probability", "count", "account", "endpoint", "orders"})
_PARAMETERS: dict[FaultKind, frozenset[str]] = {
    FaultKind.LATENCY: frozenset({"seconds", "jitter"}),
    FaultKind.HANG: frozenset({"seconds", "executed"}),
    FaultKind.REPLY_LOST: frozenset(),
    FaultKind.RESET: frozenset(),
    FaultKind.HTTP_ERROR: frozenset({"status", "executed"}),
    FaultKind.RATE_LIMIT: frozenset(),
    FaultKind.INVALID_NONCE: frozenset(),
    FaultKind.MAINTENANCE: frozenset(),
    FaultKind.HTML: frozenset({"status", "executed"}),
    FaultKind.TRUNCATED: frozenset({"executed", "connection_cut"}),
    FaultKind.PARTIAL_FILL: frozenset({"fraction", "seconds", "canceled"}),
    FaultKind.LATE_FILL: frozenset({"seconds"}),
    FaultKind.LATE_VISIBILITY: frozenset({"seconds", "fills_shown"}),
}


class InvalidFault(NijaError):
    """A fault's description is wrong; the text says what would be right."""


@dataclass(slots=True)
class Fault:
    """One fault that is switched on. Parameters that its kind does not have keep their defaults."""

    fault_id: str
    kind: FaultKind
    probability: float = 1.0
    count: int | None = None
    """How many times it may still apply; None: without end."""
    account: str | None = None
    endpoint: str | None = None
    orders: bool = False
    """Only calls that place an order."""
    seconds: float | None = None
    jitter: float = 0.0
    status: int = 502
    executed: bool = False
    """Whether the request is executed although its reply is broken."""
    fraction: Decimal = Decimal("0.5")
    connection_cut: bool = False
    """Whether a truncated reply announces its whole length, so that the client sees the connection break."""
    canceled: bool = False
    """Whether what a partial fill leaves is canceled instead of filled."""
    fills_shown: bool = False
    """Whether the fills of an order that is shown late are shown at once."""
    applied: int = 0
    cleared: asyncio.Event = field(default_factory=asyncio.Event)

    def shown(self) -> dict[str, Any]:
        """As `GET /paper/faults` lists it."""
        shown: dict[str, Any] = {
            "id": self.fault_id,
            "kind": self.kind.value,
            "probability": self.probability,
            "count": self.count,
            "account": self.account,
            "endpoint": self.endpoint,
            "orders": self.orders,
            "applied": self.applied,
        }
        for name in sorted(_PARAMETERS[self.kind]):
            value = getattr(self, name)
            shown[name] = str(value) if isinstance(value, Decimal) else value
        return shown


class Faults:
    """All faults that are switched on."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(f"faults:{seed}")  # noqa: S311 - repeatable faults, not secrets
        self.active: dict[str, Fault] = {}
        self._listed: dict[str, Fault] = {}
        self._last_id = 0

    def switch_on(self, description: Mapping[str, Any]) -> Fault:
        """Add a fault. Raises InvalidFault."""
        fault = _fault(f"fault-{self._last_id + 1}", description)
        self._last_id += 1
        self.active[fault.fault_id] = fault
        self._listed[fault.fault_id] = fault
        return fault

    def listed(self) -> list[Fault]:
        """Active faults and those whose count is used up, until they are deleted."""
        return list(self._listed.values())

    def clear(self, fault_id: str | None = None) -> int:
        """Switch off one fault or all; requests that hang on them are let go. Returns how many there were."""
        chosen = list(self._listed) if fault_id is None else [fault_id] if fault_id in self._listed else []
        for chosen_id in chosen:
            self._listed.pop(chosen_id).cleared.set()
            self.active.pop(chosen_id, None)
        return len(chosen)

    def hitting(self, endpoint: str, account: str | None, *, places_order: bool) -> list[Fault]:
        """The faults that hit this request; each is counted as applied."""
        hitting: list[Fault] = []
        for fault in list(self.active.values()):
            if (
                (fault.endpoint is not None and fault.endpoint != endpoint)
                or (fault.account is not None and fault.account != account)
                or ((fault.orders or fault.kind in ORDER_KINDS) and not places_order)
                or (fault.probability < 1 and self.random.random() >= fault.probability)
            ):
                continue
            fault.applied += 1
            if fault.count is not None:
                fault.count -= 1
                if fault.count <= 0:
                    del self.active[fault.fault_id]
            hitting.append(fault)
        return hitting


def execution_under(faults: list[Fault]) -> ExecutionTerms:
    """How the order of a request that these faults hit is executed."""
    fraction, rest_after, canceled, invisible, shows_fills = AT_ONCE.fraction, None, False, 0, False
    for fault in faults:
        microseconds = None if fault.seconds is None else int(fault.seconds * _MICROSECONDS)
        if fault.kind is FaultKind.PARTIAL_FILL:
            fraction, rest_after, canceled = fault.fraction, microseconds, fault.canceled
        elif fault.kind is FaultKind.LATE_FILL:
            fraction, rest_after = Decimal(0), microseconds
        elif fault.kind is FaultKind.LATE_VISIBILITY:
            invisible, shows_fills = microseconds or 0, fault.fills_shown
    return ExecutionTerms(fraction, rest_after, canceled, invisible, shows_fills)


def _fault(fault_id: str, description: Mapping[str, Any]) -> Fault:
    try:
        kind = FaultKind(description.get("kind", ""))
    except ValueError:
        raise InvalidFault(f"kind must be one of: {', '.join(FaultKind)}") from None
    unknown = set(description) - _COMMON - _PARAMETERS[kind]
    if unknown:
        allowed = ", ".join(sorted((_COMMON | _PARAMETERS[kind]) - {"kind"}))
        raise InvalidFault(f"{', '.join(sorted(unknown))}: not a parameter of {kind}; it has: {allowed}")
    fault = Fault(fault_id, kind, executed=kind is FaultKind.TRUNCATED)
    if kind is FaultKind.HTML:
        fault.status = 200
    fault.probability = _number(description, "probability", 1.0, most=1.0)
    fault.jitter = _number(description, "jitter", 0.0)
    needs_seconds = kind in (FaultKind.LATENCY, FaultKind.LATE_FILL, FaultKind.LATE_VISIBILITY)
    if needs_seconds or description.get("seconds") is not None:
        fault.seconds = _number(description, "seconds", None)
    count = description.get("count")
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise InvalidFault("count must be a whole number above zero, or null")
    fault.count = count
    fault.status = int(_number(description, "status", float(fault.status), least=100, most=599))
    fault.account = _text(description, "account")
    fault.endpoint = _text(description, "endpoint")
    fault.orders = _truth(description, "orders", default=False)
    fault.executed = _truth(description, "executed", default=fault.executed)
    fault.connection_cut = _truth(description, "connection_cut", default=False)
    fault.canceled = _truth(description, "canceled", default=False)
    fault.fills_shown = _truth(description, "fills_shown", default=False)
    try:
        fault.fraction = Decimal(str(description.get("fraction", fault.fraction)))
    except InvalidOperation:
        fault.fraction = Decimal("NaN")
    if not (fault.fraction.is_finite() and 0 <= fault.fraction < 1):
        raise InvalidFault("fraction must be from 0 to below 1, as text such as '0.5'")
    return fault


def _number(
    description: Mapping[str, Any], name: str, default: float | None, *, least: float = 0, most: float = 86_400
) -> float:
    value = description.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise InvalidFault(f"{name} must be a number from {least:g} to {most:g}")
    return float(value)


def _text(description: Mapping[str, Any], name: str) -> str | None:
    value = description.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidFault(f"{name} must be text or null")
    return value


def _truth(description: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = description.get(name, default)
    if not isinstance(value, bool):
        raise InvalidFault(f"{name} must be true or false")
    return value
