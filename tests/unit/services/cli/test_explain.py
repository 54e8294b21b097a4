"""Tests `nija explain` on the decisions that a backtest recorded."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from services.backtest.records import RecordWriter
from services.cli.explain import explain_decision
from shared.config import ConfigurationError
from tests.support.backtests import one_trade


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Seven decisions: one entry, two candles without an exit, three targets, and the last candle."""
    path = tmp_path / "decisions.jsonl"
    with RecordWriter(path) as writer:
        one_trade(on_decision=writer.add)
    return path


def called(decision: str | None, records: Path | None, **options: Any) -> None:
    explain_decision(decision, **({"records": records, "limit": 40, "again": False, "as_json": False} | options))


def test_without_a_decision_entries_and_exits_are_listed(records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Newest first, with the number that the next call needs."""
    called(None, records)
    text = capsys.readouterr().out
    rows = [line.split() for line in text.splitlines() if ":" in line and "UTC" not in line]
    assert [row[0] for row in rows] == ["5", "4", "3", "1"]
    assert rows[-1][-1] == "buy"
    called(None, records, limit=2)
    assert "2 of 4; --limit shows more" in capsys.readouterr().out
    called(None, records, as_json=True)
    assert [each["number"] for each in json.loads(capsys.readouterr().out)] == [5, 4, 3, 1]


def test_a_decision_is_found_by_number_and_by_time(records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The time is that of its candle, or of the decision; several decisions of one candle are all shown."""
    called("1", records)
    by_number = capsys.readouterr().out
    assert "decision 1: Buy 0.19035532 BTC of BTC/USD" in by_number
    assert "class_risk" in by_number
    for moment in ("2024-01-02T00:55", "2024-01-02 01:00:06"):
        called(moment, records)
        assert capsys.readouterr().out == by_number
    called("2024-01-02T01:00", records)  # the candle after the entry; the exits within the next one were judged on it
    assert capsys.readouterr().out.count("decision ") == 4


def test_the_json_has_the_record_itself(records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every digit, the answer of the gate, and the sentence."""
    called("1", records, as_json=True)
    (found,) = json.loads(capsys.readouterr().out)
    line = json.loads(records.read_text().splitlines()[0])
    assert (found["decision"], found["gate"]) == (line["decision"], line["gate"])
    assert found["outcome"].startswith("Buy ")


@pytest.mark.parametrize(
    ("decision", "said"),
    [
        ("99", "has no decision 99"),
        ("2030-01-01", "has no decision 2030-01-01"),
        ("soon", "DECISION is 'soon'; it should be a number, or a time"),
    ],
)
def test_a_decision_that_is_not_there_is_named(records: Path, decision: str, said: str) -> None:
    """In one line."""
    with pytest.raises(ConfigurationError, match=said) as refused:
        called(decision, records)
    assert "\n" not in str(refused.value)


def test_every_recorded_decision_is_computed_again(records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All seven are the same; a record that was changed is found by its number."""
    called(None, records, again=True)
    assert "7 decisions computed again: 0 differences" in capsys.readouterr().out
    lines = records.read_text().splitlines()
    lines[1] = lines[1].replace('"reasons":["no_exit"]', '"reasons":["score"]')
    records.write_text("\n".join(lines))
    with pytest.raises(typer.Exit) as ended:
        called(None, records, again=True, as_json=True)
    assert ended.value.exit_code == 1
    assert json.loads(capsys.readouterr().out) == {"decisions": 7, "differing": [2]}


def test_without_a_decision_and_without_a_file_both_are_named() -> None:
    """It says where decisions are named, and which option lists those of a backtest."""
    with pytest.raises(ConfigurationError, match="DECISION is missing.*--records FILE"):
        called(None, None)
