"""Builds example fills, followers, instruments and orders, so that a test names only the values that it is about."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from shared.domain.accounts.snapshot import AccountSnapshot
from shared.domain.copying.copy_order import CopyOrder
from shared.domain.copying.follower import Follower, FollowerPolicy
from shared.domain.copying.master_fill import MasterFill
from shared.domain.fill import AccountFill, Side
from shared.domain.identity import Broker, copy_order_id
from shared.domain.instrument import Instrument
from shared.domain.stop import StopState

NOW = datetime(2026, 1, 5, 12, 0, 0, 123456, tzinfo=UTC)

NOTHING_STOPPED = StopState(revision=0)

FIRST_ROSTER = 0
"""The version of a follower list of which no change was announced yet."""


def an_instrument(**changes: Any) -> Instrument:
    """BTC/USD with a lot of 0.00000001 and Kraken's minimums."""
    fields: dict[str, Any] = {
        "broker": Broker.KRAKEN,
        "symbol": "BTC/USD",
        "base": "BTC",
        "quote": "USD",
        "lot": "0.00000001",
        "price_tick": "0.1",
        "minimum_quantity": "0.00005",
        "minimum_cost": "0.5",
    }
    return Instrument(**{**fields, **changes})


def an_account_fill(**changes: Any) -> AccountFill:
    """A purchase of 0.1 BTC at 50,000 USD."""
    fields: dict[str, Any] = {
        "fill_id": "T1",
        "order_id": "O1",
        "symbol": "BTC/USD",
        "side": Side.BUY,
        "price": "50000",
        "quantity": "0.1",
        "cost": "5000",
        "fee": "13",
        "fee_currency": "USD",
        "executed_at": NOW,
    }
    return AccountFill(**{**fields, **changes})


def a_fill(**changes: Any) -> MasterFill:
    """A master's purchase of 0.1 BTC at 50,000 USD, with an equity of 100,000 USD before it."""
    fields: dict[str, Any] = {
        "sequence": 1,
        "broker": Broker.KRAKEN,
        "master_account": "main",
        "master_equity_before": "100000",
        "quote_price": "1",
        "traded_position_before": "0",
        "fraction_closed": "0",
        "published_at": NOW,
        "trace_id": "trace-1",
        **an_account_fill().model_dump(),
    }
    return MasterFill(**{**fields, **changes})


def a_sale(fraction: Decimal | str, **changes: Any) -> MasterFill:
    """A master's sale that closes `fraction` of its traded position."""
    return a_fill(**{"side": Side.SELL, "traded_position_before": "1", "fraction_closed": fraction, **changes})


def a_follower(follower_id: str = "alice", *, minimum_notional: Decimal | str = "1", **changes: Any) -> Follower:
    """An active follower."""
    policy = FollowerPolicy(minimum_notional=Decimal(minimum_notional))
    return Follower(**{"broker": Broker.KRAKEN, "follower_id": follower_id, "policy": policy, **changes})


def an_account(equity: Decimal | str = "1000", taken_at: datetime = NOW) -> AccountSnapshot:
    """An account of dollars only."""
    return AccountSnapshot(equity=Decimal(equity), cash=Decimal(equity), taken_at=taken_at)


def an_order(follower_id: str = "alice", sequence: int = 1, **changes: Any) -> CopyOrder:
    """An approved purchase of 0.001 BTC; with `fraction` an exit."""
    fields: dict[str, Any] = {
        "id": copy_order_id(Broker.KRAKEN, "main", f"T{sequence}", follower_id),
        "broker": Broker.KRAKEN,
        "sequence": sequence,
        "follower_id": follower_id,
        "symbol": "BTC/USD",
        "side": Side.SELL if "fraction" in changes else Side.BUY,
        "quantity": None if "fraction" in changes else "0.001",
        "policy_minimum": "1",
        "reference_price": "50000",
        "executed_at": NOW,
        "published_at": NOW,
        "decided_at": NOW,
        "trace_id": "trace-1",
    }
    return CopyOrder(**{**fields, **changes})
