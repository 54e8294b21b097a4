"""Tests that the decisions of a backtest survive their file, and that another file is refused."""

from pathlib import Path

import pytest

from services.backtest.records import RecordWriter, UnreadableRecords, read_records
from shared.domain.capital.recommendation import Recommendation
from shared.domain.strategy.decide import decide_again
from shared.domain.strategy.decision import Enter, StrategyDecision
from tests.support.backtests import one_trade


def test_each_decision_is_recorded_with_its_values_and_the_answer_of_the_gate(tmp_path: Path) -> None:
    """What is read is equal to what was decided, exits within a candle too, and leads to the same decision again."""
    path = tmp_path / "decisions.jsonl"
    decided: list[tuple[StrategyDecision, Recommendation | None]] = []
    with RecordWriter(path) as writer:

        def note(decision: StrategyDecision, gate: Recommendation | None) -> None:
            decided.append((decision, gate))
            writer.add(decision, gate)

        one_trade(on_decision=note)
    read = list(read_records(path))
    assert [type(record.decision).__name__ for record in read] == [
        "Enter",
        "Hold",
        "Exit",
        "Exit",
        "Exit",
        "Hold",
        "Hold",
    ]
    assert len(read) == len(decided)
    for record, (decision, gate) in zip(read, decided, strict=True):
        assert record.decision == decision
        assert decide_again(record.decision) == decision
        assert (record.gate is None) == (gate is None) == (not isinstance(decision, Enter))
    assert read[0].gate is not None
    assert decided[0][1] is not None
    assert read[0].gate.model_dump() == decided[0][1].model_dump()
    assert read[0].gate.approved is None  # an approval never leaves the process


@pytest.mark.parametrize(
    "content", [b"{}\n", b"[1]\n", b"no json\n", b'{"decision": {"decision": "buy"}, "gate": null}\n']
)
def test_another_file_is_refused_with_its_line(tmp_path: Path, content: bytes) -> None:
    """In one line that says where it is."""
    path = tmp_path / "other.jsonl"
    path.write_bytes(content)
    with pytest.raises(UnreadableRecords, match=r"other\.jsonl, line 1 is no decision") as refused:
        list(read_records(path))
    assert "\n" not in str(refused.value)


def test_a_file_that_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    """A folder in its place, or nothing at all."""
    with pytest.raises(UnreadableRecords, match="cannot be read: No such file"):
        list(read_records(tmp_path / "missing"))
    with pytest.raises(UnreadableRecords, match="cannot be written to"):
        RecordWriter(tmp_path)
