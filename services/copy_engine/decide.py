"""Decides what some followers do with a fill, and builds the one delivery of their orders, event and carries.

Pure: the planner decides, and this module only puts its decisions into messages.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial

import structlog

from shared.domain.accounts.snapshot import AccountSnapshot
from shared.domain.amounts import ZERO, parse_amount, plain
from shared.domain.copying.copy_order import CopyOrder
from shared.domain.copying.follower import Follower, FollowerStatus
from shared.domain.copying.master_fill import MasterFill
from shared.domain.copying.plan import plan, policy_minimum, unplannable
from shared.domain.copying.planned import PlannedOpen, Skip, columns_of
from shared.domain.copying.reasons import SkipReason
from shared.domain.events import Decision, DecisionBatch
from shared.domain.identity import FollowerId, copy_order_id
from shared.domain.instrument import Instrument
from shared.domain.stop import StopState
from shared.messaging.keys import carry_field

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Delivery:
    """What `Mailboxes.deliver` takes. `orders` alternates follower and CopyOrder JSON, `carries` field and amount."""

    event: bytes
    orders: list[str]
    carries: list[str]


def decide(
    fill: MasterFill,
    shard: int,
    followers: Sequence[Follower],
    accounts: Sequence[AccountSnapshot | None],
    carried: Sequence[bytes | None],
    instrument: Instrument | SkipReason,
    stops: StopState,
    *,
    now: datetime,
    snapshot_max_age: timedelta,
) -> Delivery:
    """Decide for each of `followers`; `accounts` and `carried` stand in the same order."""
    decisions: list[Decision] = []
    orders: list[str] = []
    carries: list[str] = []
    common = _common_order(fill, now)
    undecided = Decision(
        copy_order_id=common.id, follower_id=FollowerId("nobody"), status=FollowerStatus.ACTIVE, minimum_notional=ZERO
    )
    plan_now = partial(plan, now=now, snapshot_max_age=snapshot_max_age)
    for follower, account, carried_text in zip(followers, accounts, carried, strict=True):
        carried_before = _carried(carried_text)
        stop = stops.mode_of(follower.follower_id)
        try:
            planned = plan_now(fill, follower, account, instrument, carried_before, stop=stop)
        except Exception:
            log.exception("cannot be planned", follower=follower.follower_id, sequence=fill.sequence)
            planned = unplannable(fill, carried_before)
        columns = columns_of(planned)
        order_id = copy_order_id(fill.broker, fill.master_account, fill.fill_id, follower.follower_id)
        decisions.append(
            undecided.model_copy(
                update={
                    "copy_order_id": order_id,
                    "follower_id": follower.follower_id,
                    "skip_reason": columns.skip_reason,
                    "quantity": columns.quantity,
                    "fraction": columns.fraction,
                    "status": follower.status,
                    "stop_mode": stop,
                    "minimum_notional": follower.policy.minimum_notional,
                    "equity": account.equity if account else None,
                    "snapshot_at": account.taken_at if account else None,
                    "carried_before": carried_before,
                    "carried_after": planned.carried_after,
                }
            )
        )
        if not isinstance(planned, Skip):
            order = common.model_copy(
                update={
                    "id": order_id,
                    "follower_id": follower.follower_id,
                    "quantity": columns.quantity,
                    "fraction": columns.fraction,
                    "carried": planned.carried_after,
                    "policy_minimum": policy_minimum(fill, follower) if isinstance(planned, PlannedOpen) else ZERO,
                }
            )
            orders.append(follower.follower_id)
            orders.append(order.model_dump_json())
        if planned.carried_after != carried_before:
            carries.append(carry_field(follower.follower_id, fill.asset))
            carries.append(plain(planned.carried_after) if planned.carried_after else "")
    batch = _batch(fill, shard, instrument, now, decisions)
    return Delivery(event=batch.model_dump_json().encode(), orders=orders, carries=carries)


def _carried(text: bytes | None) -> Decimal:
    """What is carried. A text that is no amount counts as nothing and is replaced by the next amount."""
    try:
        return parse_amount(text.decode()) if text else ZERO
    except ValueError:
        log.exception("carried open cannot be read")
        return ZERO


def _common_order(fill: MasterFill, now: datetime) -> CopyOrder:
    # What all orders of a fill have in common is checked once; a copy costs a fraction of a new model.
    return CopyOrder(
        id=copy_order_id(fill.broker, fill.master_account, fill.fill_id, FollowerId("")),
        broker=fill.broker,
        sequence=fill.sequence,
        follower_id=FollowerId("nobody"),
        symbol=fill.symbol,
        side=fill.side,
        reference_price=fill.price,
        executed_at=fill.executed_at,
        published_at=fill.published_at,
        decided_at=now,
        replayed=fill.replayed,
        trace_id=fill.trace_id,
    )


def _batch(
    fill: MasterFill,
    shard: int,
    instrument: Instrument | SkipReason,
    now: datetime,
    decisions: Sequence[Decision],
) -> DecisionBatch:
    return DecisionBatch.model_construct(
        broker=fill.broker,
        sequence=fill.sequence,
        shard=shard,
        symbol=fill.symbol,
        side=fill.side,
        instrument=instrument if isinstance(instrument, Instrument) else None,
        decided_at=now,
        decisions=tuple(decisions),
    )
