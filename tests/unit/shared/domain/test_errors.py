"""Tests the text about data that could not be read."""

import pytest
from pydantic import BaseModel, ValidationError

from shared.domain.errors import problems_of


class Pair(BaseModel):
    """Two numbers, one of them inside another model."""

    inner: "Inner"
    number: int


class Inner(BaseModel):
    """A number and many more."""

    number: int
    many: list[int] = []


def refused(text: str) -> ValidationError:
    """What pydantic says about a text that is no pair."""
    with pytest.raises(ValidationError) as caught:
        Pair.model_validate_json(text)
    return caught.value


def test_each_problem_names_its_field_and_not_its_value() -> None:
    """The value may be a secret."""
    text = problems_of(refused('{"inner": {"number": "s3cret"}, "number": 1.5}'), "pair")
    assert [each.partition(": ")[0] for each in text.split("; ")] == ["inner.number", "number"]
    assert "s3cret" not in text


def test_a_problem_of_the_whole_is_called_by_its_name() -> None:
    """There is no field to name."""
    assert problems_of(refused("no JSON"), "pair").startswith("pair: Invalid JSON")


def test_many_problems_make_a_short_text() -> None:
    """A batch of thousands of broken entries still fits into one line of the log."""
    broken = ", ".join(['"x"'] * 1000)
    text = problems_of(refused(f'{{"inner": {{"number": 1, "many": [{broken}]}}, "number": 1}}'), "pair")
    assert text.count(";") == 4
