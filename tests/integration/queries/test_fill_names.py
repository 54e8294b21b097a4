"""A fill is found by every name that `nija fills` shows, and an unclear name is an error that names the choices."""

import pytest

from shared.domain.identity import Broker
from shared.queries.connections import Connections
from shared.queries.fill_names import ContradictingBrokers, FillName, UnknownFill, find_fill, known_number


def test_every_way_to_name_a_fill_finds_it(connections: Connections) -> None:
    """Broker and number in any case, number with a broker, and the broker's own id."""
    for broker in (Broker.KRAKEN, Broker.OKX):
        name, fill_id = broker.value, f"T-{broker.value}"
        asked = [FillName.parse(text) for text in (f"{name}:1", f"{name.upper()}:1", fill_id, f"{name}:{fill_id}")]
        asked += [FillName.parse("1", broker), FillName.parse(f"{name}:1", broker)]
        assert {find_fill(connections, each).fill_id for each in asked} == {fill_id}


def test_a_number_at_two_brokers_is_an_error_with_a_name_that_works(connections: Connections) -> None:
    """The suggestion finds a fill."""
    with pytest.raises(UnknownFill, match="'1' is a fill of kraken, okx; choose one: kraken:1"):
        find_fill(connections, FillName.parse("1"))
    assert find_fill(connections, FillName.parse("kraken:1")).fill_id == "T-kraken"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kraken:9", "there is no fill '9' at kraken"),
        ("krakn:1", "there is no fill 'krakn:1'"),
        ("kraken:", "there is no fill 'kraken:'"),
    ],
)
def test_a_fill_that_does_not_exist_is_an_error(connections: Connections, text: str, words: str) -> None:
    """The error shows how the name was understood."""
    with pytest.raises(UnknownFill, match=words):
        find_fill(connections, FillName.parse(text))


def test_a_name_and_a_question_about_different_brokers_contradict() -> None:
    """No fill is looked for."""
    with pytest.raises(ContradictingBrokers, match="kraken:1 is a fill of kraken, not of okx"):
        FillName.parse("kraken:1", Broker.OKX)


def test_a_list_of_orders_takes_the_number_of_a_fill_that_exists(connections: Connections) -> None:
    """Several brokers may have it. Leading zeros do not matter; an id and an absent number are errors."""
    assert [known_number(connections, FillName.parse(text)) for text in ("1", "001", "okx:1")] == [1, 1, 1]
    for text, words in (("T-kraken", "should be a number"), ("0", "there is no fill 0"), ("7", "there is no fill 7")):
        with pytest.raises(UnknownFill, match=words):
            known_number(connections, FillName.parse(text))
