"""A symbol names a base and a quote currency, and is its own text."""

import copy
import json
import pickle

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from shared.domain.errors import InvalidSymbol
from shared.domain.symbol import Symbol


class Quote(BaseModel):
    symbol: Symbol
    by_symbol: dict[Symbol, int] = {}


def test_base_and_quote_are_read_from_the_text() -> None:
    """`BTC/USD` buys and sells BTC and is paid in USD."""
    symbol = Symbol.parse("BTC/USD")
    assert (symbol.base, symbol.quote) == ("BTC", "USD")
    assert symbol == Symbol("BTC", "USD") == "BTC/USD"
    assert {symbol: 1}["BTC/USD"] == 1


def test_a_name_whose_quote_is_not_known_has_an_empty_quote() -> None:
    """A pair that its broker no longer lists may have such a name."""
    symbol = Symbol.parse("XICNXXBT")
    assert (symbol.base, symbol.quote) == ("XICNXXBT", "")
    assert symbol == "XICNXXBT"


@pytest.mark.parametrize("text", ["", "/USD", "BTC/USD/EUR"])
def test_other_texts_are_refused_with_an_example(text: str) -> None:
    """The error shows what a symbol looks like."""
    with pytest.raises(InvalidSymbol, match="BASE/QUOTE, such as BTC/USD"):
        Symbol.parse(text)


def test_messages_carry_the_text_and_give_back_the_symbol() -> None:
    """Models write plain text and read a Symbol, as a field and as a key."""
    quote = Quote(symbol="BTC/USD", by_symbol={"ETH/USD": 1})
    assert json.loads(quote.model_dump_json()) == {"symbol": "BTC/USD", "by_symbol": {"ETH/USD": 1}}
    again = Quote.model_validate_json(quote.model_dump_json())
    assert again == quote
    assert again.symbol.base == "BTC"
    assert next(iter(again.by_symbol)).base == "ETH"
    with pytest.raises(ValidationError):
        TypeAdapter(Symbol).validate_python("")


def test_a_copy_is_a_symbol() -> None:
    """Celery pickles and pydantic copies; both return a Symbol."""
    symbol = Symbol("BTC", "USD")
    for again in (pickle.loads(pickle.dumps(symbol)), copy.deepcopy(symbol)):  # noqa: S301  our own bytes
        assert type(again) is Symbol
        assert again == symbol
