"""Finds the fill that an operator names: by its number, by broker and number, or by its id at the broker."""

from dataclasses import dataclass

from shared.domain.copying.master_fill import MasterFill
from shared.domain.errors import NijaError
from shared.domain.identity import Broker
from shared.persistence.ledger.recorded_decisions import RecordedDecisions
from shared.queries.connections import Connections


class UnknownFill(NijaError):
    """No fill has this name, or several have it. The text says what would be right."""


class ContradictingBrokers(NijaError):
    """The name of the fill and the question name different brokers."""


@dataclass(frozen=True, slots=True)
class FillName:
    """The name of a fill. `broker`: the only broker where it may be; None: at any."""

    name: str
    broker: Broker | None = None

    @classmethod
    def parse(cls, text: str, broker: Broker | None = None) -> "FillName":
        """Read `12`, `kraken:12` or an id; `broker` is asked for in another way. Raises ContradictingBrokers."""
        before, _, name = text.partition(":")
        if not name or before.lower() not in set(Broker):
            return cls(text, broker)
        return cls(name, Broker(before.lower())).at(broker)

    def at(self, broker: Broker | None) -> "FillName":
        """The same name at one broker; None: at the broker that it names. Raises ContradictingBrokers."""
        if broker is None or broker is self.broker:
            return self
        if self.broker is not None:
            name = f"{self.broker.value}:{self.name}"
            raise ContradictingBrokers(f"{name} is a fill of {self.broker.value}, not of {broker.value}")
        return FillName(self.name, broker)

    @property
    def place(self) -> str:
        return f" at {self.broker.value}" if self.broker else ""


def find_fill(connections: Connections, asked: FillName) -> MasterFill:
    """Return the only fill of that name. Raises UnknownFill, DatabaseUnavailable."""
    found = RecordedDecisions(connections.engine).fills(asked.name, asked.broker)
    if not found:
        raise UnknownFill(f"there is no fill {asked.name!r}{asked.place}; `nija fills` shows which there are")
    if len(found) == 1:
        return found[0]
    # A number is the shorter name. Where one fill's id is another fill's number, the number is meant.
    by_number = [fill for fill in found if str(fill.sequence) == asked.name]
    if len(by_number) == 1:
        return by_number[0]
    brokers = sorted({fill.broker.value for fill in found})
    if len(brokers) > 1:
        raise UnknownFill(f"{asked.name!r} is a fill of {', '.join(brokers)}; choose one: {brokers[0]}:{asked.name}")
    numbers = ", ".join(str(fill.sequence) for fill in found)
    raise UnknownFill(f"{asked.name!r} is the id of several fills; give the number: {numbers}")


def known_number(connections: Connections, asked: FillName) -> int:
    """Return the number of a fill that exists, at one broker or at several. Raises UnknownFill, DatabaseUnavailable."""
    if not asked.name.isascii() or not asked.name.isdigit():
        raise UnknownFill(f"{asked.name!r} should be a number such as 12, or kraken:12; `nija fills` shows them")
    number = asked.name.lstrip("0")
    found = RecordedDecisions(connections.engine).fills(number, asked.broker)
    if not any(str(each.sequence) == number for each in found):
        raise UnknownFill(f"there is no fill {asked.name}{asked.place}; `nija fills` shows which there are")
    return int(number)
