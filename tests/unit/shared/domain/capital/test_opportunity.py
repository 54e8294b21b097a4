"""Tests opportunity cost: each rule at its bounds, the examples, correlation and the positions that are compared."""

from decimal import Decimal

import pytest

from shared.domain.capital.opportunity import OpportunityAction, adjusted_score, opportunity
from tests.support.capital import a_position

D = Decimal
CLOSE, NEW, HOLD, SKIP = OpportunityAction


def decide(score: str, worst: str | None, free: str = "50", correlation: str | None = None) -> OpportunityAction:
    """The action for a score against a worst position; None: there is no position."""
    positions = () if worst is None else (a_position("ETH", score="99"), a_position("BTC", score=worst))
    found = opportunity(D(score), positions, D(free), correlation=None if correlation is None else D(correlation))
    return found.action


@pytest.mark.parametrize(
    ("score", "worst", "free", "action"),
    [
        ("75", None, "20", NEW),
        ("75", None, "19.99", SKIP),
        ("0", None, "100", NEW),
        ("75", "64.99", "50", CLOSE),
        ("75", "65", "50", HOLD),
        ("80", "69.99", "50", CLOSE),
        ("80", "70", "50", HOLD),
        ("70", "60", "50", HOLD),
        ("80.01", "75", "30.01", NEW),
        ("80", "75", "30.01", HOLD),
        ("80.01", "75", "30", HOLD),
        ("90", "85", "19.99", SKIP),
        ("90", "85", "20", HOLD),
        ("50", "85", "20", HOLD),
        ("50", "85", "19.99", SKIP),
        ("75", "64", "0", CLOSE),
    ],
)
def test_each_rule_at_its_bounds(score: str, worst: str | None, free: str, action: OpportunityAction) -> None:
    """The examples are among them: 75, 80 (not above 80) and 70 against a worst of 60."""
    assert decide(score, worst, free) is action


@pytest.mark.parametrize(
    ("correlation", "score"), [(None, "75"), ("0.8", "75"), ("0.81", "65"), ("1", "65"), ("-1", "75")]
)
def test_a_correlation_above_0_8_takes_ten_points_off(correlation: str | None, score: str) -> None:
    """A score never falls below 0."""
    assert adjusted_score(D(75), None if correlation is None else D(correlation)) == D(score)
    assert adjusted_score(D(5), D(1)) == 0


def test_correlation_changes_the_decision() -> None:
    """75 is better than 60 by 15, and 65 by 5 only."""
    assert decide("75", "60") is CLOSE
    assert decide("75", "60", correlation="0.9") is HOLD


def test_the_worst_position_is_the_one_with_the_lowest_score() -> None:
    """The answer names it."""
    found = opportunity(D(90), (a_position("ETH", score="70"), a_position("BTC", score="60")), D(50))
    assert (found.worst, found.worst_score, found.score) == ("BTC/USD", 60, 90)


def test_a_position_without_a_score_is_never_closed() -> None:
    """It cannot be compared, and it still is a position."""
    found = opportunity(D(75), (a_position(score=None),), D(50))
    assert (found.action, found.worst) == (HOLD, None)


def test_after_room_was_made_no_second_position_is_closed() -> None:
    """The next worst would be closed too, and then the next one."""
    positions = (a_position(score="10"),)
    assert opportunity(D(75), positions, D(50), has_made_room=True).action is NEW
    assert opportunity(D(75), positions, D("19.99"), has_made_room=True).action is SKIP


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-0.01", "100.01"])
def test_a_score_outside_0_to_100_is_refused(bad: str) -> None:
    """A ValueError."""
    with pytest.raises(ValueError, match="score|finite"):
        opportunity(D(bad), (), D(50))


@pytest.mark.parametrize("bad", ["NaN", "1.01", "-1.01"])
def test_a_correlation_outside_its_range_is_refused(bad: str) -> None:
    """−1 to 1."""
    with pytest.raises(ValueError, match="correlation|finite"):
        adjusted_score(D(50), D(bad))
