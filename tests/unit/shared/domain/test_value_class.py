"""Tests of frozen value classes that are built quickly."""

from dataclasses import FrozenInstanceError, dataclass, field, replace

import orjson
import pytest
from pydantic import TypeAdapter

from shared.domain.value_class import value_class


@value_class
class Quick:
    """A value with a default."""

    name: str
    count: int = 3


@dataclass(frozen=True, kw_only=True)
class Ordinary:
    """The same fields as `Quick`."""

    name: str
    count: int = 3


def test_it_behaves_like_an_ordinary_frozen_dataclass() -> None:
    """Text, equality, hash, `replace` and JSON are those of a dataclass with the same fields."""
    quick, ordinary = Quick(name="a"), Ordinary(name="a")
    assert repr(quick) == repr(ordinary).replace("Ordinary", "Quick")
    assert quick == Quick(name="a", count=3) != Quick(name="a", count=4)
    assert hash(quick) == hash(ordinary)
    assert replace(quick, count=5) == Quick(name="a", count=5)
    assert orjson.dumps(quick) == orjson.dumps(ordinary)
    assert TypeAdapter(Quick).validate_json('{"name":"a","count":7}') == Quick(name="a", count=7)


def test_it_cannot_be_changed() -> None:
    """A field cannot be set after the value was built."""
    with pytest.raises(FrozenInstanceError):
        Quick(name="a").count = 4  # type: ignore[misc]


def test_a_missing_unknown_or_unnamed_field_is_an_error() -> None:
    """The constructor takes each field by its name, and no other argument."""
    for wrong in (Quick, lambda: Quick(name="a", size=1), lambda: Quick("a")):  # type: ignore[call-arg, misc]
        with pytest.raises(TypeError):
            wrong()


def test_a_class_that_needs_more_is_refused() -> None:
    """A default that is made for each value would be lost, so such a class is refused when it is defined."""

    class Listed:
        values: list[int] = field(default_factory=list)

    with pytest.raises(TypeError, match="Listed needs an ordinary dataclass"):
        value_class(Listed)
