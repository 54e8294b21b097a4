"""Queries about fills, orders, positions, followers and past decisions return frozen models from a real ledger."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import event

from shared.domain.identity import Broker, FollowerId
from shared.persistence.errors import AmbiguousFollower, BadSecretKey, UnknownFollower
from shared.persistence.followers.store import FollowerStore
from shared.queries.accounts import read_accounts
from shared.queries.brokers import read_brokers, read_expected_brokers
from shared.queries.connections import Connections
from shared.queries.fill_names import ContradictingBrokers, FillName, UnknownFill
from shared.queries.followers import read_details, read_follower, read_followers, require_follower
from shared.queries.ledger import read_adjustments, read_fills, read_orders, read_positions
from shared.queries.replay import replay_fill
from shared.queries.system import system_status
from tests.integration.queries.conftest import KEY_OF_ALICE, SECRET

ALICE, BOB, ALISE = FollowerId("alice"), FollowerId("bob"), FollowerId("alise")
MAXIMUM_AGE = timedelta(minutes=15)


def test_fills_are_read_for_one_broker_or_for_all(connections: Connections) -> None:
    """A limit keeps the newest ones, and a fill cannot be changed."""
    assert {fill.fill_id for fill in read_fills(connections)} == {"T-kraken", "T-okx"}
    (fill,) = read_fills(connections, Broker.KRAKEN)
    assert (fill.fill_id, fill.copied) == ("T-kraken", 1)
    assert len(read_fills(connections, limit=1)) == 1
    with pytest.raises(ValidationError):
        fill.copied = 2


def test_orders_are_read_by_every_filter(connections: Connections) -> None:
    """Broker, follower, fill and state; a fill that names its broker is enough."""
    (order,) = read_orders(connections)
    assert (order.follower_id, order.state) == ("alice", "filled")
    assert read_orders(connections, follower_id=ALICE, fill=FillName.parse("kraken:1"), state="filled") == [order]
    for nothing in (
        read_orders(connections, state="queued"),
        read_orders(connections, Broker.OKX),
        read_orders(connections, fill=FillName.parse("okx:1")),
    ):
        assert nothing == []
    with pytest.raises(UnknownFill):
        read_orders(connections, fill=FillName.parse("kraken:7"))


def test_a_fill_and_a_broker_are_both_respected(connections: Connections) -> None:
    """Each broker has a fill 1. The broker chooses between them, and one that contradicts the fill is an error."""
    (order,) = read_orders(connections, Broker.KRAKEN, fill=FillName("1"))
    assert order.broker is Broker.KRAKEN
    assert read_orders(connections, Broker.KRAKEN, fill=FillName.parse("kraken:1")) == [order]
    assert read_orders(connections, Broker.OKX, fill=FillName("1")) == []
    with pytest.raises(ContradictingBrokers, match="kraken:1 is a fill of kraken, not of okx"):
        read_orders(connections, Broker.OKX, fill=FillName.parse("kraken:1"))


def test_positions_are_read_by_every_filter(connections: Connections) -> None:
    """Nothing was repaired, so there is no adjustment."""
    (position,) = read_positions(connections)
    assert (position.follower_id, position.asset) == ("alice", "BTC")
    assert read_positions(connections, Broker.KRAKEN, follower_id=ALICE, asset="BTC") == [position]
    assert read_positions(connections, asset="ETH") == []
    assert read_adjustments(connections, follower_id=ALICE) == []


def test_an_unknown_follower_is_an_error_that_names_similar_ids(connections: Connections) -> None:
    """An empty answer would look like a follower without orders."""
    for read in (read_orders, read_positions, read_adjustments):
        with pytest.raises(UnknownFollower, match=r"there is no follower 'alise'; did you mean alice\?"):
            read(connections, follower_id=ALISE)
        with pytest.raises(UnknownFollower, match="no follower 'bob' at kraken"):
            read(connections, Broker.KRAKEN, follower_id=BOB)
    with pytest.raises(UnknownFollower, match="did you mean alice"):
        read_accounts(connections, follower_id=ALISE, maximum_age=MAXIMUM_AGE)


@pytest.mark.parametrize("broker", [None, Broker.KRAKEN])
def test_a_follower_is_found_by_its_id_alone(connections: Connections, broker: Broker | None) -> None:
    """With ten thousand followers, a filter by one of them must not read the others."""
    read: list[int] = []

    def count_rows(_connection: Any, cursor: Any, statement: str, *_rest: Any) -> None:
        if "FROM followers" in statement:
            read.append(cursor.rowcount)

    event.listen(connections.engine, "after_cursor_execute", count_rows)
    require_follower(connections, ALICE, broker)
    assert read_follower(connections, ALICE, broker).follower_id == ALICE
    assert read == [1, 1]
    with pytest.raises(UnknownFollower):
        require_follower(connections, ALISE, broker)
    assert read[2:] == [0, 2 if broker is None else 1]


@pytest.mark.parametrize("broker", [None, Broker.KRAKEN])
def test_a_text_that_no_follower_can_have_as_id_is_an_unknown_follower(
    connections: Connections, broker: Broker | None
) -> None:
    """PostgreSQL refuses NUL and half a character, and the error would say nothing about followers."""
    for text in ("al\0ice", "al\ud800ice", ""):
        for find in (require_follower, read_follower):
            with pytest.raises(UnknownFollower, match="there is no follower"):
                find(connections, FollowerId(text), broker)


def test_a_follower_is_shown_with_a_masked_key(connections: Connections) -> None:
    """The end of a long key, nothing of a short one, and no secret. A removed follower has no key any more."""
    alice, bob = (read_details(connections, each) for each in (ALICE, BOB))
    assert alice.key is not None
    assert bob.key is not None
    assert (alice.key.api_key, bob.key.api_key) == ("…1234", "…")
    assert (alice.key.passphrase, bob.key.passphrase) == (None, "***")
    assert alice.key.fingerprint != bob.key.fingerprint
    assert not any(text in alice.key.model_dump_json() for text in (KEY_OF_ALICE, SECRET))
    assert [change.change for change in alice.changes] == ["joined"]
    FollowerStore(connections.engine).remove(Broker.KRAKEN, ALICE, actor="test")
    without_keys = Connections(connections.engine, {})
    assert read_details(without_keys, ALICE).key is None
    with pytest.raises(BadSecretKey, match="NIJA_SECRET_KEY is missing"):
        read_details(without_keys, BOB)


def test_removed_followers_are_listed_on_request(connections: Connections) -> None:
    """They stay out of the list otherwise."""
    FollowerStore(connections.engine).remove(Broker.KRAKEN, ALICE, actor="test")
    found = read_followers(connections)
    assert ([each.follower_id for each in found.present], found.removed) == (["bob"], ())
    found = read_followers(connections, removed=True)
    assert ([each.follower_id for each in found.present], [each.follower_id for each in found.removed]) == (
        ["bob"],
        ["alice"],
    )


def test_an_id_at_two_brokers_needs_the_broker(connections: Connections) -> None:
    """Nothing is guessed."""
    store = FollowerStore(connections.engine, connections.secret_box)
    (key,) = store.credentials(Broker.OKX, [BOB]).values()
    store.add(Broker.OKX, ALICE, key.model_copy(update={"api_key": type(key.api_key)("other")}), actor="test")
    with pytest.raises(AmbiguousFollower, match="'alice' is a follower at kraken, okx"):
        read_details(connections, ALICE)
    assert read_details(connections, ALICE, Broker.OKX).follower.broker is Broker.OKX


def test_a_replay_compares_every_decision(connections: Connections) -> None:
    """Fill 1 of OKX has no decision yet. The recorded decision of the example differs from the planner's."""
    empty = replay_fill(connections, FillName.parse("okx:1"), maximum_age=MAXIMUM_AGE)
    assert (empty.fill.fill_id, empty.decisions, empty.differences) == ("T-okx", 0, ())
    found = replay_fill(connections, FillName.parse("kraken:1"), maximum_age=MAXIMUM_AGE)
    assert (found.decisions, found.identical, found.different) == (1, 0, 1)
    assert {difference.follower_id for difference in found.differences} == {"alice"}


def test_without_any_redis_the_ledger_is_still_shown(connections: Connections) -> None:
    """Accounts and brokers are listed, and what only Redis knows is missing with its reason."""
    accounts = read_accounts(connections, maximum_age=MAXIMUM_AGE)
    assert [(each.user_id, each.connected) for each in accounts] == [("alice", False), ("bob", False)]
    assert [(each.broker, each.redis_error) for each in read_brokers(connections)] == [
        (Broker.KRAKEN, "no Redis is set"),
        (Broker.OKX, "no Redis is set"),
    ]
    status = system_status(connections, (), home="/data", run=None, processes=())
    assert [each.broker for each in status.brokers] == [Broker.KRAKEN, Broker.OKX]
    assert status.brokers[0].ledger is not None
    assert status.brokers[0].ledger.followers == {"active": 1}


def test_a_broker_whose_followers_are_all_removed_is_not_shown(connections: Connections) -> None:
    """Nothing has to run there, so nothing that does not run is a finding. It is shown if it is enabled."""
    FollowerStore(connections.engine).remove(Broker.KRAKEN, ALICE, actor="test")
    status = system_status(connections, (), home="/data", run=None, processes=())
    assert [each.broker for each in status.brokers] == [Broker.OKX]
    assert [each.broker for each in read_brokers(connections)] == [Broker.OKX]
    assert [each.broker for each in read_expected_brokers(connections)] == [Broker.OKX]
    assert [each.broker for each in read_accounts(connections, maximum_age=MAXIMUM_AGE)] == [Broker.OKX]
    assert [each.broker for each in read_brokers(connections, [Broker.KRAKEN])] == [Broker.KRAKEN, Broker.OKX]


@pytest.mark.parametrize(
    ("enabled", "only", "expected"),
    [
        ([], None, [Broker.KRAKEN, Broker.OKX]),
        ([Broker.KRAKEN], None, [Broker.KRAKEN]),
        ([Broker.KRAKEN, Broker.ALPACA], None, [Broker.KRAKEN, Broker.ALPACA]),
        ([Broker.KRAKEN], Broker.OKX, [Broker.OKX]),
    ],
)
def test_a_broker_that_is_switched_off_is_not_expected(
    connections: Connections, enabled: list[Broker], only: Broker | None, expected: list[Broker]
) -> None:
    """OKX has a follower. It counts if it is asked for, or if no broker is enabled at all."""
    assert sorted(each.broker for each in read_expected_brokers(connections, enabled, only)) == sorted(expected)


def test_without_connections_the_status_says_why() -> None:
    """Nothing was asked, and the reason is a finding."""
    status = system_status(None, (), home="/data", run=None, processes=(), unreachable="no nija runs on /data")
    assert (status.brokers, status.database_error) == ((), None)
    assert [finding.message for finding in status.findings()] == ["no nija runs on /data"]
