"""Tests that a decision survives JSON to the last digit, and can be computed again from its own inputs."""

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from pydantic import ValidationError

from shared.domain.errors import InvalidParameter
from shared.domain.identity import Broker
from shared.domain.strategy.candle_window import WindowFault, WindowProblem
from shared.domain.strategy.cooldown import LossStreak
from shared.domain.strategy.decide import decide_again, decide_from
from shared.domain.strategy.decision import Enter, StrategyDecision, from_json, to_json, to_values
from shared.domain.strategy.exits import emergency_exit
from shared.domain.strategy.parameters import APEX
from shared.domain.strategy.routing import RoutedTo
from tests.support.strategy import NOW, inputs, position

D = Decimal
LONG = D("0.1234567890123456789012345678")


def decisions() -> list[StrategyDecision]:
    """One of each kind, with all optional values set somewhere."""
    fault = WindowFault(WindowProblem.GAP, NOW)
    urgent = emergency_exit(position(stop="900"), replace(inputs().account, best_bid=D(980)))
    assert urgent is not None
    return [
        decide_from(inputs(vwap=D(990) + LONG, four_hour_atr_pct=LONG)),
        decide_from(inputs(position(), best_bid=D("1005.5"))),
        decide_from(inputs(position(), losses=LossStreak(2, NOW - timedelta(hours=3)))),
        decide_from(inputs(route=RoutedTo(Broker.KRAKEN, "fees", "go there", D("0.02")), near=D("0.004"))),
        decide_from(inputs(exposure_usd=D(6000))),
        replace(
            decide_from(replace(inputs(), faults=(fault,), technical=None, candle=None, first_candle=None)),
        ),
        urgent,
    ]


@pytest.mark.parametrize("index", range(7))
def test_a_decision_is_the_same_after_json(index: int) -> None:
    """Every value comes back, whichever kind it is."""
    decision = decisions()[index]
    again = from_json(to_json(decision))
    assert again == decision
    assert type(again) is type(decision)
    assert to_json(again) == to_json(decision)
    assert to_values(decision) == json.loads(to_json(decision))


@pytest.mark.parametrize("index", range(7))
def test_a_recorded_decision_is_computed_again_to_the_last_digit(index: int) -> None:
    """The record alone is enough; that is what a replay compares."""
    decision = decisions()[index]
    assert decide_again(from_json(to_json(decision))) == decision


def test_no_digit_is_lost() -> None:
    """28 digits, as text and not as a JSON number."""
    entry = decisions()[0]
    assert isinstance(entry, Enter)
    assert json.loads(to_json(entry))["inputs"]["technical"]["vwap"] == "990.1234567890123456789012346"


def test_a_changed_record_is_noticed() -> None:
    """A decision that does not follow from its inputs differs from what is computed again."""
    entry = decisions()[0]
    assert isinstance(entry, Enter)
    forged = replace(entry, quantity=entry.quantity * 2)
    assert decide_again(forged) != forged
    with pytest.raises(ValidationError):
        from_json(to_json(entry).replace(b'"enter"', b'"perhaps"'))


def test_parameters_are_settings_with_defaults() -> None:
    """One is changed by its name; the other values stay."""
    changed = APEX.with_setting("near", "0.01").with_setting("conditions", "4")
    assert (changed.near, changed.conditions, changed.trail_atr) == (D("0.01"), 4, APEX.trail_atr)
    assert APEX.near == D("0.005")


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("nearness", "1", "'nearness' is no parameter of the strategy; known are: adx_above, "),
        ("near", "much", "strategy parameter near = much: near: "),
        ("near", "-0.1", "greater than or equal to 0"),
        ("exposure", "1.5", "less than or equal to 1"),
        ("conditions", "2.5", "conditions: "),
        ("conditions", "6", "less than or equal to 5"),
        ("first_part", "0.8", "first_part and second_part must be above 0 and at most 1 together"),
        ("rsi_from", "75", "rsi_from 75 is above rsi_to 70"),
    ],
)
def test_a_parameter_that_cannot_be_is_refused_by_name(name: str, text: str, problem: str) -> None:
    """In one line, with the name and what would be right."""
    with pytest.raises(InvalidParameter) as refused:
        APEX.with_setting(name, text)
    assert problem in str(refused.value)
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("10000", "10000"),
        ("1E+4", "10000"),
        ("0.10", "0.1"),
        ("10.0", "10"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("1E-7", "0.0000001"),
    ],
)
def test_an_amount_has_one_text(amount: str, text: str) -> None:
    """Without an exponent and without trailing zeros, however it was computed. Equal records have equal bytes."""
    decision = decide_from(inputs(exposure_usd=D(amount)))
    assert json.loads(to_json(decision))["inputs"]["account"]["exposure_usd"] == text
