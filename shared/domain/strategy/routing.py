"""Chooses the broker at which a small account should trade, by what trading costs there.

No order is sent to another broker: each broker trades its own money. The result says where the owner should trade
instead, and why. All rates are fractions of the price.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from shared.domain.amounts import ZERO, Amount, plain
from shared.domain.fees import Fees
from shared.domain.identity import Broker


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerOffer:
    """What a broker means for an account that trades coins there."""

    broker: Broker
    fees: Fees
    """For coins, of the account's own tier where it is known."""
    connected: bool
    opens_from_usd: Amount = ZERO
    """With less equity, its fees are too high to open anything there while another broker is connected."""
    small_account_profit: Amount = ZERO
    """The smallest profit that such an account aims at when no other broker is connected."""
    rank: int = 0
    """A broker of a higher rank is chosen only when none of a lower one is connected."""


@dataclass(frozen=True, slots=True)
class BrokerChoice:
    """The broker that fits a balance best, and why; no broker when none is connected."""

    broker: Broker | None
    reason: str


@dataclass(frozen=True)
class OpensHere:
    """The account opens positions at its own broker."""

    minimum_profit: Amount
    """The smallest profit that a target may bring."""
    route: Literal["opens_here"] = "opens_here"


@dataclass(frozen=True)
class RoutedTo:
    """The account opens nothing, because its money would do better at another broker."""

    broker: Broker
    reason: str
    solution: str
    minimum_profit: Amount
    """For positions that are still open."""
    route: Literal["routed_to"] = "routed_to"


Route = OpensHere | RoutedTo


def get_optimal_broker(balance: Decimal, brokers: Iterable[BrokerOffer]) -> BrokerChoice:
    """Return the connected broker that a balance in US dollars should be traded at, and why."""
    connected = [offer for offer in brokers if offer.connected]
    if not connected:
        return BrokerChoice(None, "no broker is connected")
    fitting = [offer for offer in connected if balance >= offer.opens_from_usd]
    best = min(fitting or connected, key=_order)
    if not fitting:
        reason = (
            f"only {_list(connected)} connected, and {plain(balance)} USD is little for {_percent(best)} a round trip"
        )
    elif len(connected) == 1:
        reason = f"only {best.broker} is connected"
    else:
        reason = (
            f"a round trip costs {_percent(best)} at {best.broker}, which is preferred to {_list_others(fitting, best)}"
        )
    return BrokerChoice(best.broker, reason)


def route_of(broker: Broker, equity: Decimal, brokers: Sequence[BrokerOffer]) -> Route:
    """Return whether an account with this equity in US dollars opens positions at its broker.

    Raises ValueError when `brokers` does not have the account's own broker.
    """
    own = next((offer for offer in brokers if offer.broker is broker), None)
    if own is None:
        raise ValueError(f"the offers have no {broker}")
    worthwhile = own.fees.smallest_worthwhile_profit
    if equity >= own.opens_from_usd:
        return OpensHere(worthwhile)
    others = [offer for offer in brokers if offer.connected and equity >= offer.opens_from_usd]
    minimum_profit = max(worthwhile, own.small_account_profit)
    if not others:
        return OpensHere(minimum_profit)
    best = min(others, key=_order)
    limit = plain(own.opens_from_usd)
    return RoutedTo(
        broker=best.broker,
        reason=f"{plain(equity)} USD is below {limit} USD, and a round trip costs {_percent(own)} at {broker} "
        f"and {_percent(best)} at {best.broker}",
        solution=f"trade this money at {best.broker}, or hold at least {limit} USD at {broker}",
        minimum_profit=minimum_profit,
    )


def _order(offer: BrokerOffer) -> tuple[int, Decimal, str]:
    return offer.rank, offer.fees.round_trip, offer.broker.value


def _percent(offer: BrokerOffer) -> str:
    return f"{plain(offer.fees.round_trip * 100)} %"


def _list(offers: Sequence[BrokerOffer]) -> str:
    names = ", ".join(offer.broker.value for offer in offers)
    return f"{names} {'is' if len(offers) == 1 else 'are'}"


def _list_others(offers: Sequence[BrokerOffer], best: BrokerOffer) -> str:
    others = [offer for offer in offers if offer is not best]
    return ", ".join(f"{offer.broker} ({_percent(offer)})" for offer in others) or "no other"
