"""Tests at which broker a small account should trade, and what it aims at where it is."""

from dataclasses import replace
from decimal import Decimal

import pytest

from shared.brokers.registry import profile_of
from shared.domain.identity import Broker
from shared.domain.strategy.routing import BrokerOffer, OpensHere, RoutedTo, get_optimal_broker, route_of

D = Decimal


def offers(*connected: Broker) -> list[BrokerOffer]:
    """All brokers with their default fees; these are connected."""
    return [profile_of(broker).offer(connected=broker in connected) for broker in Broker]


def test_thirty_dollars_at_coinbase_are_routed_to_kraken() -> None:
    """Coinbase opens nothing; the record names the other broker, the reason and what to do."""
    route = route_of(Broker.COINBASE, D(30), offers(Broker.COINBASE, Broker.KRAKEN))
    assert route == RoutedTo(
        broker=Broker.KRAKEN,
        reason="30 USD is below 50 USD, and a round trip costs 1.4 % at coinbase and 0.62 % at kraken",
        solution="trade this money at kraken, or hold at least 50 USD at coinbase",
        minimum_profit=D("0.02"),
    )


@pytest.mark.parametrize(
    ("connected", "expected"),
    [
        ((Broker.COINBASE, Broker.KRAKEN, Broker.ALPACA), Broker.KRAKEN),
        ((Broker.COINBASE, Broker.ALPACA), Broker.ALPACA),
        ((Broker.COINBASE, Broker.KRAKEN, Broker.OKX), Broker.OKX),
        (tuple(Broker), Broker.BINANCE),
    ],
)
def test_the_cheapest_connected_broker_is_named(connected: tuple[Broker, ...], expected: Broker) -> None:
    """By the round trip of coins; Kraken comes before Alpaca."""
    route = route_of(Broker.COINBASE, D("49.99"), offers(*connected))
    assert isinstance(route, RoutedTo)
    assert route.broker is expected
    assert get_optimal_broker(D("49.99"), offers(*connected)).broker is expected


def test_coinbase_alone_aims_at_two_percent() -> None:
    """Without another broker it opens, and a target brings at least 2.0 %."""
    assert route_of(Broker.COINBASE, D(30), offers(Broker.COINBASE)) == OpensHere(D("0.02"))
    choice = get_optimal_broker(D(30), offers(Broker.COINBASE))
    assert choice.broker is Broker.COINBASE
    assert choice.reason == "only coinbase is connected, and 30 USD is little for 1.4 % a round trip"


def test_from_fifty_dollars_on_coinbase_opens_with_its_usual_profit() -> None:
    """Round trip and 0.2 %."""
    assert route_of(Broker.COINBASE, D(50), offers(Broker.COINBASE, Broker.KRAKEN)) == OpensHere(D("0.016"))


def test_other_brokers_open_with_any_balance() -> None:
    """Their own minimums decide."""
    assert route_of(Broker.KRAKEN, D(10), offers(*Broker)) == OpensHere(D("0.0082"))


def test_the_choice_says_why() -> None:
    """A reader sees the costs of the chosen broker and of the others."""
    choice = get_optimal_broker(D(1000), offers(Broker.KRAKEN, Broker.COINBASE))
    assert choice.broker is Broker.KRAKEN
    assert choice.reason == "a round trip costs 0.62 % at kraken, which is preferred to coinbase (1.4 %)"
    assert get_optimal_broker(D(1000), offers(Broker.OKX)).reason == "only okx is connected"
    nothing = get_optimal_broker(D(1000), offers())
    assert (nothing.broker, nothing.reason) == (None, "no broker is connected")


def test_an_accounts_own_tier_moves_the_choice() -> None:
    """Kraken with lower fees of its own is cheaper than OKX."""
    kraken, okx = offers(*Broker)[1:3]
    cheap = replace(kraken, fees=kraken.fees.model_copy(update={"taker": D("0.0001")}))
    assert get_optimal_broker(D(1000), [cheap, okx]).broker is Broker.KRAKEN


def test_offers_without_the_own_broker_are_a_mistake_of_the_caller() -> None:
    """They could not be compared."""
    with pytest.raises(ValueError, match="the offers have no coinbase"):
        route_of(Broker.COINBASE, D(30), offers(Broker.COINBASE)[1:])
