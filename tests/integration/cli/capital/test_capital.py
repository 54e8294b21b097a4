"""Tests that each command of `nija capital` answers, as a table of 80 columns and as JSON with numbers."""

from typing import Any

import pytest

from services.cli import output
from tests.integration.cli.capital.conftest import Nija

COMMANDS = [
    ["state"],
    ["history", "--hours", "48"],
    ["leverage", "BTC-USD"],
    ["kelly", "BTC", "--win-rate", "0.58", "--average-win", "1.75", "--average-loss", "1"],
    ["margin"],
    ["scaling"],
    ["risk-parity", "BTC=2.5", "ETH=3.2", "SOL=5.8"],
    ["drawdown"],
    ["allocation"],
    ["liquidity", "BTCUSDT", "250"],
    ["recommend", "BTC", "--score", "85", "--expected-return", "5", "--win-rate", "0.6"],
    ["analysis", "ETH", "--score", "85", "--expected-return", "5"],
]


def numbers_in(document: Any) -> list[Any]:
    """Every value of a document that is neither a container nor a name."""
    if isinstance(document, dict):
        return [each for value in document.values() for each in numbers_in(value)]
    if isinstance(document, list):
        return [each for value in document for each in numbers_in(value)]
    return [document]


def test_every_command_answers_in_both_forms(nija: Nija, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table fits in 80 columns. In JSON no amount is text, and the account is named."""
    monkeypatch.setattr(output.console, "width", 80)
    for arguments in COMMANDS:
        shown = nija(*arguments, "--json")
        assert shown.code == 0, shown.err
        document = shown.document
        assert (document["broker"], document["account"]) == ("kraken", "master")
        texts = [each for each in numbers_in(document) if isinstance(each, str)]
        assert not [each for each in texts if each.replace(".", "", 1).lstrip("-").isdecimal()], arguments
        table = nija(*arguments)
        assert table.code == 0, table.err
        assert max(map(len, table.out.splitlines())) <= 80, arguments


def test_the_state_of_a_spot_account(nija: Nija) -> None:
    """The figures of the API, as numbers."""
    found = nija("state", "--json").document
    assert (found["total_equity"], found["available_balance"], found["buying_power"]) == (5_000, 4_000, 4_000)
    assert (found["margin_used_pct"], found["capital_status"], found["positions"]) == (0, "HEALTHY", 1)


def test_the_odds_of_a_kelly_size_are_those_of_the_options(nija: Nija) -> None:
    """58 % and 1.75 are 34 % by the formula and 17 % by half, clamped to 5; the risk of the class is 100 dollars."""
    arguments = ("--win-rate", "0.58", "--average-win", "1.75", "--average-loss", "1", "--json")
    found = nija("kelly", "BTC", *arguments).document
    assert (found["kelly"]["kelly_pct"], found["kelly"]["half_kelly_pct"], found["kelly"]["clamped_pct"]) == (34, 17, 5)
    assert (found["size"], found["kelly"]["odds"]["win_rate_from"]) == (100, "request")


def test_a_rejected_entry_is_exit_code_1(nija: Nija) -> None:
    """The reason is one sentence. Standard error stays empty, because the command was right."""
    found = nija("recommend", "BTC", "--score", "85", "--expected-return", "0.1", "--json")
    assert (found.code, found.err) == (1, "")
    assert found.document["recommendation"] == "REJECT"
    assert found.document["reason_codes"] == ["return_below_cost"]


WRONG_USE = [
    (["leverage", "NOPE"], "SYMBOL: kraken lists no pair 'NOPE'; a pair is for example BTC-USD"),
    (["leverage", "BTC", "--win-rate", "1.5"], "--win-rate is '1.5'; it should be a number from 0 to 1"),
    (["leverage", "BTC", "--win-rate", "NaN"], "--win-rate is 'NaN'; it should be a number from 0 to 1"),
    (
        ["leverage", "BTC", "--regime", "wild"],
        "--regime is 'wild'; it should be one of STRONG_TREND, TRENDING, RANGING, VOLATILE",
    ),
    (
        ["kelly", "BTC", "--average-win", "2"],
        "--average-loss is missing: an average win and an average loss belong together",
    ),
    (["liquidity", "BTC", "0"], "DOLLARS is '0'; it should be a number above 0 to 1000000000000"),
    (["liquidity", "BTC", "5", "--side", "up"], "--side is 'up'; it should be buy or sell"),
    (
        ["recommend", "BTC", "--score", "101", "--expected-return", "5"],
        "--score is '101'; it should be a number from 0 to 100",
    ),
    (
        ["risk-parity", "BTC=2.5", "ETH"],
        "SYMBOL: give a volatility for each symbol, such as BTC=2.5 ETH=3.2, or for none",
    ),
    (["risk-parity", "BTC=1", "BTC=2"], "SYMBOL: a symbol is given twice"),
    (["state", "--account", "alice"], "--account: there is no account 'alice'; accounts: kraken:master"),
    (["state", "--broker", "mtgox"], "--broker: unknown broker 'mtgox'; known are"),
]
"""Arguments, and what the one line begins with."""


def test_bad_input_gets_one_line_that_says_what_would_be_right(nija: Nija) -> None:
    """Nothing is printed as a result, and the exit code is that of wrong use."""
    for arguments, problem in WRONG_USE:
        found = nija(*arguments)
        assert (found.code, found.out) == (2, ""), arguments
        assert found.err.startswith(f"nija: {problem}")
        assert found.err.count("\n") == 1


def test_an_account_that_was_never_read_is_a_finding(empty_nija: Nija) -> None:
    """The command was right, and there is no answer now."""
    found = empty_nija("state")
    assert (found.code, found.err) == (1, "nija: no master account has been read yet\n")
