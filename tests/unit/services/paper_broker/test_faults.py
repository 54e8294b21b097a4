"""Tests which requests a fault hits and how often, and how a wrong description of a fault is rejected."""

from decimal import Decimal
from typing import Any

import pytest

from services.paper_broker.faults import FaultKind, Faults, InvalidFault, execution_under


def test_a_fault_hits_its_endpoint_and_account_as_often_as_it_says() -> None:
    """Other requests are spared. After `count` hits the fault is inactive, but still listed with its number of hits."""
    faults = Faults(1)
    faults.switch_on({"kind": "reset", "endpoint": "AddOrder", "account": "one", "count": 2})
    assert not faults.hitting("AddOrder", "two", places_order=True)
    assert not faults.hitting("BalanceEx", "one", places_order=False)
    assert [len(faults.hitting("AddOrder", "one", places_order=True)) for _ in range(3)] == [1, 1, 0]
    assert faults.listed()[0].shown()["applied"] == 2
    assert not faults.active


def test_the_same_seed_hits_the_same_requests() -> None:
    """The seed decides which requests are hit. The share of hits is close to the probability."""

    def run(seed: int) -> list[bool]:
        faults = Faults(seed)
        faults.switch_on({"kind": "latency", "seconds": 1, "probability": 0.3})
        return [bool(faults.hitting("Time", None, places_order=False)) for _ in range(1000)]

    assert run(1) == run(1) != run(2)
    assert 250 < sum(run(1)) < 350


def test_order_faults_spare_requests_that_place_no_order() -> None:
    """A balance request does not use up a late fill."""
    faults = Faults(1)
    faults.switch_on({"kind": "late_fill", "seconds": 2, "count": 1})
    assert not faults.hitting("BalanceEx", None, places_order=False)
    (fault,) = faults.hitting("AddOrder", None, places_order=True)
    execution = execution_under([fault])
    assert (execution.fraction, execution.rest_after_microseconds) == (Decimal(0), 2_000_000)


def test_any_fault_can_be_made_of_orders_only() -> None:
    """With `orders`, a lost reply waits for a call that places an order."""
    faults = Faults(1)
    faults.switch_on({"kind": "reply_lost", "count": 1, "orders": True})
    assert faults.hitting("Balance", "anna", places_order=False) == []
    assert [fault.kind for fault in faults.hitting("AddOrder", "anna", places_order=True)] == [FaultKind.REPLY_LOST]
    assert faults.hitting("AddOrder", "anna", places_order=True) == []


def test_clearing_lets_go_of_those_who_hang() -> None:
    """Clearing a fault sets its event, even when its count is used up."""
    faults = Faults(1)
    fault = faults.switch_on({"kind": "hang", "count": 1})
    faults.hitting("Time", None, places_order=False)
    assert faults.clear(fault.fault_id) == 1
    assert fault.cleared.is_set()
    assert faults.clear(fault.fault_id) == 0


@pytest.mark.parametrize("kind", FaultKind)
def test_every_kind_can_be_switched_on(kind: FaultKind) -> None:
    """The kind needs only its required parameters, and is listed under its name."""
    faults = Faults(1)
    faults.switch_on(
        {"kind": kind.value, **({"seconds": 1} if kind in ("latency", "late_fill") else {})}
        | ({"seconds": 1} if kind is FaultKind.LATE_VISIBILITY else {})
    )
    assert faults.listed()[0].shown()["kind"] == kind.value


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ({"kind": "gremlin"}, "kind must be one of: latency"),
        ({}, "kind must be one of"),
        ({"kind": "latency"}, "seconds must be a number"),
        ({"kind": "latency", "seconds": -1}, "seconds must be a number from 0"),
        ({"kind": "reset", "probability": 1.5}, "probability must be a number from 0 to 1"),
        ({"kind": "reset", "count": 0}, "count must be a whole number above zero"),
        ({"kind": "reset", "count": True}, "count must be a whole number"),
        ({"kind": "reset", "secondz": 1}, "secondz: not a parameter of reset"),
        ({"kind": "partial_fill", "fraction": "1"}, "fraction must be from 0 to below 1"),
        ({"kind": "partial_fill", "fraction": "half"}, "fraction must be"),
        ({"kind": "http_error", "status": 99}, "status must be a number from 100"),
        ({"kind": "http_error", "executed": "yes"}, "executed must be true or false"),
        ({"kind": "reset", "endpoint": 7}, "endpoint must be text"),
    ],
)
def test_a_wrong_description_is_told_what_would_be_right(description: dict[str, Any], expected: str) -> None:
    """The error says what would be right, and no fault is switched on."""
    faults = Faults(1)
    with pytest.raises(InvalidFault, match=expected):
        faults.switch_on(description)
    assert not faults.active
