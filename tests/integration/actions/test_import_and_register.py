"""Many followers join at once, from a file or from the environment: all of them or none."""

import pytest

from shared.actions.followers import pause_follower
from shared.actions.import_followers import ImportFormat, NewFollower, import_followers, read_rows
from shared.actions.register_followers import register_followers
from shared.domain.accounts.credentials import Credentials, EnvironmentFollower
from shared.domain.copying.follower import FollowerStatus
from shared.domain.identity import FollowerId
from shared.messaging.connection.errors import RedisUnavailable
from shared.persistence.errors import ImportRefused
from tests.support.operators.operator import ACTOR, KRAKEN, READING, WITHDRAWING, Operator

ALICE = FollowerId("alice")


def a_row(number: int, follower_id: str, key: Credentials) -> NewFollower:
    """A row of an import file."""
    return NewFollower(KRAKEN, FollowerId(follower_id), key, number)


def test_all_rows_join_with_one_announcement(operator: Operator) -> None:
    """The rows of a file as `read_rows` returns them; the result counts them by broker."""
    keys = {name: operator.new_key(name) for name in ("alice", "bob")}
    lines = ["follower_id,broker,api_key,api_secret"]
    for name, key in keys.items():
        lines.append(f"{name},kraken,{key.api_key.get_secret_value()},{key.api_secret.get_secret_value()}")
    rows = read_rows("\n".join(lines), ImportFormat.CSV, elsewhere={KRAKEN})
    result = import_followers(operator.context, rows, actor=ACTOR, reason="moved over")
    assert (result.counts, result.count, result.notes) == ({KRAKEN: 2}, 2, ())
    assert operator.store.credentials(KRAKEN, list(map(FollowerId, keys))) == keys
    assert operator.announcements() == 1
    assert [(each.actor, each.reason) for each in operator.store.changes(KRAKEN, ALICE)] == [(ACTOR, "moved over")]


@pytest.mark.parametrize("fault", ["is not valid", "the master's own key", "is taken", "may withdraw", "may not trade"])
def test_one_row_that_cannot_join_refuses_all(operator: Operator, fault: str) -> None:
    """The error names the row by its number, and no other row was stored. A taken id counts before the key's rights."""
    operator.store.add(KRAKEN, FollowerId("carol"), operator.new_key("carol"), actor=ACTOR)
    bad = {
        "is not valid": a_row(2, "Alice Smith", operator.new_key("dave")),
        "the master's own key": a_row(2, "dave", operator.master),
        "is taken": a_row(2, "carol", operator.new_key("carol", *WITHDRAWING)),
        "may withdraw": a_row(2, "dave", operator.new_key("dave", *WITHDRAWING)),
        "may not trade": a_row(2, "dave", operator.new_key("dave", *READING)),
    }[fault]
    with pytest.raises(ImportRefused) as caught:
        import_followers(operator.context, [a_row(1, "alice", operator.new_key("alice")), bad], actor=ACTOR)
    assert list(caught.value.problems) == [2]
    assert fault in caught.value.problems[2]
    assert [record.follower_id for record in operator.store.all()] == ["carol"]


def test_every_row_that_cannot_join_is_named_at_once(operator: Operator) -> None:
    """One try shows every problem. The rows have no numbers, so they are counted in their order."""
    operator.store.add(KRAKEN, FollowerId("carol"), operator.new_key("carol"), actor=ACTOR)
    twice, masters = operator.new_key("twice"), operator.master
    rows = [
        NewFollower(KRAKEN, FollowerId(name), key)
        for name, key in (
            ("alice", operator.new_key("alice")),
            ("dave", masters),
            ("carol", operator.new_key("other")),
            ("erin", operator.new_key("erin", *READING)),
            ("Alice Smith", operator.new_key("smith")),
            ("alice", operator.new_key("another-alice")),
            ("frank", twice),
            ("grace", twice),
        )
    ]
    with pytest.raises(ImportRefused) as caught:
        import_followers(operator.context, rows, actor=ACTOR)
    expected = {
        2: "the master's own key",
        3: "follower id carol at kraken is taken",
        4: "may not trade",
        5: "the follower_id is not valid",
        6: "follower id alice is in row 1 already",
        8: "in use already at kraken by follower frank",
    }
    assert list(caught.value.problems) == list(expected)
    assert [text for row, text in expected.items() if text not in caught.value.problems[row]] == []
    assert [record.follower_id for record in operator.store.all()] == ["carol"]


def test_numbers_that_occur_twice_are_replaced_by_the_order_of_the_rows(operator: Operator) -> None:
    """Rows of two files may have equal numbers. One problem must not hide another."""
    rows = [a_row(1, "alice", operator.master), a_row(1, "bob", operator.master)]
    with pytest.raises(ImportRefused) as caught:
        import_followers(operator.context, rows, actor=ACTOR)
    assert list(caught.value.problems) == [1, 2]


def test_an_import_without_a_check_stores_any_key(operator: Operator) -> None:
    """An operator may import while a broker is away."""
    row = a_row(1, "dave", operator.new_key("dave", *READING))
    assert import_followers(operator.context, [row], check=False, actor=ACTOR).count == 1


def test_an_import_while_the_broker_is_away_is_noted(operator: Operator) -> None:
    """One line for all keys with the same reason, with at most three names."""
    rows = [a_row(n, f"follower-{n}", operator.new_key(f"f{n}")) for n in range(1, 5)]
    (note,) = import_followers(operator.without_broker(), rows, actor=ACTOR).notes
    assert note.startswith("the key of follower-1, follower-2, follower-3, … was not checked (kraken could not be")


def test_without_redis_no_row_is_stored(operator: Operator) -> None:
    """The stages could not hear of the followers."""
    with pytest.raises(RedisUnavailable, match="nothing was changed"):
        import_followers(operator.without_redis(), [a_row(1, "alice", operator.new_key("alice"))], actor=ACTOR)
    assert operator.store.all() == []


def test_the_environment_is_the_whole_list(operator: Operator) -> None:
    """New followers join, missing ones are disabled, and unchanged ones keep their status."""
    alice, bob = (
        EnvironmentFollower(broker=KRAKEN, follower_id=FollowerId(name), credentials=operator.new_key(name))
        for name in ("alice", "bob")
    )
    done = register_followers(operator.context, [alice, bob])
    assert done.added == ((KRAKEN, "alice"), (KRAKEN, "bob"))
    pause_follower(operator.context, ALICE, actor=ACTOR)
    done = register_followers(operator.context, [alice])
    assert (done.added, done.updated, done.disabled) == ((), (), ((KRAKEN, "bob"),))
    statuses = {each.follower_id: each.status for each in operator.store.all()}
    assert statuses == {"alice": FollowerStatus.PAUSED, "bob": FollowerStatus.DISABLED}
    assert operator.store.changes(KRAKEN, FollowerId("bob"))[0].actor == "environment"


def test_without_redis_the_environment_is_not_registered(operator: Operator) -> None:
    """Engines that run would not plan for the new followers."""
    alice = EnvironmentFollower(broker=KRAKEN, follower_id=ALICE, credentials=operator.new_key("alice"))
    with pytest.raises(RedisUnavailable):
        register_followers(operator.without_redis(), [alice])
    assert operator.store.all() == []
