"""Tests `nija backtest`: what it prints, and that a wrong argument is refused by its name."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from services.backtest.candle_file import NothingToTest
from services.backtest.costs import UnknownBacktestSymbol
from services.cli import output
from services.cli.backtest import backtest
from shared.config import ConfigurationError
from shared.domain.errors import InvalidParameter, NijaError
from shared.exchange.candles import InvalidCandleFile
from tests.support.candle_file import minutes_file


def called(path: Path, **options: Any) -> None:
    """Call the command; what is not given has its default."""
    defaults: dict[str, Any] = {"broker": "kraken", "symbol": "BTC/USD", "since": None, "until": None, "settings": None}
    defaults |= {"equity": "10000", "slippage": None, "bias": False, "as_json": False}
    defaults |= {"sweep": None, "png": None, "html": None, "records": None}
    backtest(path, **(defaults | options))


def test_the_json_has_result_and_assumptions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One document with exact amounts as text, and the changed parameter among the others."""
    called(minutes_file(tmp_path), settings=["near=0.01", "conditions = 4"], as_json=True)
    result = json.loads(capsys.readouterr().out)
    assert (result["broker"], result["symbol"], result["equity_before"]) == ("kraken", "BTC/USD", "10000")
    assert result["candles"] == len(result["equity"]) == sum(result["decisions"].values())
    assert (result["parameters"]["near"], result["parameters"]["conditions"]) == ("0.01", 4)
    assert any("stop comes before a target" in assumption for assumption in result["assumptions"])


def test_the_tables_name_gaps_assumptions_and_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A reader of the figures sees what they rest on."""
    called(minutes_file(tmp_path, leave_out=range(12, 15)), settings=["near=0.01"])
    text = capsys.readouterr().out
    assert "equity after" in text
    assert "gap: 2024-01-01 00:14 to 2024-01-01 00:17 UTC is not traded over" in text
    assert "assumed: entries and exits of a close are executed at the next candle's open, 0.05 % worse" in text
    assert "changed: near = 0.01" in text
    assert "changed: conditions" not in text


def test_charts_page_and_records_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON goes to standard output as well. Without a terminal there is no bar."""
    files = {"png": tmp_path / "a.png", "html": tmp_path / "a.html", "records": tmp_path / "a.jsonl"}
    called(minutes_file(tmp_path), as_json=True, **files)
    done = capsys.readouterr()
    assert files["png"].read_bytes().startswith(b"\x89PNG")
    assert files["html"].read_text().startswith("<!DOCTYPE html>")
    assert len(files["records"].read_bytes().splitlines()) == json.loads(done.out)["candles"]
    assert done.err == ""


def test_a_terminal_sees_how_much_is_decided(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard error, so that the result can go to a file."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    with output.progress_bar("deciding", 8) as progress:
        progress(4)
    done = capsys.readouterr()
    assert done.out == ""
    assert "deciding" in done.err
    monkeypatch.delenv("FORCE_COLOR")
    with output.progress_bar("deciding", 8) as progress:
        progress(4)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("option", ["png", "html", "records"])
def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, option: str) -> None:
    """A folder is no file."""
    with pytest.raises(NijaError, match="cannot be written") as refused:
        called(minutes_file(tmp_path), **{option: tmp_path})
    assert str(tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_bias_checks_say_how_much_they_have_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An honest strategy has no difference, so the exit code is 0."""
    called(minutes_file(tmp_path), bias=True)
    assert "20 candles decided again on four other versions of the same past: 0 differences" in capsys.readouterr().out
    called(minutes_file(tmp_path), bias=True, as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "candles": 20,
        "findings": [],
        "planted_look_ahead_caught": True,
    }


def test_a_bias_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A strategy that reads the next candle is listed candle by candle, and the exit code is 1."""
    from services.backtest import decide_at

    honest = decide_at.decide_at_with()
    monkeypatch.setattr(
        decide_at, "decide_at_with", lambda _: lambda candles, index: honest(candles, min(index + 1, len(candles) - 1))
    )
    with pytest.raises(typer.Exit) as ended:
        called(minutes_file(tmp_path), bias=True)
    assert ended.value.exit_code == 1
    assert "bias: cut at 2024-01-02 " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"broker": "krakn"}, ConfigurationError, "--broker: unknown broker 'krakn'"),
        ({"symbol": "XYZ/USD"}, UnknownBacktestSymbol, "XYZ/USD is not listed"),
        ({"symbol": "/USD"}, ConfigurationError, "--symbol: "),
        ({"since": "soon"}, ConfigurationError, "--from is 'soon'; it should be a day or a time"),
        ({"until": "2024-13-01"}, ConfigurationError, "--to is '2024-13-01'"),
        ({"until": "2024-01-01"}, NothingToTest, "choose a longer time or a larger file"),
        ({"since": "2024-01-03"}, NothingToTest, "the last one begins at 2024-01-02 02:35 UTC"),
        ({"settings": ["near"]}, ConfigurationError, "--set is 'near'; it should be NAME=VALUE"),
        ({"settings": ["nearness=1"]}, InvalidParameter, "'nearness' is no parameter of the strategy"),
        ({"settings": ["near=x"]}, InvalidParameter, "strategy parameter near = x"),
        ({"equity": "0"}, ConfigurationError, "--equity is 0"),
        ({"equity": "much"}, ConfigurationError, "--equity: 'much' is not a decimal number"),
        ({"slippage": "1"}, ConfigurationError, "--slippage is 1"),
        ({"slippage": "-0.1"}, ConfigurationError, "--slippage is -0.1"),
    ],
)
def test_a_wrong_argument_is_named(tmp_path: Path, options: dict[str, Any], error: type[NijaError], said: str) -> None:
    """In one line that says what would be right."""
    with pytest.raises(error) as refused:
        called(minutes_file(tmp_path), **options)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_candle_file_is_refused(tmp_path: Path) -> None:
    """Its first problem is named with its row."""
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InvalidCandleFile, match="has the columns 'a,b'"):
        called(path)
