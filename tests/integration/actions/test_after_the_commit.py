"""A change that is stored is never reported as one that was not made, whichever server fails after the commit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from redis.exceptions import RedisError
from sqlalchemy import Connection, Engine, event

from shared.actions.context import ActionContext
from shared.actions.errors import ChangeNotAnnounced, ChangeNotRead
from shared.actions.followers import add_follower, pause_follower, remove_follower, replace_key, resume_follower
from shared.domain.accounts.credentials import Credentials
from shared.domain.copying.follower import FollowerStatus
from shared.domain.identity import FollowerId
from tests.support.operators.operator import ACTOR, KRAKEN, Operator

ALICE = FollowerId("alice")
BOB = FollowerId("bob")
CHANGES: dict[str, Callable[[ActionContext, Credentials], object]] = {
    "pause": lambda context, _: pause_follower(context, ALICE, actor=ACTOR),
    "resume": lambda context, _: resume_follower(context, ALICE, actor=ACTOR),
    "replace_key": lambda context, key: replace_key(context, ALICE, key, check=False, actor=ACTOR),
    "remove": lambda context, _: remove_follower(context, ALICE, actor=ACTOR),
}


def an_addition(context: ActionContext, key: Credentials) -> object:
    """Add the follower bob."""
    return add_follower(context, KRAKEN, BOB, key, check=False, actor=ACTOR)


def alice_before(operator: Operator, name: str) -> int:
    """Add alice, in a status that the change `name` changes. Return the number of changes until then."""
    operator.store.add(KRAKEN, ALICE, operator.new_key("alice"), actor=ACTOR)
    if name == "resume":
        operator.store.set_status(KRAKEN, ALICE, FollowerStatus.PAUSED, actor=ACTOR)
    return operator.store.count_changes(KRAKEN)


@contextmanager
def lost_after_the_change(engine: Engine, url: str) -> Iterator[None]:
    """PostgreSQL ends the first connection that is used after the commit of a change of a follower."""
    seen = {"change": False, "commit": False}

    def note_change(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen["change"] |= statement.startswith(("UPDATE followers ", "INSERT INTO followers "))

    def note_commit(_connection: Connection) -> None:
        seen["commit"] = seen["change"]

    def end_connection(connection: Connection) -> None:
        if seen["commit"]:
            pid = connection.connection.dbapi_connection.info.backend_pid  # type: ignore[union-attr]
            with psycopg.connect(url, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))

    listeners = {"before_cursor_execute": note_change, "commit": note_commit, "begin": end_connection}
    for name, listener in listeners.items():
        event.listen(engine, name, listener)
    try:
        yield
    finally:
        for name, listener in listeners.items():
            event.remove(engine, name, listener)


@pytest.mark.parametrize("name", CHANGES)
def test_a_stored_change_that_could_not_be_announced_says_so(operator: Operator, name: str) -> None:
    """The stages notice it within a minute. An operator who believed that nothing was changed would act wrongly."""
    before = alice_before(operator, name)
    operator.refuse_announcements()
    with pytest.raises(ChangeNotAnnounced, match="was stored, and reaches the running stages within a minute: Redis"):
        CHANGES[name](operator.context, operator.new_key("next"))
    assert operator.store.count_changes(KRAKEN) == before + 1


def test_a_new_follower_that_could_not_be_announced_is_not_stored(operator: Operator) -> None:
    """Joining is announced before the commit, so the error of Redis undoes it."""
    operator.refuse_announcements()
    with pytest.raises(RedisError):
        an_addition(operator.context, operator.new_key("bob"))
    assert operator.store.all() == []


@pytest.mark.parametrize("name", ["add", *CHANGES])
def test_a_stored_change_that_could_not_be_read_again_says_so(
    operator: Operator, engine: Engine, fresh_database_url: str, name: str
) -> None:
    """PostgreSQL ends the connection after the commit. The stages were notified nevertheless."""
    before, change = alice_before(operator, name), {**CHANGES, "add": an_addition}[name]
    key = operator.new_key("next")
    with (
        lost_after_the_change(engine, fresh_database_url),
        pytest.raises(ChangeNotRead, match="the change was stored, but its result could not be read: PostgreSQL: "),
    ):
        change(operator.context, key)
    assert (operator.store.count_changes(KRAKEN), operator.announcements()) == (before + 1, 1)
