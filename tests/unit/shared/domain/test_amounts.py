"""Tests which values become exact amounts, and how amounts are written and rounded."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from shared.domain.amounts import Amount, Instant, parse_amount, plain, round_down
from shared.domain.errors import InvalidAmount

FINITE = st.decimals(allow_nan=False, allow_infinity=False, places=10, min_value=-(10**12), max_value=10**12)
STEPS = st.sampled_from([Decimal(s) for s in ("1", "0.1", "0.00000001", "0.25", "3", "0.003", "100", "0.0007")])


class Payment(BaseModel):
    amount: Amount
    at: Instant = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "value", [0.25, 1.0, float("nan"), True, None, b"1", [1], "abc", "", "NaN", "-Infinity", "1,5", "1E+101", "1E-9999"]
)
def test_what_is_no_exact_decimal_is_refused(value: Any) -> None:
    """A float, a bool, NaN, infinity, text that is not a number and absurd sizes are rejected."""
    with pytest.raises(InvalidAmount):
        parse_amount(value)


@pytest.mark.parametrize("document", ['{"amount": 0.1}', '{"amount": 1e3}', '{"amount": "NaN"}', '{"amount": null}'])
def test_a_json_float_for_money_is_refused(document: str) -> None:
    """The model, and not only the function, rejects a JSON number with a fraction or exponent."""
    with pytest.raises(ValidationError):
        Payment.model_validate_json(document)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("1E-8", "0.00000001"),
        ("1E+5", "100000"),
        ("50000.000", "50000"),
        ("-0.0", "0"),
        ("0E-20", "0"),
        ("-1.50", "-1.5"),
    ],
)
def test_plain_text_has_no_exponent_and_no_trailing_zeros(amount: str, text: str) -> None:
    """Each amount has exactly one text."""
    assert plain(Decimal(amount)) == text


@given(FINITE)
def test_amounts_survive_the_wire(amount: Decimal) -> None:
    """An amount stays equal when it is written and read, and so does its text."""
    text = Payment(amount=amount).model_dump_json()
    again = Payment.model_validate_json(text)
    assert again.amount == amount
    assert again.model_dump_json() == text


@given(FINITE.map(abs), STEPS)
def test_rounding_down_finds_the_largest_multiple_not_above(amount: Decimal, step: Decimal) -> None:
    """The result is a multiple of the step, at most the amount, and less than one step below it."""
    rounded = round_down(amount, step)
    assert rounded % step == 0
    assert rounded <= amount < rounded + step


def test_rounding_down_never_rounds_a_long_quotient_up() -> None:
    """An amount of 28 digits just below a multiple of 3 stays below it."""
    amount = Decimal("8.999999999999999999999999999")
    assert round_down(amount, Decimal(3)) == 6


def test_moments_become_utc_and_naive_ones_are_refused() -> None:
    """A time in another zone becomes the same time in UTC. A time without a zone is rejected."""
    vienna = datetime(2026, 1, 5, 13, tzinfo=timezone(timedelta(hours=1)))
    assert Payment(amount=Decimal(1), at=vienna).at.isoformat() == "2026-01-05T12:00:00+00:00"
    with pytest.raises(ValidationError):
        Payment(amount=Decimal(1), at=datetime(2026, 1, 5, 12))  # noqa: DTZ001  that is what is refused


def test_a_quantity_of_more_than_28_digits_is_rounded_to_its_lot() -> None:
    """Cheap coins have balances with more lots than the usual 28 digits can count."""
    balance = Decimal("123456789012345678.901234567890123456")
    assert round_down(balance, Decimal("0.000000000000000001")) == balance
    assert round_down(balance, Decimal("0.00000001")) == Decimal("123456789012345678.90123456")
