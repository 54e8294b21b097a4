"""Builds example events for the ledger, so that a test names only the values that it is about."""

from datetime import timedelta
from typing import Any

from shared.domain.copying.follower import FollowerStatus
from shared.domain.events import (
    Decision,
    DecisionBatch,
    FollowerDisabled,
    OrderEvent,
    OrderState,
    Outcome,
    SnapshotEvent,
)
from shared.domain.fill import Side
from shared.domain.identity import Broker, copy_order_id
from tests.support.examples import NOW, an_instrument


def a_decision(follower_id: str = "alice", sequence: int = 1, **changes: Any) -> Decision:
    """An order of 0.001 BTC that went into the mailbox."""
    fields: dict[str, Any] = {
        "copy_order_id": copy_order_id(Broker.KRAKEN, "main", f"T{sequence}", follower_id),
        "follower_id": follower_id,
        "quantity": "0.001",
        "status": FollowerStatus.ACTIVE,
        "minimum_notional": "1",
        "equity": "1000.12",
        "snapshot_at": NOW,
        "carried_after": "0.0000000012",
    }
    return Decision(**{**fields, **changes})


def a_batch(*decisions: Decision, sequence: int = 1, **changes: Any) -> DecisionBatch:
    """The decisions of one delivery, one second after NOW."""
    fields: dict[str, Any] = {
        "broker": Broker.KRAKEN,
        "sequence": sequence,
        "shard": 3,
        "symbol": "BTC/USD",
        "side": Side.BUY,
        "instrument": an_instrument(),
        "decided_at": NOW + timedelta(seconds=1),
        "decisions": decisions,
    }
    return DecisionBatch(**{**fields, **changes})


def an_order_event(follower_id: str = "alice", sequence: int = 1, **changes: Any) -> OrderEvent:
    """Accepted by the broker three seconds after NOW, sent two seconds after it."""
    fields: dict[str, Any] = {
        "broker": Broker.KRAKEN,
        "copy_order_id": copy_order_id(Broker.KRAKEN, "main", f"T{sequence}", follower_id),
        "sequence": sequence,
        "follower_id": follower_id,
        "symbol": "BTC/USD",
        "side": Side.BUY,
        "asset": str(changes.get("symbol", "BTC/USD")).partition("/")[0],
        "state": OrderState.ACCEPTED,
        "attempt": 1,
        "quantity": "0.001",
        "claimed_at": NOW + timedelta(seconds=1.5),
        "submitted_at": NOW + timedelta(seconds=2),
        "accepted_at": NOW + timedelta(seconds=3),
        "occurred_at": NOW + timedelta(seconds=3),
    }
    return OrderEvent(**{**fields, **changes})


def a_filled_event(follower_id: str = "alice", sequence: int = 1, **changes: Any) -> OrderEvent:
    """The order's final event four seconds after NOW: all of it executed."""
    fields: dict[str, Any] = {
        "state": OrderState.FILLED,
        "outcome": Outcome.COPIED,
        "filled_quantity": "0.001",
        "cost": "50",
        "fee": "0.13",
        "fee_currency": "USD",
        "position_after": "0.001",
        "broker_order_id": "OABC",
        "occurred_at": NOW + timedelta(seconds=4),
    }
    return an_order_event(follower_id, sequence, **{**fields, **changes})


def a_refusal_of_the_key(follower_id: str = "alice", **changes: Any) -> FollowerDisabled:
    """The broker refused the key, a day after NOW."""
    fields: dict[str, Any] = {
        "broker": Broker.KRAKEN,
        "follower_id": follower_id,
        "message": "EAPI:Invalid key",
        "occurred_at": NOW + timedelta(days=3650),
    }
    return FollowerDisabled(**{**fields, **changes})


def a_snapshot_event(follower_id: str = "alice", **changes: Any) -> SnapshotEvent:
    """An account of 1000 dollars with a coin without a price."""
    fields: dict[str, Any] = {
        "broker": Broker.KRAKEN,
        "follower_id": follower_id,
        "equity": "1000.5",
        "cash": "1000",
        "held": "0.5",
        "positions": "0",
        "unpriced": ("XYZ",),
        "occurred_at": NOW,
    }
    return SnapshotEvent(**{**fields, **changes})
