"""Reads the masters and who copies them: the list of masters, and the subscriptions of followers to them.

Every function blocks and raises DatabaseUnavailable.
"""

import contextlib
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict
from redis.exceptions import RedisError

from shared.domain.accounts.balance import BalanceSnapshot
from shared.domain.amounts import Instant
from shared.domain.identity import Broker, MasterAccount
from shared.messaging.keys import LAST_POLL_FIELD, BrokerKeys
from shared.persistence.reports.masters import MasterReports, WatchedMaster
from shared.persistence.reports.masters import SubscriptionLine as SubscriptionLine
from shared.persistence.reports.page_keys import FollowerKey
from shared.queries.accounts import MASTER, master_state
from shared.queries.connections import Connections

NOT_WATCHED = "not watched"
"""The state of a master that no process has reported, or while Redis does not answer."""


class MasterLine(BaseModel):
    """A master account, as its process reports it, and what the ledger has of it."""

    model_config = ConfigDict(frozen=True)

    broker: Broker
    master: MasterAccount
    state: str
    error: str | None = None
    """The last error of its process, unless it watches."""
    last_poll_at: Instant | None = None
    """When its process last read its fills from the broker."""
    watched_since: Instant | None = None
    """Fills before this moment are not copied. None: it was never watched."""
    last_sequence: int | None = None
    """The number of its newest fill, as in `nija fills`."""
    last_fill_at: Instant | None = None
    """When the master executed its newest fill."""
    balance: BalanceSnapshot | None = None
    followers: dict[str, int] = {}
    """The number of its followers by status, without removed ones."""


def read_masters(
    connections: Connections,
    enabled: Collection[Broker],
    broker: Broker | None = None,
    *,
    maximum_age: timedelta,
) -> list[MasterLine]:
    """The masters of one broker, or of every enabled broker and every broker that had one.

    `maximum_age`: an older balance is stale.
    """
    reports = MasterReports(connections.engine)
    watched = reports.watched()
    concerned = {broker} if broker else {*enabled, *(each.broker for each in watched)}
    followers = reports.followers()
    lines: list[MasterLine] = []
    for each in sorted(concerned):
        fields = _fields(connections, each)
        known = [master for master in watched if master.broker is each]
        if not known:
            known = [WatchedMaster(broker=each, master=MasterAccount(fields.get("master_account", MASTER)))]
        lines += [_line(master, fields, followers.get(each, {}), maximum_age) for master in known]
    return lines


def read_subscriptions(
    connections: Connections,
    broker: Broker | None = None,
    *,
    after: FollowerKey | None = None,
    limit: int | None = None,
) -> Sequence[SubscriptionLine]:
    """The followers that are not removed, each with the master that it copies, by broker and follower.

    `after`: only those behind it.
    """
    return MasterReports(connections.engine).subscriptions(broker, after=after, limit=limit)


def _fields(connections: Connections, broker: Broker) -> Mapping[str, str]:
    """The hash in which the process of a master reports. Empty: there is none, or Redis does not answer."""
    redis = connections.redis.get(broker)
    if redis is not None:
        with contextlib.suppress(RedisError, OSError):
            return dict(redis.hgetall(BrokerKeys(broker).master))  # type: ignore[arg-type]  # not awaitable here
    return {}


def _line(
    master: WatchedMaster, fields: Mapping[str, str], followers: dict[str, int], maximum_age: timedelta
) -> MasterLine:
    known = master.model_dump() | {"followers": followers}
    if fields.get("master_account") != master.master:
        return MasterLine(**known, state=NOT_WATCHED)
    reported = master_state(master.broker, fields, datetime.now(UTC), maximum_age)
    polled = fields.get(LAST_POLL_FIELD)
    return MasterLine(
        **known,
        state=reported.status,
        error=reported.error,
        last_poll_at=datetime.fromisoformat(polled) if polled else None,
        balance=reported.balance,
    )
