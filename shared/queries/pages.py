"""Reads long lists one page at a time: a page begins behind the last row of the page before it.

So no row is missed or repeated while others are added, and a late page costs no more than the first one. Every function
blocks and raises DatabaseUnavailable, and the errors of the list that it reads.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

from shared.domain.accounts.balance import UserBrokerState
from shared.domain.identity import Broker, FollowerId
from shared.persistence.reports.order_lines import OrderLine
from shared.persistence.reports.page_keys import FillKey as FillKey
from shared.persistence.reports.page_keys import FollowerKey as FollowerKey
from shared.persistence.reports.page_keys import OrderKey as OrderKey
from shared.persistence.reports.page_keys import PageKey as PageKey
from shared.persistence.reports.page_keys import PositionKey as PositionKey
from shared.persistence.reports.reports import (
    FillReport,
    FollowerLine,
    PositionLine,
    Reports,
    with_followers,
)
from shared.queries.accounts import MASTER, AccountPageKey, account_states
from shared.queries.connections import Connections
from shared.queries.fill_names import FillName
from shared.queries.followers import require_follower
from shared.queries.ledger import read_fills, read_orders, read_positions
from shared.queries.masters import SubscriptionLine, read_subscriptions

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some rows of a list. `next_key`: the next page begins behind it; None: there is none."""

    items: Sequence[Item]
    next_key: PageKey | None


def page_of_fills(
    connections: Connections, broker: Broker | None, *, after: FillKey | None, limit: int
) -> Page[FillReport]:
    """The fills of the masters, newest first."""
    found = read_fills(connections, broker, after=after, limit=limit + 1)
    return _cut(found, limit, lambda last: FillKey(**last.model_dump(include=set(FillKey.model_fields))))


def page_of_orders(
    connections: Connections,
    broker: Broker | None,
    *,
    follower_id: FollowerId | None,
    fill: FillName | None,
    state: str | None,
    after: OrderKey | None,
    limit: int,
) -> Page[OrderLine]:
    """The copy orders, those of the newest fill first. `read_orders` says which decisions are among them."""
    found = read_orders(
        connections, broker, follower_id=follower_id, fill=fill, state=state, after=after, limit=limit + 1
    )
    return _cut(found, limit, lambda last: OrderKey(**last.model_dump(include=set(OrderKey.model_fields))))


def page_of_followers(
    connections: Connections, broker: Broker | None, *, after: FollowerKey | None, limit: int
) -> Page[FollowerLine]:
    """The followers that are not removed, by broker and id."""
    found = Reports(connections.engine).followers(broker, after=after, limit=limit + 1)
    return _cut(found, limit, lambda last: FollowerKey(broker=last.broker, follower_id=last.follower_id))


def page_of_subscriptions(
    connections: Connections, broker: Broker | None, *, after: FollowerKey | None, limit: int
) -> Page[SubscriptionLine]:
    """The followers that are not removed with the masters that they copy, by broker and follower."""
    found = read_subscriptions(connections, broker, after=after, limit=limit + 1)
    return _cut(found, limit, lambda last: FollowerKey(broker=last.broker, follower_id=last.follower_id))


def page_of_positions(
    connections: Connections,
    broker: Broker | None,
    *,
    follower_id: FollowerId | None,
    asset: str | None,
    closed: bool,
    after: PositionKey | None,
    limit: int,
) -> Page[PositionLine]:
    """The copied positions, by broker, follower and asset."""
    found = read_positions(
        connections, broker, follower_id=follower_id, asset=asset, closed=closed, after=after, limit=limit + 1
    )
    return _cut(found, limit, lambda last: PositionKey(**last.model_dump(include=set(PositionKey.model_fields))))


def page_of_accounts(
    connections: Connections,
    enabled: Collection[Broker],
    broker: Broker | None,
    *,
    follower_id: FollowerId | None,
    maximum_age: timedelta,
    after: AccountPageKey | None,
    limit: int,
) -> Page[UserBrokerState]:
    """The accounts at one broker, or at every enabled broker and every broker with followers, each master first."""
    require_follower(connections, follower_id, broker)
    reports = Reports(connections.engine)
    concerned = {broker} if broker else {*enabled, *with_followers(reports.statuses())}
    found: list[UserBrokerState] = []
    for each in sorted(concerned):
        if (after is not None and each < after.broker) or len(found) > limit:
            continue
        found += account_states(
            connections.redis.get(each),
            reports,
            each,
            maximum_age=maximum_age,
            follower_id=follower_id,
            after=after if after is not None and after.broker is each else None,
            limit=limit + 1,
        )
    return _cut(found, limit, _account_key)


def _account_key(last: UserBrokerState) -> AccountPageKey:
    return AccountPageKey(broker=last.broker, follower_id=None if last.role == MASTER else last.user_id)


def _cut(found: Sequence[Item], limit: int, key_of: Callable[[Item], PageKey]) -> Page[Item]:
    """The first `limit` rows. One more row was read to find out whether there is another page."""
    items = found[:limit]
    return Page(items, key_of(items[-1]) if len(found) > limit else None)
