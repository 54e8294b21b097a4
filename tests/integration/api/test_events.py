"""A client that follows the events gets each committed row once, also over a lost connection and over a restart."""

import json
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests

from services.api import follow
from services.api.system import MOST_STREAMS
from shared.actions.context import ActionContext
from shared.actions.tokens import add_token, revoke_token
from shared.domain.access import Role
from shared.domain.identity import Broker
from shared.persistence.ledger.ledger import Ledger
from shared.persistence.ledger.master_fills import MasterFills, ObservedFill
from shared.queries.connections import Connections
from tests.support.api import RunningApi
from tests.support.examples import NOW, an_account_fill
from tests.support.ledger_examples import a_filled_event, an_order_event


def open_stream(api: RunningApi, query: str = "", **headers: str) -> requests.Response:
    response = api.get(
        f"/api/events{query}", headers={name.replace("_", "-"): value for name, value in headers.items()}, stream=True
    )
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    return response


def messages(response: requests.Response) -> Iterator[dict[str, str]]:
    """The messages of a stream, each with its fields, as they arrive."""
    fields: dict[str, str] = {}
    for line in response.iter_lines(chunk_size=1, decode_unicode=True):
        if not line:
            if fields:
                yield fields
            fields = {}
            continue
        name, _, value = line.partition(": ")
        fields[name or "comment"] = value


def events(response: requests.Response) -> list[tuple[str, str, Any]]:
    """Id, kind and data of each event until the stream ends."""
    return [(each["id"], each["event"], json.loads(each["data"])) for each in messages(response) if "data" in each]


def write(connections: Connections, number: int) -> None:
    """A fill of Kraken and two events of one order."""
    seen = ObservedFill(an_account_fill(fill_id=f"T{number}"), Decimal(1_000))
    MasterFills(connections.engine).record(Broker.KRAKEN, "master", [seen], NOW + timedelta(seconds=1))
    same = {"sequence": number, "copy_order_id": f"order-{number}"}
    Ledger(connections.engine).write([an_order_event("alice", **same), a_filled_event("alice", **same)])


def test_a_stream_begins_now_and_ends_after_so_many_events(api: RunningApi, connections: Connections) -> None:
    """What was committed before is not repeated. Amounts are text, as everywhere."""
    write(connections, 1)
    response = open_stream(api, "?max_events=3")
    stream = messages(response)
    assert next(stream)["id"] == "kraken:1:2"
    write(connections, 2)
    found = [(each["id"], each["event"], json.loads(each["data"])) for each in stream]
    assert [(name, kind) for name, kind, _ in found] == [
        ("kraken:2:2", "fill"),
        ("kraken:2:3", "order"),
        ("kraken:2:4", "order"),
    ]
    assert [data.get("state") for _, _, data in found] == [None, "accepted", "filled"]
    assert found[0][2]["quantity"] == "0.1"


def test_a_client_goes_on_behind_the_last_event_that_it_has(api: RunningApi, connections: Connections) -> None:
    """One event at a time, with a new connection for each: nothing is missed, nothing comes twice."""
    for number in (1, 2):
        write(connections, number)
    whole = events(open_stream(api, "?max_events=6", Last_Event_ID="0"))
    assert len(whole) == 6
    position, found = "0", []
    for _ in range(6):
        [event] = events(open_stream(api, "?max_events=1", Last_Event_ID=position))
        found.append(event)
        position = event[0]
    # The position within a batch depends on where the client has begun; the rows do not.
    assert sorted(json.dumps(data) for _, _, data in found) == sorted(json.dumps(data) for _, _, data in whole)


def test_a_wrong_id_is_refused(api: RunningApi) -> None:
    """Before the stream begins, so that the client sees a problem and no empty stream."""
    response = api.get("/api/events", headers={"Last-Event-ID": "kraken:x"})
    assert (response.status_code, response.json()["type"]) == (422, "urn:nija:problem:not-valid")


def test_a_stream_of_a_revoked_token_ends(
    api: RunningApi, context: ActionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that is open already."""
    monkeypatch.setattr(follow, "CHECK_SECONDS", 0.1)
    token = add_token(context, "bot", Role.READ, actor="test").text.get_secret_value()
    response = api.get("/api/events", token=token, stream=True)
    stream = messages(response)
    assert next(stream)["id"] == "0"
    revoke_token(context, "bot", actor="test")
    assert list(stream) == []


def test_streams_end_when_the_process_is_to_end(api: RunningApi) -> None:
    """A server would otherwise wait for them."""
    stream = messages(open_stream(api))
    next(stream)
    began_at = time.monotonic()
    threading.Timer(0.2, api.system.stopping.set).start()
    assert list(stream) == []
    assert time.monotonic() - began_at < 5


def test_there_is_a_place_for_so_many_streams_and_a_closed_one_frees_its_own(api: RunningApi) -> None:
    """One more is refused with a problem, and questions are answered meanwhile."""
    streams = [open_stream(api) for _ in range(MOST_STREAMS)]
    refused = api.get("/api/events")
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:nija:problem:away")
    assert api.get("/api/fills").status_code == 200
    streams.pop().close()
    deadline = time.monotonic() + 20
    while (again := api.get("/api/events", stream=True)).status_code != 200:
        assert time.monotonic() < deadline, "the place was not freed"
        time.sleep(0.2)
    for each in [*streams, again]:
        each.close()
