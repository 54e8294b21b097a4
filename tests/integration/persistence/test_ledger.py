"""Tests that the ledger keeps each row once and with every digit, and reports contradictions."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import Engine, text

from shared.domain.accounts.credentials import Credentials
from shared.domain.copying.follower import FollowerStatus
from shared.domain.copying.reasons import FailReason, SkipReason
from shared.domain.events import Decision, Event, OrderEvent, OrderState, Outcome
from shared.domain.identity import Broker
from shared.persistence.errors import RefusedByDatabase
from shared.persistence.followers.store import FollowerStore
from shared.persistence.ledger.ledger import Ledger
from tests.support.examples import NOW, an_instrument
from tests.support.ledger_examples import (
    a_batch,
    a_decision,
    a_filled_event,
    a_refusal_of_the_key,
    a_snapshot_event,
    an_order_event,
)


def rows(engine: Engine, query: str) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(query)).mappings()]


def everything() -> list[Event]:
    return [
        a_batch(a_decision("alice"), a_decision("bob", skip_reason=SkipReason.PAUSED, quantity=None)),
        a_batch(a_decision("carol", equity=None, snapshot_at=None), instrument=None),
        an_order_event(),
        a_filled_event(),
        a_snapshot_event(),
    ]


def test_a_decision_keeps_all_of_its_inputs(engine: Engine) -> None:
    """Every field of the event is a column, exact, and the instrument can be read back."""
    Ledger(engine).write(everything())
    [alice] = rows(
        engine,
        "SELECT d.*, i.instrument FROM decisions d JOIN instruments i ON digest = instrument_digest"
        " WHERE follower_id = 'alice'",
    )
    reported = a_batch(a_decision("alice"))
    kept = Decision.model_validate({name: alice[name] for name in Decision.model_fields})
    assert kept.model_dump_json() == reported.decisions[0].model_dump_json()
    assert (alice["broker"], alice["sequence"], alice["shard"], alice["side"]) == ("kraken", 1, 3, "buy")
    assert alice["decided_at"] == reported.decided_at
    assert type(an_instrument()).model_validate(alice["instrument"]) == an_instrument()
    carol = rows(engine, "SELECT * FROM decisions WHERE follower_id = 'carol'")[0]
    assert (carol["instrument_digest"], carol["equity"], carol["snapshot_at"]) == (None, None, None)


def test_an_order_event_and_a_snapshot_keep_all_fields(engine: Engine) -> None:
    """Every field of the events is a column, exact."""
    Ledger(engine).write(everything())
    [filled] = rows(engine, "SELECT * FROM order_events WHERE outcome IS NOT NULL")
    del filled["id"]
    assert OrderEvent.model_validate(filled).model_dump_json() == a_filled_event().model_dump_json()
    [snapshot] = rows(engine, "SELECT * FROM account_snapshots")
    assert snapshot["equity"] == Decimal("1000.5")
    assert snapshot["unpriced"] == ["XYZ"]
    assert snapshot["occurred_at"] == NOW


def test_a_batch_written_again_changes_nothing(engine: Engine) -> None:
    """After a crash between commit and acknowledgement the same events are rows once."""
    ledger = Ledger(engine)
    first = ledger.write(everything())
    assert (first.decisions, first.order_events, first.snapshots) == (3, 2, 1)
    again = ledger.write(everything())
    assert (again.decisions, again.order_events, again.snapshots, again.conflicts) == (0, 0, 0, ())
    assert len(rows(engine, "SELECT FROM order_events")) == 2


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.sampled_from(range(5)), max_size=6), max_size=6))
def test_any_repetition_of_events_in_any_batches_is_each_row_once(engine: Engine, batches: list[list[int]]) -> None:
    """However events are repeated and cut into batches, the ledger has each once."""
    events = everything()
    ledger = Ledger(engine)
    for batch in batches:
        assert ledger.write([events[place] for place in batch]).conflicts == ()
    ledger.write(events)
    counted = rows(
        engine,
        "SELECT (SELECT count(*) FROM decisions) AS d, (SELECT count(*) FROM order_events) AS o,"
        " (SELECT count(*) FROM account_snapshots) AS s, (SELECT count(*) FROM instruments) AS i",
    )
    assert counted == [{"d": 3, "o": 2, "s": 1, "i": 1}]


def test_the_first_final_event_stands_and_a_contradiction_is_reported(engine: Engine) -> None:
    """A second end of the same order is not stored; it is a conflict only when it says something else."""
    ledger = Ledger(engine)
    ledger.write([a_filled_event()])
    same_later = a_filled_event(occurred_at=NOW + timedelta(seconds=9))
    other = a_filled_event(
        state=OrderState.REJECTED,
        outcome=Outcome.FAILED,
        reason=FailReason.REJECTED,
        filled_quantity="0",
        occurred_at=NOW + timedelta(seconds=10),
    )
    written = ledger.write([an_order_event(), same_later, other])
    assert written.conflicts == (2,)
    [final] = rows(engine, "SELECT outcome, occurred_at FROM order_events WHERE outcome IS NOT NULL")
    assert final == {"outcome": "copied", "occurred_at": a_filled_event().occurred_at}


def test_a_batch_that_postgresql_refuses_stores_nothing_and_says_so(engine: Engine) -> None:
    """A NUL character cannot be stored: the caller hears it as an error that repeating does not cure."""
    with pytest.raises(RefusedByDatabase):
        Ledger(engine).write([a_filled_event(), an_order_event("bob", message="a\x00b")])
    assert rows(engine, "SELECT FROM order_events") == []
    Ledger(engine).write([a_filled_event()])
    assert len(rows(engine, "SELECT FROM order_events")) == 1


def test_a_refused_key_disables_its_follower_once(engine: Engine, store: FollowerStore) -> None:
    """The status, the reason and the audit name the broker; the same event again changes nothing."""
    store.add(Broker.KRAKEN, "alice", Credentials(api_key=SecretStr("k"), api_secret=SecretStr("c2Vj")), actor="test")
    ledger = Ledger(engine)
    assert ledger.write([a_refusal_of_the_key()]).disabled == {(Broker.KRAKEN, "alice")}
    assert ledger.write([a_refusal_of_the_key()]).disabled == frozenset()
    record = store.get(Broker.KRAKEN, "alice")
    assert (record.status, record.status_reason) == (FollowerStatus.DISABLED, "EAPI:Invalid key")
    assert [change.actor for change in store.changes(Broker.KRAKEN, "alice")] == ["broker", "test"]


def test_an_old_refusal_does_not_disable_a_follower_that_was_resumed_since(
    engine: Engine, store: FollowerStore
) -> None:
    """An event that arrives late speaks of the key as it was then."""
    store.add(Broker.KRAKEN, "alice", Credentials(api_key=SecretStr("k"), api_secret=SecretStr("c2Vj")), actor="test")
    before = store.get(Broker.KRAKEN, "alice").status_changed_at - timedelta(seconds=1)
    written = Ledger(engine).write([a_refusal_of_the_key(occurred_at=before), a_refusal_of_the_key("nobody")])
    assert written.disabled == frozenset()
    assert store.get(Broker.KRAKEN, "alice").status is FollowerStatus.ACTIVE
