"""Tests drawdown: the table at its bounds, recovery, transfers and the circuit breaker."""

from datetime import timedelta
from decimal import Decimal

import pytest

from shared.domain.capital.drawdown import (
    LIMITS,
    DrawdownRecord,
    DrawdownState,
    drawdown_pct,
    first_record,
    leverage_under,
    moved_peak,
    next_record,
    next_state,
    positions_under,
    state_of,
)
from shared.domain.capital.scaling import RULES, AccountClass
from tests.support.examples import NOW

D = Decimal
NORMAL, LIGHT, MODERATE, HEAVY = DrawdownState
SMALL, MEDIUM, LARGE = (RULES[each] for each in AccountClass)


def after(record: DrawdownRecord, *equities: str, minutes: int = 0) -> DrawdownRecord:
    """The record after readings without transfers."""
    for equity in equities:
        record = next_record(record, D(equity), D(0), NOW + timedelta(minutes=minutes))
    return record


@pytest.mark.parametrize(
    ("pct", "state"),
    [
        ("0", NORMAL),
        ("4.99", NORMAL),
        ("5", LIGHT),
        ("9.99", LIGHT),
        ("10", MODERATE),
        ("19.99", MODERATE),
        ("20", HEAVY),
        ("150", HEAVY),
    ],
)
def test_a_state_includes_its_lower_bound(pct: str, state: DrawdownState) -> None:
    """5, 10 and 20 %."""
    assert state_of(D(pct)) is state
    assert after(first_record(D(10_000)), str(D(10_000) - D(pct) * 100)).state is state


@pytest.mark.parametrize(
    ("state", "size", "positions"),
    [(NORMAL, "1", (5, 10, 15)), (LIGHT, "0.7", (3, 7, 10)), (MODERATE, "0.5", (2, 4, 6)), (HEAVY, "0.25", (1, 2, 3))],
)
def test_each_state_leaves_a_part_of_size_and_positions(
    state: DrawdownState, size: str, positions: tuple[int, int, int]
) -> None:
    """Positions are rounded down: 70 % of 5 are 3."""
    assert LIMITS[state].size == D(size)
    assert tuple(positions_under(state, rules) for rules in (SMALL, MEDIUM, LARGE)) == positions


@pytest.mark.parametrize(
    ("state", "small", "medium", "large"),
    [(NORMAL, 10, 8, 5), (LIGHT, 8, 6, 3), (MODERATE, 5, 3, 2), (HEAVY, 5, 3, 3)],
)
def test_each_state_lowers_the_leverage_but_not_below_the_class(
    state: DrawdownState, small: int, medium: int, large: int
) -> None:
    """−2, −5, at most 3, from the highest leverage of each class. A small account keeps its minimum of 5."""
    found = [leverage_under(state, D(rules.leverage.highest), rules, D(20)) for rules in (SMALL, MEDIUM, LARGE)]
    assert found == [small, medium, large]


@pytest.mark.parametrize("state", list(DrawdownState))
def test_a_spot_account_has_a_leverage_of_one_in_every_state(state: DrawdownState) -> None:
    """The minimum of the class does not raise it."""
    assert leverage_under(state, D(8), SMALL, D(1)) == 1


def test_a_leverage_of_three_for_missing_data_is_never_raised_by_the_class() -> None:
    """A small account has a minimum of 5."""
    assert leverage_under(LIGHT, D(3), SMALL, D(20)) == 3


@pytest.mark.parametrize(
    ("state", "pct", "expected"),
    [
        (LIGHT, "4.01", LIGHT),
        (LIGHT, "4", NORMAL),
        (MODERATE, "9.01", MODERATE),
        (MODERATE, "9", LIGHT),
        (HEAVY, "19.01", HEAVY),
        (HEAVY, "19", MODERATE),
        (HEAVY, "0", MODERATE),
        (MODERATE, "0", LIGHT),
        (NORMAL, "25", HEAVY),
    ],
)
def test_recovery_is_one_state_at_a_time_and_one_point_inside_it(
    state: DrawdownState, pct: str, expected: DrawdownState
) -> None:
    """A worse state begins at once, however many states it is away."""
    assert next_state(state, D(pct)) is expected


def test_a_full_recovery_takes_three_readings() -> None:
    """Heavy, moderate, light, normal."""
    record = after(first_record(D(100)), "75")
    states = []
    for _ in range(3):
        record = after(record, "100")
        states.append(record.state)
    assert states == [MODERATE, LIGHT, NORMAL]


def test_a_gain_moves_the_peak_and_a_loss_does_not() -> None:
    """10 % below the highest equity ever seen."""
    record = after(first_record(D(100)), "120", "108")
    assert (record.peak, record.drawdown_pct) == (120, 10)


@pytest.mark.parametrize(
    ("equity", "transferred", "drawdown"),
    [("1500", "500", "0"), ("400", "-600", "0"), ("1450", "500", "5"), ("400", "-500", "10"), ("1600", "500", "0")],
)
def test_a_transfer_is_neither_a_gain_nor_a_loss(equity: str, transferred: str, drawdown: str) -> None:
    """The peak was 1,000. What differs from it without the transfer is the result of trading."""
    record = next_record(first_record(D(1000)), D(equity), D(transferred), NOW)
    assert record.drawdown_pct == pytest.approx(D(drawdown))
    assert record.peak >= D(equity)


@pytest.mark.parametrize("transferred", ["-4500", "-8999", "9000", "1000000"])
def test_a_transfer_never_changes_the_drawdown(transferred: str) -> None:
    """A withdrawal of half the money does not trip the breaker, and a deposit does not hide a loss."""
    record = after(first_record(D(10_000)), "9000")
    moved = next_record(record, D(9000) + D(transferred), D(transferred), NOW)
    assert moved.drawdown_pct == pytest.approx(D(10))
    assert moved.state is MODERATE


def test_an_account_that_was_empty_starts_with_its_deposit() -> None:
    """There is no proportion, and nothing is divided by zero."""
    record = next_record(first_record(D(0)), D(1000), D(1000), NOW)
    assert (record.peak, record.drawdown_pct) == (1000, 0)
    emptied = next_record(record, D(0), D(-1000), NOW)
    assert (emptied.peak, emptied.drawdown_pct) == (0, 0)
    assert moved_peak(D(100), D(0), D(50)) == 150
    assert drawdown_pct(D(0), D(-5)) == 0


def test_heavy_drawdown_trips_the_breaker_for_24_hours() -> None:
    """Both sides of both bounds."""
    assert after(first_record(D(10_000)), "8001").breaker_until is None
    record = after(first_record(D(10_000)), "8000")
    assert record.breaker_until == NOW + timedelta(hours=24)
    assert record.is_breaker_open(NOW)
    assert record.is_breaker_open(NOW + timedelta(hours=24) - timedelta(seconds=1))
    assert not record.is_breaker_open(NOW + timedelta(hours=24))
    assert not first_record(D(1)).is_breaker_open(NOW)


def test_the_breaker_does_not_trip_again_in_the_same_heavy_state() -> None:
    """Else 24 hours would never end. Five points deeper trip it, and the count starts from there."""
    record = after(first_record(D(10_000)), "8000")
    assert after(record, "7501", minutes=60).breaker_until == record.breaker_until
    deeper = after(record, "7500", minutes=60)
    assert deeper.breaker_until == NOW + timedelta(hours=25)
    assert after(deeper, "7001", minutes=120).breaker_until == deeper.breaker_until
    assert after(deeper, "7000", minutes=120).breaker_until == NOW + timedelta(hours=26)


def test_the_breaker_trips_again_after_a_recovery() -> None:
    """A recovery to moderate does not end the 24 hours that have begun."""
    recovered = after(first_record(D(10_000)), "8000", "8100")
    assert recovered.state is MODERATE
    assert recovered.is_breaker_open(NOW)
    again = after(recovered, "8000", minutes=90)
    assert again.breaker_until == NOW + timedelta(hours=25, minutes=30)


def test_the_record_survives_a_restart() -> None:
    """Peak and breaker are stored as they are."""
    record = after(first_record(D(10_000)), "7777.77")
    assert DrawdownRecord.model_validate_json(record.model_dump_json()) == record


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-Infinity", "1e19"])
def test_numbers_that_mean_nothing_are_refused(bad: str) -> None:
    """A bad reading never becomes a peak."""
    with pytest.raises(ValueError, match="equity|finite"):
        next_record(first_record(D(1)), D(bad), D(0), NOW)
    with pytest.raises(ValueError, match="transferred|finite"):
        next_record(first_record(D(1)), D(1), D(bad), NOW)
    with pytest.raises(ValueError, match="drawdown|finite"):
        state_of(D(bad))
