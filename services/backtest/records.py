"""Writes and reads the decisions of a backtest: one JSON object a line, with all values, and the gate's answer.

`nija explain` reads such a file, and the bias checks compute its decisions again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import orjson
from pydantic import ValidationError

from shared.domain.capital.recommendation import Recommendation
from shared.domain.errors import NijaError, problems_of
from shared.domain.strategy.decision import StrategyDecision, from_json, to_json


class UnreadableRecords(NijaError):
    """A file cannot be written, or holds no decisions of a backtest."""


@dataclass(frozen=True, slots=True)
class StrategyRecord:
    """A decision, and what the capital gate answered to an entry."""

    decision: StrategyDecision
    gate: Recommendation | None


class RecordWriter:
    """Writes a file of decisions. Its `add` is a listener of a backtest."""

    def __init__(self, path: Path) -> None:
        """Raise UnreadableRecords when the file cannot be written."""
        try:
            self._file: IO[bytes] = path.open("wb")
        except OSError as error:
            raise UnreadableRecords(f"the decisions cannot be written to {path}: {error.strerror}") from None

    def add(self, decision: StrategyDecision, gate: Recommendation | None) -> None:
        """Write one decision."""
        self._file.write(to_line(decision, gate))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def to_line(decision: StrategyDecision, gate: Recommendation | None) -> bytes:
    """Return the line of one decision."""
    answer = b"null" if gate is None else gate.model_dump_json().encode()
    return b'{"decision":%b,"gate":%b}\n' % (to_json(decision), answer)


def read_records(path: Path) -> Iterator[StrategyRecord]:
    """Yield the decisions of a file in their order. Raises UnreadableRecords, which names the line."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield _from_line(line, f"{path}, line {number}")
    except OSError as error:
        raise UnreadableRecords(f"the decisions in {path} cannot be read: {error.strerror}") from None


def _from_line(line: bytes, where: str) -> StrategyRecord:
    try:
        values = orjson.loads(line)
        gate = values["gate"]
        return StrategyRecord(
            from_json(orjson.dumps(values["decision"])), None if gate is None else Recommendation.model_validate(gate)
        )
    except ValidationError as error:
        raise UnreadableRecords(f"{where} is no decision: {problems_of(error, 'decision')}") from None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise UnreadableRecords(f"{where} is no decision of `nija backtest --records`") from None
