"""Tests how decisions become mail, events and carried quantities."""

from datetime import timedelta
from decimal import Decimal

import pytest

from services.copy_engine.decide import Delivery, decide
from shared.domain.amounts import plain
from shared.domain.copying.copy_order import CopyOrder
from shared.domain.copying.follower import FollowerStatus
from shared.domain.copying.master_fill import MasterFill
from shared.domain.copying.reasons import SkipReason
from shared.domain.events import EVENT, DecisionBatch
from shared.domain.identity import copy_order_id
from shared.domain.instrument import Instrument
from shared.domain.stop import StopMode, StopState
from tests.support.examples import NOTHING_STOPPED, NOW, a_fill, a_follower, a_sale, an_account, an_instrument

FOLLOWERS = [
    a_follower("alice", minimum_notional="2"),
    a_follower("bob", status=FollowerStatus.PAUSED),
    a_follower("carol"),
    a_follower("dave"),
]
ACCOUNTS = [an_account("1000"), an_account("1000"), None, an_account("0.5")]
CARRIED = [b"0.00000000004", b"0.1", None, b"0.000001"]


def delivery(fill: MasterFill, instrument: Instrument | SkipReason) -> tuple[Delivery, DecisionBatch, list[CopyOrder]]:
    """Decide for the four followers. Return the delivery, and its event and orders as their readers see them."""
    made = decide(
        fill,
        3,
        FOLLOWERS,
        ACCOUNTS,
        CARRIED,
        instrument,
        NOTHING_STOPPED,
        now=NOW,
        snapshot_max_age=timedelta(minutes=5),
    )
    batch = EVENT.validate_json(made.event)
    assert isinstance(batch, DecisionBatch)
    return made, batch, [CopyOrder.model_validate_json(text) for text in made.orders[1::2]]


def test_everybody_gets_one_decision_and_only_orders_go_into_mailboxes() -> None:
    """All four followers get a decision with its inputs. Only one gets an order."""
    made, batch, orders = delivery(a_fill(), an_instrument())
    assert [(d.follower_id, d.skip_reason) for d in batch.decisions] == [
        ("alice", None),
        ("bob", SkipReason.PAUSED),
        ("carol", SkipReason.ACCOUNT_UNKNOWN),
        ("dave", SkipReason.BELOW_MINIMUM),
    ]
    assert (batch.sequence, batch.shard, batch.instrument) == (1, 3, an_instrument())
    assert made.orders[::2] == ["alice"]
    assert orders[0].quantity == Decimal("0.001")
    assert orders[0].policy_minimum == 2
    assert orders[0].id == copy_order_id(a_fill().broker, "main", "T1", "alice") == batch.decisions[0].copy_order_id


def test_inputs_are_in_the_decision() -> None:
    """A decision holds the equity and time of the account reading that was used, and the carry before and after."""
    _, batch, _ = delivery(a_fill(), an_instrument())
    alice, bob, carol, dave = batch.decisions
    assert (alice.equity, alice.snapshot_at, alice.carried_before) == (1000, NOW, Decimal("0.00000000004"))
    assert (carol.equity, carol.snapshot_at) == (None, None)
    assert (bob.carried_before, bob.carried_after) == (Decimal("0.1"), Decimal("0.1"))
    assert dave.carried_after == Decimal("0.000001") + Decimal("0.0000005")


def test_only_carries_that_changed_are_written() -> None:
    """Alice's carry is below the lot and stays unchanged; dave's carry grew."""
    made, batch, _ = delivery(a_fill(), an_instrument())
    assert made.carries == ["dave|BTC", plain(batch.decisions[3].carried_after)]


def test_a_full_close_removes_what_is_carried() -> None:
    """An empty amount deletes the carry. This also holds for a paused follower."""
    made, batch, orders = delivery(a_sale("1"), an_instrument())
    assert [d.fraction for d in batch.decisions] == [1, 1, 1, 1]
    assert [order.quantity for order in orders] == [None] * 4
    assert made.carries == ["alice|BTC", "", "bob|BTC", "", "dave|BTC", ""]


@pytest.mark.parametrize("reason", [SkipReason.UNSUPPORTED_SYMBOL, SkipReason.INSTRUMENT_UNREADABLE])
def test_a_symbol_without_a_readable_listing_is_skipped_for_all(reason: SkipReason) -> None:
    """Each follower gets a decision with the reason."""
    made, batch, _ = delivery(a_fill(), reason)
    assert {d.skip_reason for d in batch.decisions} == {reason}
    assert (made.orders, made.carries, batch.instrument) == ([], [], None)


def test_a_replayed_fill_makes_replayed_orders() -> None:
    """Replayed orders are looked up before a send. With quantity 0 (the follower would be skipped now), nothing is sent."""
    _, batch, orders = delivery(a_fill(replayed=True), an_instrument())
    assert [order.replayed for order in orders] == [True] * 4
    assert [order.quantity for order in orders] == [Decimal("0.001"), 0, 0, 0]
    assert {decision.skip_reason for decision in batch.decisions} == {None}


def test_a_follower_that_cannot_be_planned_stops_no_other() -> None:
    """Carol's equity has 100 digits, and bob's carry is no number. Each ends with a decision; alice and dave copy."""
    names = ["alice", "bob", "carol", "dave"]
    made = decide(
        a_fill(),
        3,
        [a_follower(name) for name in names],
        [an_account("1000"), an_account("1000"), an_account("1E+100"), an_account("1000")],
        [None, b"broken", None, None],
        an_instrument(),
        NOTHING_STOPPED,
        now=NOW,
        snapshot_max_age=timedelta(minutes=5),
    )
    batch = EVENT.validate_json(made.event)
    assert isinstance(batch, DecisionBatch)
    assert [d.skip_reason for d in batch.decisions] == [None, None, SkipReason.CANNOT_BE_PLANNED, None]
    assert made.orders[::2] == ["alice", "bob", "dave"]


def test_a_stop_skips_opens_of_those_it_concerns_and_no_exit() -> None:
    """Bob may only close. Alice trades. Each decision has the stop that applied."""
    bob_closes = StopState(revision=1, follower_modes={"bob": StopMode.CLOSE_ONLY})

    def decided(fill: MasterFill, stops: StopState) -> list[tuple[SkipReason | None, StopMode | None]]:
        names = ["alice", "bob"]
        followers, accounts = [a_follower(name) for name in names], [an_account("1000")] * 2
        age = timedelta(minutes=5)
        instrument = an_instrument()
        made = decide(fill, 3, followers, accounts, [None] * 2, instrument, stops, now=NOW, snapshot_max_age=age)
        batch = EVENT.validate_json(made.event)
        assert isinstance(batch, DecisionBatch)
        return [(decision.skip_reason, decision.stop_mode) for decision in batch.decisions]

    assert decided(a_fill(), bob_closes) == [(None, None), (SkipReason.CLOSE_ONLY, StopMode.CLOSE_ONLY)]
    assert decided(a_sale("0.5"), bob_closes) == [(None, None), (None, StopMode.CLOSE_ONLY)]
    halted = bob_closes.model_copy(update={"broker_mode": StopMode.HALT})
    assert decided(a_fill(), halted) == [(SkipReason.STOPPED, StopMode.HALT)] * 2
    assert decided(a_sale("0.5"), halted) == [(None, StopMode.HALT)] * 2
