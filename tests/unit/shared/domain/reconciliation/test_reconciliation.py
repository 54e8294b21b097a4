"""Tests what counts as drift: missing copied coins with their cause, but never the follower's own coins."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.copying.copy_order import CopiedPosition
from shared.domain.fill import Side
from shared.domain.reconciliation.drift import Cause, Target, covered, drifts
from shared.domain.reconciliation.readings import AccountReading, OpenOrder, WaitingOrder
from shared.domain.reconciliation.stray_orders import CopyRecord, Ownership, ownership_of, stray_orders
from tests.support.examples import NOW

LOTS = {"BTC": Decimal("0.00000001")}
AMOUNTS = st.decimals(min_value=0, max_value=100, places=8)


def a_reading(bitcoins: str = "1", **changes: Any) -> AccountReading:
    """Alice's account with some bitcoins, of which 1 was copied."""
    fields: dict[str, Any] = {
        "request_id": "r1",
        "follower_id": "alice",
        "read_at": NOW,
        "total": {"BTC": bitcoins},
        "copied": {"BTC": CopiedPosition(quantity=Decimal(1), carried_exit=Decimal(0))},
    }
    return AccountReading(**fields | changes)


def a_target(**changes: Any) -> Target:
    """The ledger's record of 1 bitcoin that was copied an hour ago."""
    fields: dict[str, Any] = {
        "follower_id": "alice",
        "asset": "BTC",
        "quantity": "1",
        "carried_exit": "0",
        "sequence": 7,
        "occurred_at": NOW - timedelta(hours=1),
    }
    return Target(**fields | changes)


def waiting(stage: str = "waiting", symbol: str = "BTC/USD") -> dict[str, Any]:
    """One order in the mailbox."""
    order = {"copy_order_id": "0" * 32, "sequence": 8, "symbol": symbol, "side": Side.SELL, "stage": stage}
    return {"waiting": (WaitingOrder.model_validate(order),), "mail": 1}


@pytest.mark.parametrize("total", ["1", "1.5", "0.999999995"])
def test_what_was_copied_and_is_there_is_no_drift(total: str) -> None:
    """The account holds exactly the copied quantity, or more, or less by a part of a lot."""
    assert drifts(a_reading(total), [a_target()], LOTS, NOW) == []


@pytest.mark.parametrize(
    ("reading", "target", "cause"),
    [
        ({}, {}, Cause.MANUAL_SALE),
        (waiting("unknown"), {}, Cause.UNKNOWN_ORDER),
        (waiting("accepted"), {}, Cause.PENDING_MAIL),
        (waiting(), {}, Cause.PENDING_MAIL),
        ({"mail": 1}, {}, Cause.PENDING_MAIL),
        ({}, {"occurred_at": NOW - timedelta(seconds=5)}, Cause.JUST_SETTLED),
        ({}, {"quantity": "2"}, Cause.NOT_IN_LEDGER),
    ],
)
def test_missing_coins_have_the_cause_that_is_known(
    reading: dict[str, Any], target: dict[str, Any], cause: Cause
) -> None:
    """Only coins that were sold outside nija are repaired by lowering the position."""
    [drift] = drifts(a_reading("0.4", **reading), [a_target(**target)], LOTS, NOW)
    assert (drift.cause, drift.is_repairable) == (cause, cause is Cause.MANUAL_SALE)
    assert (drift.real, drift.drift) == (Decimal("0.4"), Decimal("0.4") - Decimal(target.get("quantity", 1)))
    assert drift.sequence == 7


def test_an_unknown_order_is_told_even_if_nothing_is_missing() -> None:
    """An unknown purchase may add coins, also in an asset without a copied position."""
    [held] = drifts(a_reading(**waiting("unknown")), [a_target()], LOTS, NOW)
    assert (held.cause, held.drift) == (Cause.UNKNOWN_ORDER, Decimal(0))
    [first] = drifts(a_reading(copied={}, **waiting("unknown", "ETH/USD")), [], LOTS, NOW)
    assert (first.cause, first.asset) == (Cause.UNKNOWN_ORDER, "ETH")


def test_what_is_there_beside_an_unknown_purchase_is_what_the_account_holds() -> None:
    """The unknown purchase may have added coins, so the drift shows what the account holds."""
    [more] = drifts(a_reading("1.5", **waiting("unknown")), [a_target()], LOTS, NOW)
    assert (more.target, more.real) == (Decimal(1), Decimal("1.5"))
    unknown = waiting("unknown", "ETH/USD")
    [first] = drifts(a_reading(copied={}, **unknown, total={"ETH": "0.7"}), [], LOTS, NOW)
    assert (first.target, first.real) == (Decimal(0), Decimal("0.7"))
    [none] = drifts(a_reading(copied={}, **unknown), [], LOTS, NOW)
    assert none.real == 0


def test_a_failed_exit_leaves_more_than_should_be_there() -> None:
    """The drift is the unsold quantity, with the broker's reason. A remainder that was only too small is no drift."""
    failed = a_target(carried_exit="0.3", failed_exit="rejected: EOrder:Market in cancel_only mode")
    [drift] = drifts(a_reading(), [failed], LOTS, NOW)
    assert (drift.cause, drift.drift) == (Cause.FAILED_EXIT, Decimal("0.3"))
    assert "cancel_only" in drift.detail
    assert drifts(a_reading(), [a_target(carried_exit="0.3")], LOTS, NOW) == []


@given(
    st.dictionaries(st.sampled_from(["BTC", "ETH"]), AMOUNTS),
    AMOUNTS,
    AMOUNTS,
)
def test_a_coin_covers_what_is_there(copied: dict[str, Decimal], bitcoins: Decimal, ethers: Decimal) -> None:
    """The coins of an account cover as much as possible of what was copied, and never more."""
    total = {"BTC": bitcoins, "ETH": ethers}
    found = covered(copied, total)
    assert found == {asset: min(total[asset], quantity) for asset, quantity in copied.items()}


def an_open_order(name: str | None = "1" * 32) -> OpenOrder:
    """An open sale of 0.2 bitcoins."""
    return OpenOrder(broker_order_id="O1", client_order_id=name, symbol="BTC/USD", side=Side.SELL, quantity="0.2")


def a_copy(**changes: Any) -> dict[str, CopyRecord]:
    """The ledger's record of the copy order, which failed an hour ago."""
    fields: dict[str, Any] = {
        "copy_order_id": "1" * 32,
        "follower_id": "alice",
        "sequence": 7,
        "outcome": "failed",
        "changed_at": NOW - timedelta(hours=1),
    }
    return {"1" * 32: CopyRecord(**fields | changes)}


@pytest.mark.parametrize(
    ("name", "reading", "copies", "expected"),
    [
        ("1" * 32, {}, a_copy(), Ownership.STRAY),
        ("1" * 32, {}, a_copy(outcome="pending"), Ownership.STRAY),
        ("1" * 32, {}, a_copy(changed_at=NOW - timedelta(seconds=5)), Ownership.IN_FLIGHT),
        ("1" * 32, {"mail": 1}, a_copy(), Ownership.IN_FLIGHT),
        ("0" * 32, waiting("accepted"), {}, Ownership.IN_FLIGHT),
        ("1" * 32, waiting("accepted"), a_copy(), Ownership.STRAY),
        ("1" * 32, {}, a_copy(follower_id="bob"), Ownership.OWN),
        ("1" * 32, {}, {}, Ownership.OWN),
        ("web order 1", {}, a_copy(), Ownership.OWN),
        (None, {}, a_copy(), Ownership.OWN),
    ],
)
def test_an_open_order_is_in_flight_stray_or_the_followers_own(
    name: str | None, reading: dict[str, Any], copies: dict[str, CopyRecord], expected: Ownership
) -> None:
    """An order is stray only if the ledger knows it as this follower's copy and no mailbox waits for it."""
    order = an_open_order(name)
    read = a_reading(open_orders=(order,), **reading)
    assert ownership_of(order, read, copies, NOW) is expected
    found = stray_orders(read, [a_target()], copies, NOW)
    assert [(drift.cause, drift.broker_order_id, drift.drift) for drift in found] == (
        [(Cause.STRAY_ORDER, "O1", Decimal(0))] if expected is Ownership.STRAY else []
    )


def test_an_order_of_the_strategy_is_no_stray_order_and_not_the_persons_own() -> None:
    """Its own execution follows it to its end, so a repair does not cancel it."""
    order = an_open_order()
    read = a_reading(open_orders=(order,))
    assert ownership_of(order, read, {}, NOW, {"1" * 32}) is Ownership.STRATEGY
    assert stray_orders(read, [a_target()], {}, NOW) == []


@pytest.mark.parametrize("cause", list(Cause))
def test_what_passes_by_itself_needs_no_attention_and_what_is_repaired_does(cause: Cause) -> None:
    """Unknown orders need attention too, but have their own alert."""
    [sale] = drifts(a_reading("0.4"), [a_target()], LOTS, NOW)
    drift = sale.model_copy(update={"cause": cause})
    assert drift.needs_attention is (cause not in (Cause.PENDING_MAIL, Cause.JUST_SETTLED, Cause.UNKNOWN_ORDER))
    assert drift.needs_attention or not drift.is_repairable


def test_a_reading_of_version_1_tells_no_open_orders() -> None:
    """The reading is accepted. Missing open orders do not mean that there are none."""
    old = (
        '{"version":1,"request_id":"r1","follower_id":"alice","read_at":"2026-01-05T12:00:00Z","total":{"BTC":"1"},'
        '"locked":{},"copied":{},"waiting":[],"mail":0,"adjusted":[],"error":"","retry_after_seconds":null}'
    )
    reading = AccountReading.model_validate_json(old)
    assert reading.open_orders is None
    assert stray_orders(reading, [], a_copy(), NOW) == []
