"""Reads every account's balance and positions at a broker, one `UserBrokerState` each.

Redis has the newest snapshots. Where there is none, or it does not answer, the ledger's last ones are returned, marked
stale.
"""

import contextlib
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

from shared.domain.accounts.balance import (
    READINGS_UNTIL_UNAVAILABLE,
    AccountTrouble,
    BalanceSnapshot,
    OpenPosition,
    UserBrokerState,
    balance_of,
)
from shared.domain.accounts.master_state import MasterState
from shared.domain.accounts.snapshot import AccountSnapshot
from shared.domain.amounts import ZERO, parse_amount
from shared.domain.copying.follower import FollowerStatus
from shared.domain.identity import Broker, FollowerId
from shared.messaging.keys import BrokerKeys
from shared.persistence.reports.page_keys import FollowerKey, PageKey, Text
from shared.persistence.reports.reports import FollowerLine, Reports, with_followers
from shared.queries.connections import Connections
from shared.queries.followers import require_follower

MASTER: Final = "master"


class AccountPageKey(PageKey):
    """An account, in the list by broker with the master first. `follower_id` None: it is the master."""

    broker: Broker
    follower_id: Text | None


def read_accounts(
    connections: Connections,
    enabled: Collection[Broker] = (),
    *,
    broker: Broker | None = None,
    follower_id: FollowerId | None = None,
    maximum_age: timedelta,
) -> list[UserBrokerState]:
    """Return the accounts at one broker, or at every enabled broker and every broker with followers.

    `maximum_age`: an older balance is stale. Raises UnknownFollower, which names similar ids, and DatabaseUnavailable.
    """
    require_follower(connections, follower_id, broker)
    reports = Reports(connections.engine)
    expected = {*enabled, *with_followers(reports.statuses())}
    concerned = (broker,) if broker else tuple(each for each in Broker if each in expected)
    return [
        state
        for each in concerned
        for state in account_states(
            connections.redis.get(each), reports, each, maximum_age=maximum_age, follower_id=follower_id
        )
    ]


def account_states(
    redis: Redis | None,
    reports: Reports,
    broker: Broker,
    *,
    maximum_age: timedelta,
    follower_id: FollowerId | None = None,
    after: AccountPageKey | None = None,
    limit: int | None = None,
) -> list[UserBrokerState]:
    """Return the master (unless one follower is asked for) and the followers of a broker, by id.

    `redis`: opened with `decode_responses`; None: there is none to ask. `maximum_age`: an older balance is stale.
    `after`: only the accounts behind it, which is one of this broker. `limit`: of followers. Raises
    DatabaseUnavailable.
    """
    now = datetime.now(UTC)
    behind = None if after is None or after.follower_id is None else FollowerKey(**after.model_dump())
    followers = reports.followers(broker, follower_id=follower_id, after=behind, limit=limit)
    positions: dict[str, list[OpenPosition]] = {}
    for line in reports.positions(broker, among=[each.follower_id for each in followers]):
        positions.setdefault(line.follower_id, []).append(OpenPosition(asset=line.asset, quantity=line.quantity))
    states: list[UserBrokerState] = []
    master: Mapping[str, str] = {}
    snapshots: dict[str, AccountSnapshot] = {}
    troubles: dict[FollowerId, AccountTrouble] = {}
    reached = False
    if redis is not None:
        with contextlib.suppress(RedisError, OSError):
            master, snapshots, troubles = _read(redis, broker, followers)
            reached = True
    if follower_id is None and after is None and master:
        states.append(master_state(broker, master, now, maximum_age))
    ledger = {} if reached else reports.balances(broker)
    for follower in followers:
        snapshot = snapshots.get(follower.follower_id)
        balance = balance_of(snapshot, now, maximum_age) if snapshot else ledger.get(follower.follower_id)
        states.append(
            _follower_state(
                follower,
                balance,
                troubles.get(follower.follower_id),
                positions.get(follower.follower_id, ()),
                reached=reached,
            )
        )
    return states


def _read(
    redis: Redis, broker: Broker, followers: Sequence[FollowerLine]
) -> tuple[dict[str, str], dict[str, AccountSnapshot], dict[FollowerId, AccountTrouble]]:
    keys = BrokerKeys(broker)
    ids = [follower.follower_id for follower in followers]
    with redis.pipeline(transaction=True) as pipeline:
        pipeline.hgetall(keys.master)
        if ids:
            pipeline.hmget(keys.accounts, ids)
            pipeline.hmget(keys.account_trouble, ids)
        master, *rest = pipeline.execute()
    accounts, failures = rest or ((), ())
    troubles = {
        each: AccountTrouble.model_validate_json(text) for each, text in zip(ids, failures, strict=True) if text
    }
    snapshots: dict[str, AccountSnapshot] = {}
    for follower_id, text in zip(ids, accounts, strict=True):
        if text:
            trouble = troubles.get(follower_id)
            failed_reads = {"failed_reads": trouble.failed_reads if trouble else 0}
            snapshots[follower_id] = AccountSnapshot.model_validate_json(text).model_copy(update=failed_reads)
    return master, snapshots, troubles


def _follower_state(
    follower: FollowerLine,
    balance: BalanceSnapshot | None,
    trouble: AccountTrouble | None,
    positions: Sequence[OpenPosition],
    *,
    reached: bool,
) -> UserBrokerState:
    failed_reads = trouble.failed_reads if trouble else 0
    active = follower.status == FollowerStatus.ACTIVE.value
    usable = balance is not None and not (balance.stale and failed_reads == 0)
    return UserBrokerState(
        broker=follower.broker,
        user_id=follower.follower_id,
        role="follower",
        status=follower.status,
        connected=(
            reached and balance is not None and failed_reads == 0 and follower.status != FollowerStatus.DISABLED.value
        ),
        available_for_opens=reached and active and usable and failed_reads < READINGS_UNTIL_UNAVAILABLE,
        balance=balance,
        open_positions=tuple(positions),
        last_updated=balance.taken_at if balance else None,
        failed_reads=failed_reads,
        error=trouble.error if trouble else (follower.status_reason or None),
    )


def master_state(broker: Broker, fields: Mapping[str, str], now: datetime, maximum_age: timedelta) -> UserBrokerState:
    """The state of a master. `fields`: the hash `master`, as the report of its process writes it."""
    state = fields.get("state", "starting")
    watching = state == MasterState.WATCHING.value
    failed_reads = 0 if watching else int(fields.get("consecutive_errors", "0"))
    balance = None
    if "equity" in fields:
        snapshot = AccountSnapshot(
            equity=parse_amount(fields["equity"]),
            cash=parse_amount(fields.get("cash", "0")),
            held=parse_amount(fields["held"]) if "held" in fields else ZERO,
            positions=parse_amount(fields["positions"]) if "positions" in fields else ZERO,
            unpriced=tuple(each for each in fields.get("unpriced", "").split(",") if each),
            taken_at=datetime.fromisoformat(fields["equity_at"]),
            failed_reads=failed_reads,
        )
        balance = balance_of(snapshot, now, maximum_age)
    return UserBrokerState(
        broker=broker,
        user_id=fields.get("master_account", MASTER),
        role=MASTER,
        status=state,
        connected=watching,
        available_for_opens=watching,
        balance=balance,
        last_updated=balance.taken_at if balance else None,
        failed_reads=failed_reads,
        error=None if watching else fields.get("last_error"),
    )
