"""Requests are refused by problem documents that show which part is wrong, and nothing of what was sent."""

import io
import json
import logging
import time
from typing import Any

import pytest
import requests
from pydantic import SecretStr
from sqlalchemy import text

from services.api import auth
from services.api.gate import MOST_BODY_BYTES
from shared.actions.context import ActionContext
from shared.actions.tokens import add_token, revoke_token
from shared.config import Settings
from shared.config.operator import open_connections
from shared.domain.access import Role
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker, FollowerId
from shared.observability.logging import configure_logging
from shared.observability.vitals import AWAY_SECONDS
from shared.queries.connections import Connections
from tests.support.api import RunningApi, running_api

PAUSE = "/api/followers/kraken/alice/pause"
CANARY = "canaryCANARYcanary"


@pytest.fixture
def alice(context: ActionContext) -> FollowerId:
    """A follower."""
    key = Credentials(api_key=SecretStr("the-key-of-alice"), api_secret=SecretStr("c2VjcmV0"))
    context.store.add(Broker.KRAKEN, FollowerId("alice"), key, actor="test")
    return FollowerId("alice")


def problem(response: requests.Response, status: int, kind: str) -> Any:
    """The document, which is a problem of that kind."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    found = response.json()
    assert found["type"] == f"urn:nija:problem:{kind}"
    assert found["status"] == status
    assert found["title"]
    assert found["detail"]
    return found


def test_without_a_valid_token_only_health_answers(api: RunningApi, context: ActionContext) -> None:
    """A missing, a wrong and a revoked token are the same: 401, with the scheme that is expected."""
    revoked = add_token(context, "gone", Role.ADMIN, actor="test").text.get_secret_value()
    revoke_token(context, "gone", actor="test")
    for token in (None, "guessed", revoked):
        for response in (
            api.get("/api/fills", token=token),
            api.post(PAUSE, token=token),
            api.get("/api/events", token=token),
        ):
            problem(response, 401, "not-authenticated")
            assert response.headers["www-authenticate"] == "Bearer"
    # Nothing of a request without a token is read: neither a broken body nor an unknown path makes another answer.
    json_type = {"Content-Type": "application/json"}
    problem(api.post("/api/reconcile", token=None, data=b"{", headers=json_type), 401, "not-authenticated")
    problem(api.post("/api/reconcile", token=None, data=b" " * 10_000_000), 401, "not-authenticated")
    problem(api.get("/api/nothing", token=None), 401, "not-authenticated")
    basic = requests.get(f"{api.url}/api/fills", auth=("a", "b"), timeout=20)
    problem(basic, 401, "not-authenticated")
    assert api.get("/health", token=None).json() == {"status": "ok"}


def test_a_role_allows_what_it_includes_and_no_more(api: RunningApi, context: ActionContext, alice: FollowerId) -> None:
    """read asks, operate acts, admin sees tokens."""
    tokens = {role: add_token(context, f"of-{role.value}", role, actor="test").text.get_secret_value() for role in Role}
    allowed = {
        role: (
            api.get("/api/followers", token=token).status_code,
            api.post(PAUSE, token=token).status_code,
            api.get("/api/tokens", token=token).status_code,
        )
        for role, token in tokens.items()
    }
    assert allowed == {Role.READ: (200, 403, 403), Role.OPERATE: (200, 200, 403), Role.ADMIN: (200, 200, 200)}
    found = problem(api.post(PAUSE, token=tokens[Role.READ]), 403, "not-allowed")
    assert found["detail"] == "this needs the role operate; the token has read"


def test_an_action_is_recorded_with_the_name_of_the_token(
    api: RunningApi, context: ActionContext, alice: FollowerId
) -> None:
    """Pause and resume change the follower, and say whether they changed it."""
    token = add_token(context, "bot", Role.OPERATE, actor="test").text.get_secret_value()
    for action, status, changed in (("pause", "paused", True), ("pause", "paused", False), ("resume", "active", True)):
        done = api.post(f"/api/followers/kraken/alice/{action}", token=token, json={"reason": "a holiday"}).json()
        assert (done["status"], done["changed"]) == (status, changed)
    shown = api.get("/api/followers/kraken/alice").json()
    assert [(each["after"], each["actor"], each["reason"]) for each in shown["changes"][:2]] == [
        ("active", "api:bot", "a holiday"),
        ("paused", "api:bot", "a holiday"),
    ]


def test_a_removed_follower_and_a_disabled_one_are_refused_with_the_reason(
    api: RunningApi, context: ActionContext, alice: FollowerId
) -> None:
    """409, and nothing was changed."""
    with context.store._engine.begin() as connection:
        connection.execute(text("UPDATE followers SET status = 'disabled' WHERE follower_id = 'alice'"))
    assert "disabled" in problem(api.post(PAUSE), 409, "refused")["detail"]
    context.store.remove(Broker.KRAKEN, alice, actor="test")
    problem(api.post(PAUSE), 409, "refused")
    problem(api.post("/api/followers/kraken/bob/pause"), 404, "not-found")


WRONG_PARAMETERS = [
    ("/api/fills?limit=0", "query.limit"),
    ("/api/orders?follwer=alice", "query"),
    ("/api/brokers?broker=kraken", "query"),
    ("/api/fills?broker=kraken&broker=okx", "query"),
    ("/api/fills?limit=501", "query.limit"),
    ("/api/fills?limit=NaN", "query.limit"),
    ("/api/fills?broker=nobroker", "query.broker"),
    ("/api/fills?after=e30", "query.after"),
    ("/api/fills?after=%00", "query.after"),
    ("/api/accounts?after=kraken:%00", "query.after"),
    ("/api/orders?fill=99999999999999999999", "query.fill"),
    ("/api/orders?state=lost", "query.state"),
    ("/api/accounts?follower=A%00", "query.follower"),
    ("/api/positions?asset=%00", "query.asset"),
    ("/api/followers/kraken/%00", "path.follower_id"),
    ("/api/brokers/nobroker", "path.broker"),
]
"""Paths, and the field that the problem names."""
WRONG_BODIES = [
    b'{"timeout_seconds": NaN}',
    b'{"timeout_seconds": Infinity}',
    b'{"timeout_seconds": -1}',
    b'{"broker": "nobroker"}',
    b'{"unknown": 1}',
    b'{"reason": "\\u0000"}',
    b'{"reason": "\\ud800"}',
    b"{",
    b"\xff",
    b"[" * 50_000,
    b"[]",
]


def test_a_wrong_parameter_is_named(api: RunningApi) -> None:
    """It never reaches PostgreSQL, which could not store some of these texts."""
    for path, field in WRONG_PARAMETERS:
        assert problem(api.get(path), 422, "not-valid")["errors"][0]["field"] == field, path


def test_a_wrong_body_is_refused(api: RunningApi) -> None:
    """Numbers that are none, unknown fields, broken and deeply nested JSON."""
    for body in WRONG_BODIES:
        response = api.post("/api/reconcile", data=body, headers={"Content-Type": "application/json"})
        problem(response, 422, "not-valid")


def test_a_large_body_is_refused_whether_or_not_its_length_is_declared(api: RunningApi) -> None:
    """Ten megabytes are never read to the end. A GET may have no such body either."""
    large = b" " * (MOST_BODY_BYTES + 1)
    for response in (
        api.post("/api/reconcile", data=large),
        api.post("/api/reconcile", data=iter([large[:-1], b"  "])),
        api.post(PAUSE, data=b" " * 10_000_000),
        api.get("/api/fills", data=large),
    ):
        problem(response, 413, "too-large")
    assert api.post("/api/reconcile", data=large[:-1], headers={"Content-Type": "application/json"}).status_code == 422


def test_an_unknown_path_and_a_wrong_method_are_problems_too(api: RunningApi) -> None:
    """Also for a path that only ends in a slash."""
    problem(api.get("/api/nothing"), 404, "not-found")
    problem(api.get("/api/fills/"), 404, "not-found")
    found = api.ask("DELETE", "/api/fills")
    problem(found, 405, "method-not-allowed")
    assert found.headers["allow"] == "GET"


def test_a_server_that_is_away_is_a_503_that_names_no_address(settings: Settings, connections: Connections) -> None:
    """The token of the environment needs no database, so the client learns what is away."""
    connections.engine.dispose()
    away = settings.model_copy(
        update={"database_url": "postgresql://nobody@127.0.0.1:1/none", "redis_url": "redis://127.0.0.1:1/0"}
    )
    with open_connections(away, redis=True, check=False) as nothing, running_api(away, nothing) as api:
        response = api.get("/api/fills")
        assert "127.0.0.1" not in json.dumps(problem(response, 503, "away"))
        assert response.headers["retry-after"] == "5"
        problem(api.get("/api/fills", token=f"nija_{'0' * 12}_{'0' * 64}"), 503, "away")
        shown = api.get("/api/brokers")
        assert (shown.status_code, [each["followers"] for each in shown.json()["items"]]) == (200, [None])
        assert "database_error" in api.get("/api/status").json()
        api.system.database.without_server("PostgreSQL at 127.0.0.1:1 does not answer")
        assert api.get("/health", token=None).status_code == 200, "a restart of the server is no reason to be unhealthy"
        api.system.database._away_since = time.monotonic() - AWAY_SECONDS
        assert "127.0.0.1" not in json.dumps(problem(api.get("/health", token=None), 503, "away"))


def test_a_defect_is_a_500_that_shows_nothing(api: RunningApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text of an unexpected error may hold anything."""

    def fail(*_: object) -> None:
        raise ValueError(CANARY)

    monkeypatch.setattr(auth, "authenticate", fail)
    response = api.get("/api/fills")
    problem(response, 500, "defect")
    assert CANARY not in response.text


def test_what_a_client_sends_is_in_no_answer_and_in_no_log(
    api: RunningApi, settings: Settings, alice: FollowerId
) -> None:
    """A key in the wrong field, in a path, a header, a body or the name of a field."""
    stream = io.StringIO()
    configure_logging("api", level="debug", secrets=settings.secrets(), stream=stream)
    # The client of this test runs in the same process, and logs what it sends.
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    json_type = {"Content-Type": "application/json"}
    try:
        answers = [
            api.get("/api/fills", token=CANARY),
            api.get(f"/api/fills?{CANARY}={CANARY}&after={CANARY}&broker={CANARY}"),
            api.get(f"/api/{CANARY}"),
            api.get(f"/api/followers/kraken/{CANARY.lower()}"),
            api.get(f"/api/followers/{CANARY}/{CANARY}"),
            api.get(f"/api/accounts?follower={CANARY.lower()}"),
            api.get(f"/api/orders?state={CANARY}&fill={CANARY}"),
            api.get(f"/api/positions?asset={CANARY}/{CANARY}/x"),
            api.get("/api/events", headers={"Last-Event-ID": CANARY}),
            api.post(
                "/api/reconcile", json={CANARY: CANARY, "broker": CANARY, "follower_id": CANARY, "repair": CANARY}
            ),
            api.post("/api/reconcile", data=f'{{"broker": "{CANARY}', headers=json_type),
            api.post("/api/reconcile", json={"follower_id": CANARY.lower()}),
            api.post(PAUSE, data=CANARY, headers={**json_type, "Idempotency-Key": f"{CANARY} {CANARY}"}),
            api.post(f"/api/tokens/{CANARY}/revoke"),
            api.ask(CANARY, f"/api/fills/{CANARY}"),
        ]
    finally:
        logging.getLogger("urllib3").setLevel(logging.NOTSET)
        configure_logging("tests", level="warning")
    shown = [f"{each.headers}{each.text}".lower() for each in answers]
    assert [number for number, each in enumerate(shown) if CANARY.lower() in each] == []
    assert CANARY.lower() not in stream.getvalue().lower()
    assert stream.getvalue().count("answered") == len(answers)
