"""Shows an answer of each kind in the OpenAPI document. Tests check that each is a valid answer of its route."""

from collections.abc import Mapping
from typing import Any, Final

from services.api.examples_capital import CAPITAL_ANSWERS
from shared.domain.copying.follower import FollowerPolicy

_FOLLOWER: Final = {
    "broker": "kraken",
    "follower_id": "alice",
    "source": "database",
    "status": "active",
    "status_reason": "",
}
FOLLOWERS: Final = {
    "items": [
        {
            **_FOLLOWER,
            "joined_sequence": 0,
            "copied": 41,
            "skipped": 2,
            "failed": 0,
            "pending": 1,
            "equity": "10250.42",
            "equity_at": "2026-11-30T09:58:00Z",
        }
    ],
    "next": "kraken:alice",
}
FOLLOWER: Final = {
    **_FOLLOWER,
    "status_changed_at": "2026-11-29T08:00:00Z",
    "joined_sequence": 0,
    "created_at": "2026-11-29T08:00:00Z",
    "withdraw_allowed": False,
    "changes": [
        {
            "change": "joined",
            "before": None,
            "after": "database",
            "actor": "cli:ann",
            "reason": "",
            "occurred_at": "2026-11-29T08:00:00Z",
        }
    ],
}
MASTERS: Final = {
    "items": [
        {
            "broker": "kraken",
            "master": "master",
            "state": "watching",
            "error": None,
            "last_poll_at": "2026-11-30T10:00:00Z",
            "watched_since": "2026-11-29T08:00:00Z",
            "last_sequence": 12,
            "last_fill_at": "2026-11-30T09:59:58Z",
            "balance": None,
            "followers": {"active": 4, "paused": 1},
        }
    ],
    "next": None,
}
SUBSCRIPTIONS: Final = {
    "items": [
        {
            "broker": "kraken",
            "master": "master",
            "follower_id": "alice",
            "status": "active",
            "status_reason": "",
            "joined_sequence": 0,
            "terms": FollowerPolicy().model_dump(mode="json"),
        }
    ],
    "next": "kraken:alice",
}
CHANGED_FOLLOWER: Final = {"broker": "kraken", "follower_id": "alice", "status": "paused", "changed": True, "notes": []}
_LATENCY: Final = {"count": 3, "p50": 412.5, "p99": 803.1}
FILLS: Final = {
    "items": [
        {
            "broker": "kraken",
            "sequence": 12,
            "master_account": "main",
            "fill_id": "TZX2WP-XSEOP-FP7WYR",
            "symbol": "BTC/USD",
            "side": "buy",
            "price": "50000",
            "quantity": "0.01",
            "fraction_closed": "0",
            "executed_at": "2026-11-30T09:59:58Z",
            "published_at": "2026-11-30T09:59:58.4Z",
            "followers": 5,
            "copied": 3,
            "skipped": 2,
            "failed": 0,
            "pending": 0,
            "skipped_by_reason": {"below_minimum": 2},
            "failed_by_reason": {},
            "latency_ms": {"total": _LATENCY},
        }
    ],
    "next": None,
}
ORDERS: Final = {
    "items": [
        {
            "broker": "kraken",
            "sequence": 12,
            "follower_id": "alice",
            "copy_order_id": "5f0c8a52c7d54e8f9a7d3c1b2a490817",
            "symbol": "BTC/USD",
            "side": "buy",
            "state": "skipped",
            "outcome": "skipped",
            "reason": "below_minimum",
            "message": "",
            "attempt": 0,
            "broker_order_id": None,
            "quantity": None,
            "scale_factor": "0.0001025042",
            "filled_quantity": "0",
            "cost": "0",
            "fee": "0",
            "fee_currency": "",
            "decided_at": "2026-11-30T09:59:58.5Z",
            "submitted_at": None,
            "occurred_at": None,
        }
    ],
    "next": None,
}
POSITIONS: Final = {
    "items": [
        {
            "broker": "kraken",
            "follower_id": "alice",
            "asset": "BTC",
            "quantity": "0.001",
            "carried_exit": "0.0004",
            "sequence": 12,
            "occurred_at": "2026-11-30T10:00:00Z",
            "owed": "0.0004",
            "owed_since": "2026-11-30T10:00:00Z",
            "owed_because": "rejected: the pair is in cancel_only mode",
        }
    ],
    "next": None,
}
ACCOUNTS: Final = {
    "items": [
        {
            "broker": "kraken",
            "user_id": "alice",
            "role": "follower",
            "status": "active",
            "connected": True,
            "available_for_opens": True,
            "balance": {
                "total_equity_usd": "10250.42",
                "available_usd": "10200.42",
                "locked_in_positions_usd": "50",
                "held_usd": "0",
                "unpriced": [],
                "taken_at": "2026-11-30T09:58:00Z",
                "stale": False,
            },
            "open_positions": [{"asset": "BTC", "quantity": "0.001"}],
            "last_updated": "2026-11-30T09:58:00Z",
            "failed_reads": 0,
            "error": None,
        }
    ],
    "next": None,
}
FINDINGS: Final = {
    "healthy": False,
    "findings": [
        {
            "kind": "worker_absent",
            "broker": "kraken",
            "subject": "broker.kraken",
            "message": "no live worker serves the queue broker.kraken: start one",
        }
    ],
}
HEALTH: Final = {
    **FINDINGS,
    "unknown_texts": [
        {
            "broker": "kraken",
            "words": "EService:Timeout",
            "sends": 2,
            "orders": 1,
            "last_at": "2026-11-30T09:00:00Z",
        }
    ],
}
RECONCILIATION: Final = {
    "sound": False,
    "brokers": [
        {
            "broker": "kraken",
            "sound": False,
            "asked": 1,
            "read": 1,
            "drifts": [
                {
                    "follower_id": "alice",
                    "asset": "BTC",
                    "cause": "manual_sale",
                    "target": "0.001",
                    "real": "0",
                    "drift": "-0.001",
                    "sequence": 12,
                    "detail": "",
                    "broker_order_id": "",
                    "copy_order_id": "",
                }
            ],
            "repaired": [],
            "resolved": 0,
            "open_orders": [],
            "unlisted": [],
            "unread": {},
            "error": None,
        }
    ],
}
TOKENS: Final = {
    "items": [
        {
            "token_id": "0a1b2c3d4e5f",
            "name": "grafana",
            "role": "read",
            "created_at": "2026-11-30T08:00:00Z",
            "created_by": "cli:ann",
            "reason": "a dashboard",
            "revoked_at": None,
            "revoked_by": None,
        }
    ],
    "next": None,
}

ANSWERS: Final[Mapping[str, Any]] = {
    "findings": FINDINGS,
    "health_report": HEALTH,
    "accounts": ACCOUNTS,
    "followers": FOLLOWERS,
    "masters": MASTERS,
    "subscriptions": SUBSCRIPTIONS,
    "follower": FOLLOWER,
    "pause_follower": CHANGED_FOLLOWER,
    "resume_follower": {**CHANGED_FOLLOWER, "status": "active"},
    "fills": FILLS,
    "orders": ORDERS,
    "positions": POSITIONS,
    "reconcile": RECONCILIATION,
    "tokens": TOKENS,
    **CAPITAL_ANSWERS,
}
"""By the id of the operation."""
