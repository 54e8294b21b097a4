"""Tests which findings the capital of a master account leads to."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.domain.capital.margin import MarginAction, MarginZone, PositionCut, ZoneAction
from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.domain.symbol import Symbol
from shared.queries.capital_findings import CapitalFacts, action_text
from tests.support.operators.status_facts import NOW, kinds, system

CUT = PositionCut(symbol=Symbol.parse("AAPL/USD"), side=Side.SELL, quantity=Decimal("24.0"))


def facts(**changes: Any) -> CapitalFacts:
    """The account of Alpaca, sampled now, in which all is well."""
    values: dict[str, Any] = {
        "broker": Broker.ALPACA,
        "account": "master",
        "sampled_at": NOW,
        "zone": MarginZone.YELLOW,
        "margin_used_pct": Decimal("60.129"),
        "drawdown_pct": Decimal("4.5"),
        "breaker_until": None,
        "last_action": None,
    }
    return CapitalFacts(**values | changes)


def an_action(minutes_ago: int = 5, *, is_final: bool = True) -> MarginAction:
    """A reduction that began some minutes ago."""
    started_at = NOW - timedelta(minutes=minutes_ago)
    return MarginAction(kind=ZoneAction.REDUCE, started_at=started_at, cuts=(CUT,), is_final=is_final)


@pytest.mark.parametrize("zone", [None, MarginZone.GREEN, MarginZone.YELLOW])
def test_green_and_yellow_are_no_findings(zone: MarginZone | None) -> None:
    """YELLOW only stops entries, which the gate says with each of them."""
    assert system(capital=(facts(zone=zone),)).findings() == []


@pytest.mark.parametrize(
    ("zone", "does"),
    [
        (MarginZone.ORANGE, "30 % of each position is sold"),
        (MarginZone.RED, "the worst position is closed"),
    ],
)
def test_orange_and_red_say_what_nija_does(zone: MarginZone, does: str) -> None:
    """For an hour after the last sample."""
    [found] = system(capital=(facts(zone=zone),)).findings()
    assert (found.kind, found.broker, found.subject) == ("margin_zone", Broker.ALPACA, "master")
    assert f"the account master is in the {zone.value}: 60.12 % of the margin is used" in found.message
    assert does in found.message
    old = facts(zone=zone, sampled_at=NOW - timedelta(hours=1, seconds=1))
    assert system(capital=(old,)).findings() == []


def test_an_open_breaker_says_until_when() -> None:
    """At that moment it is over."""
    open_breaker = facts(breaker_until=NOW + timedelta(seconds=1), drawdown_pct=Decimal("21.5"))
    [found] = system(capital=(open_breaker,)).findings()
    assert found.kind == "breaker_open"
    assert "forbids entries until" in found.message
    assert "21.5 % below its peak" in found.message
    assert system(capital=(facts(breaker_until=NOW),)).findings() == []


@pytest.mark.parametrize(
    ("minutes_ago", "is_final", "is_found"), [(60, True, True), (61, True, False), (600, False, True)]
)
def test_an_automatic_action_is_a_finding_for_an_hour_and_until_its_orders_have_ended(
    minutes_ago: int, is_final: bool, is_found: bool
) -> None:
    """It names the orders."""
    status = system(capital=(facts(last_action=an_action(minutes_ago, is_final=is_final)),))
    assert kinds(status) == (["margin_action"] if is_found else [])
    assert all("sell 24 AAPL/USD" in each.message for each in status.findings())


def test_an_action_as_text_names_when_what_and_whether_it_has_ended() -> None:
    """The same words in `nija status` and in `nija capital margin`."""
    started = f"{NOW - timedelta(minutes=5):%Y-%m-%d %H:%M:%S} UTC"
    assert action_text(an_action()) == f"reduce at {started}: sell 24 AAPL/USD; all orders have ended"
    assert action_text(an_action(is_final=False)).endswith("; its orders have not ended")
