"""Tests that an explanation names each value of a decision, what it was compared with, and what decided."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.domain.capital.gate import recommend
from shared.domain.capital.recommendation import GateInputs, Recommendation
from shared.domain.identity import Broker
from shared.domain.strategy.candle_window import WindowFault, WindowProblem
from shared.domain.strategy.cooldown import LossStreak
from shared.domain.strategy.decide import decide_from
from shared.domain.strategy.decision import Enter, Exit, HoldReason
from shared.domain.strategy.explanation import REASONS, ExplainedValue, Explanation, explain
from shared.domain.strategy.gate_request import request_of
from shared.domain.strategy.routing import RoutedTo
from tests.support.capital import gate_inputs
from tests.support.examples import NOW as GATE_NOW
from tests.support.strategy import NOW, inputs, position

D = Decimal


def values_of(explanation: Explanation, title: str) -> dict[str, ExplainedValue]:
    """The values of one part by name."""
    (part,) = (part for part in explanation.parts if part.title == title)
    return {each.name: each for each in part.values}


def answer_to(entry: Enter, **changes: Any) -> Recommendation:
    """The gate's answer for a cash account of 5,000 US dollars."""
    asked: GateInputs = gate_inputs(request=request_of(entry), **changes)
    return recommend(asked, GATE_NOW)


def entry(**changes: Any) -> Enter:
    """An entry at 1,000 with a stop at 990."""
    decision = decide_from(inputs(**changes))
    assert isinstance(decision, Enter)
    return decision


def test_every_reason_has_its_words() -> None:
    """None is missing, and no two are the same."""
    assert set(REASONS) == set(HoldReason)
    assert len(set(REASONS.values())) == len(REASONS)


@pytest.mark.parametrize(
    ("changes", "part", "name", "wanted"),
    [
        ({"vwap": D(1000)}, "market filter", "close", "> VWAP 1000"),
        ({"ema_50": D(997)}, "market filter", "EMA9", "> EMA21 997 > EMA50 997"),
        ({"histogram": D(0)}, "market filter", "MACD histogram", "> 0"),
        ({"adx": D(20)}, "market filter", "ADX14", "> 20"),
        ({"volume": D("49.9")}, "market filter", "volume", "≥ 50, 50 % of the mean of 5"),
        (
            {"close": D(1100), "high": D(1100), "vwap": D(900)},
            "entry conditions",
            "close",
            "within 0.5 % of EMA21 or VWAP",
        ),
        ({"rsi": D(71)}, "entry conditions", "RSI14", "30 to 70, above 55"),
        ({"bullish_engulfing": False}, "entry conditions", "pattern", "bullish engulfing or hammer"),
        ({"histogram_before": D(3)}, "entry conditions", "MACD histogram", "> 3"),
        ({"volume": D(55)}, "entry conditions", "volume", "≥ 60, 60 % of the mean of 2"),
        ({"conditions": 5, "rsi": D(71)}, "entry conditions", "score", "≥ 5"),
        ({"volume": D("29.9")}, "entry conditions", "thin volume", "≥ 30, 30 % of the mean of 20"),
    ],
)
def test_each_check_that_fails_says_what_was_wanted(changes: dict[str, Any], part: str, name: str, wanted: str) -> None:
    """The same value holds in the good market."""
    failed = values_of(explain(decide_from(inputs(**changes))), part)[name]
    assert (failed.wanted, failed.holds) == (wanted, False)
    assert values_of(explain(decide_from(inputs())), part)[name].holds is True


def test_the_reasons_of_a_hold_are_all_there() -> None:
    """A stopped account in a weak market has three, and the account says why it is stopped."""
    explanation = explain(decide_from(inputs(opens_stopped="halt", adx=D(10))))
    assert explanation.outcome == "Neither buy nor sell BTC/USD."
    expected = (HoldReason.OPENS_STOPPED, HoldReason.FILTER, HoldReason.NO_TREND)
    assert explanation.reasons == tuple(REASONS[reason] for reason in expected)
    assert values_of(explanation, "account")["opens stopped"].value == "halt"


def test_a_window_without_a_decision_names_its_faults() -> None:
    """There are no indicators to show then."""
    fault = WindowFault(WindowProblem.GAP, NOW)
    explanation = explain(decide_from(replace(inputs(), faults=(fault,), technical=None, candle=None)))
    assert explanation.reasons == ("the candles cannot be used",)
    assert values_of(explanation, "candles")["fault"].value == "gap"
    assert [part.title for part in explanation.parts] == ["candles", "account"]


def test_an_entry_names_the_limit_that_decided_its_size() -> None:
    """First those of the strategy, then those of the gate; without an answer it is open."""
    wanted = entry(held_usd=D(900))
    limits = values_of(explain(wanted), "limits of the size")
    assert {name for name, each in limits.items() if each.wanted == "decides"} == {"symbol_cap"}
    assert "if the capital gate approves" in explain(wanted).outcome
    approved = explain(entry(), answer_to(entry()))
    assert "The capital gate approved" in approved.outcome
    gate = values_of(approved, "capital gate")
    assert gate["answer"].holds is True
    assert {name for name, each in gate.items() if each.wanted.endswith("decides")} == {"class_risk"}


def test_a_rejected_entry_says_why() -> None:
    """The sentence of the gate is the reason."""
    answer = answer_to(entry(), market=None)
    explanation = explain(entry(), answer)
    assert explanation.outcome.startswith("Not bought: ")
    assert explanation.reasons == (answer.reason,)
    assert values_of(explanation, "capital gate")["answer"].wanted == "market_data_missing"


@pytest.mark.parametrize(
    ("bid", "changes", "due"),
    [
        ("989", {}, "price for emergency"),
        ("994", {}, "price for the stop"),
        ("1001", {"ema_9": D(996)}, "EMA9"),
        ("1006", {}, "price for 1R"),
    ],
)
def test_a_sale_shows_each_exit_in_its_order(bid: str, changes: dict[str, Any], due: str) -> None:
    """The first one that is reached decides; those before it are not reached."""
    decision = decide_from(inputs(position(), best_bid=D(bid), **changes))
    assert isinstance(decision, Exit)
    exits = values_of(explain(decision), "position and exits")
    checks = [name for name, each in exits.items() if each.holds is not None]
    assert checks == [
        "price for emergency",
        "price for the stop",
        "EMA9",
        *(f"price for {number}R" for number in (1, 2, 3)),
    ]
    assert next(name for name in checks if exits[name].holds) == due
    assert explain(decision).outcome.startswith(f"Sell {'50' if due == 'price for 1R' else '100'} % of the position")


def test_a_stop_that_moved_shows_where_it_was() -> None:
    """A close at 2R behind the first target raises it."""
    held = replace(position(), sold=D("0.5"), quantity=D("0.5"))
    raised = values_of(explain(decide_from(inputs(held, close=D("1009"), high=D(1010)))), "position and exits")
    assert raised["price for the stop"].wanted.endswith("raised from 995")


def test_the_account_shows_pause_route_and_atr() -> None:
    """What the account adds to the decision is explained as the market is."""
    route = RoutedTo(Broker.KRAKEN, "fees are lower", "trade there", D("0.02"))
    losses = LossStreak(3, NOW - timedelta(minutes=5))
    shown = values_of(explain(decide_from(inputs(route=route, losses=losses, four_hour_atr_pct=D("1.5")))), "account")
    assert shown["routed to"].wanted == "fees are lower; trade there"
    assert shown["losses in a row"].wanted.startswith("no entries until ")
    assert shown["4-hour ATR"].value == "1.5 % of the price"
