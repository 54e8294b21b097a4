"""Stops stand in the database until a person resumes, and each change is recorded."""

import threading

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from shared.domain.identity import Broker, FollowerId
from shared.domain.stop import StopMode, StopScope
from shared.persistence.stops import StopStore

ALL = StopScope()
KRAKEN = StopScope(broker=Broker.KRAKEN)
ALICE = StopScope(broker=Broker.KRAKEN, follower_id=FollowerId("alice"))


def history(engine: Engine) -> list[tuple[str | None, ...]]:
    """All changes, oldest first."""
    query = "SELECT broker, follower_id, mode, actor, reason FROM stop_changes ORDER BY revision"
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def test_without_a_change_nothing_is_stopped(engine: Engine) -> None:
    """The state of an empty database has the revision 0."""
    standing = StopStore(engine).standing()
    assert (standing.revision, standing.stops) == (0, ())
    assert standing.at(Broker.KRAKEN).mode_of(FollowerId("alice")) is None


def test_each_scope_is_stopped_changed_and_resumed_by_itself(engine: Engine) -> None:
    """Every change is one row with actor and reason. The revision grows with each."""
    stops = StopStore(engine)
    first = stops.change(ALL, StopMode.HALT, actor="ann", reason="a drill")
    assert first.before is None
    stops.change(ALICE, StopMode.CLOSE_ONLY, actor="ann", reason="")
    stops.change(KRAKEN, StopMode.HALT, actor="bob", reason="")
    changed = stops.change(KRAKEN, StopMode.CLOSE_ONLY, actor="ann", reason="better now")
    assert changed.before is not None
    assert (changed.before.mode, changed.before.actor) == (StopMode.HALT, "bob")
    stands = {(stop.scope.name, stop.mode, stop.actor, stop.reason) for stop in StopStore(engine).standing().stops}
    assert stands == {
        ("all brokers", StopMode.HALT, "ann", "a drill"),
        ("kraken", StopMode.CLOSE_ONLY, "ann", "better now"),
        ("alice at kraken", StopMode.CLOSE_ONLY, "ann", ""),
    }
    resumed = stops.change(ALL, None, actor="ann", reason="it is over")
    assert resumed.standing.revision > changed.standing.revision > first.standing.revision
    assert resumed.standing.at(Broker.KRAKEN).broker_mode is StopMode.CLOSE_ONLY
    assert resumed.standing.at(Broker.OKX).broker_mode is None
    assert history(engine) == [
        (None, None, "halt", "ann", "a drill"),
        ("kraken", "alice", "close-only", "ann", ""),
        ("kraken", None, "halt", "bob", ""),
        ("kraken", None, "close-only", "ann", "better now"),
        (None, None, None, "ann", "it is over"),
    ]


def test_a_resumption_of_what_is_not_stopped_is_not_recorded(engine: Engine) -> None:
    """Nothing has changed, so the revision stays too. The same holds for a second resumption."""
    stops = StopStore(engine)
    assert stops.change(KRAKEN, None, actor="ann", reason="").before is None
    stops.change(KRAKEN, StopMode.HALT, actor="ann", reason="")
    first, second = (stops.change(KRAKEN, None, actor="ann", reason="") for _ in range(2))
    assert (first.before is None, second.before) == (False, None)
    assert first.standing == second.standing
    assert len(history(engine)) == 2


def test_changes_at_the_same_time_get_different_revisions(engine: Engine) -> None:
    """Twenty persons stop twenty followers at the same moment. No change is lost."""
    stops = StopStore(engine)
    scopes = [StopScope(broker=Broker.KRAKEN, follower_id=FollowerId(f"f{number}")) for number in range(20)]
    threads = [
        threading.Thread(target=stops.change, args=(scope, StopMode.HALT), kwargs={"actor": "ann", "reason": ""})
        for scope in scopes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {stop.scope for stop in stops.standing().stops} == set(scopes)


@pytest.mark.parametrize("change", ["UPDATE stop_changes SET mode = NULL", "DELETE FROM stop_changes"])
def test_the_record_cannot_be_changed(engine: Engine, change: str) -> None:
    """A trigger refuses it, also for the role of nija itself."""
    StopStore(engine).change(ALL, StopMode.HALT, actor="ann", reason="")
    with pytest.raises(IntegrityError, match="append-only"), engine.begin() as connection:
        connection.execute(text(change))
