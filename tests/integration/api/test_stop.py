"""The API stops and resumes trading, once for each key, and with the name of the token."""

from typing import Any

import pytest
from pydantic import SecretStr

from services.api.once import REPLAYED_HEADER
from shared.actions.context import ActionContext
from shared.actions.tokens import add_token
from shared.domain.access import Role
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker, FollowerId
from shared.domain.stop import StopMode
from shared.messaging.keys import BrokerKeys
from shared.messaging.stops import parse_stop_state
from shared.queries.connections import Connections
from tests.support.api import RunningApi


@pytest.fixture
def _alice(context: ActionContext) -> None:
    """A follower at Kraken."""
    key = Credentials(api_key=SecretStr("the-key-of-alice"), api_secret=SecretStr("c2VjcmV0"))
    context.store.add(Broker.KRAKEN, FollowerId("alice"), key, actor="test")


def modes_of(connections: Connections) -> Any:
    """What the processes of Kraken see: the mode of the broker, and of its followers."""
    state = parse_stop_state(connections.redis_of(Broker.KRAKEN).get(BrokerKeys(Broker.KRAKEN).stop))
    return state.broker_mode, state.follower_modes


@pytest.mark.usefixtures("_alice")
def test_a_stop_reaches_the_processes_and_ends_by_a_resumption(
    api: RunningApi, context: ActionContext, connections: Connections
) -> None:
    """Each scope ends by itself, and the status lists what stands."""
    token = add_token(context, "bot", Role.OPERATE, actor="test").text.get_secret_value()
    done = api.post("/api/stop", token=token, json={"reason": "a drill"}).json()
    assert (done["scope"], done["before"], done["unreached"]) == ({"broker": None, "follower_id": None}, None, [])
    assert modes_of(connections) == (StopMode.HALT, {})
    done = api.post("/api/stop", token=token, json={"follower_id": "alice", "mode": "close-only"}).json()
    assert done["scope"] == {"broker": "kraken", "follower_id": "alice"}
    assert modes_of(connections) == (StopMode.HALT, {"alice": StopMode.CLOSE_ONLY})
    standing = api.get("/api/status").json()["stops"]
    assert [(each["mode"], each["actor"], each["reason"]) for each in standing] == [
        ("halt", "api:bot", "a drill"),
        ("close-only", "api:bot", ""),
    ]
    done = api.post("/api/resume", token=token).json()
    assert (done["before"]["mode"], len(done["standing"])) == ("halt", 1)
    api.post("/api/resume", token=token, json={"broker": "kraken", "follower_id": "alice"})
    assert modes_of(connections) == (None, {})
    assert api.post("/api/resume", token=token).json()["before"] is None


def test_a_repeated_stop_does_not_undo_a_resumption(api: RunningApi) -> None:
    """The repetition under the same key gets the first answer, and trading goes on."""
    headers = {"Idempotency-Key": "stop-1"}
    first = api.post("/api/stop", headers=headers)
    api.post("/api/resume")
    again = api.post("/api/stop", headers=headers)
    assert (again.content, again.headers[REPLAYED_HEADER]) == (first.content, "true")
    assert api.get("/api/status").json()["stops"] == []


def test_a_reader_stops_nothing_and_a_wrong_scope_is_named(api: RunningApi, context: ActionContext) -> None:
    """403 for the role, 404 for an unknown follower, 422 for an unknown mode."""
    token = add_token(context, "reader", Role.READ, actor="test").text.get_secret_value()
    for path in ("/api/stop", "/api/resume"):
        assert api.post(path, token=token).status_code == 403
        assert api.post(path, json={"follower_id": "nobody"}).status_code == 404
        assert api.post(path, json={"broker": "nobroker"}).status_code == 422
    assert api.post("/api/stop", json={"mode": "pause"}).status_code == 422
    assert api.get("/api/status").json()["stops"] == []
