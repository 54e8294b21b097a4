"""A request that is repeated under its Idempotency-Key is carried out once, and gets the same answer."""

import threading
from datetime import timedelta
from typing import Any

import pytest
import requests
from pydantic import SecretStr
from sqlalchemy import text

from services.api.once import REPLAYED_HEADER
from services.api.routes import followers as routes
from shared.actions.context import ActionContext
from shared.actions.followers import pause_follower
from shared.actions.tokens import add_token
from shared.domain.access import Role
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker, FollowerId
from shared.messaging.connection.errors import RedisUnavailable
from shared.persistence.api.requests import KEPT, LONGEST
from tests.support.api import RunningApi

PAUSE = "/api/followers/kraken/alice/pause"
RESUME = "/api/followers/kraken/alice/resume"


@pytest.fixture(autouse=True)
def _alice(context: ActionContext) -> None:
    """A follower."""
    key = Credentials(api_key=SecretStr("the-key-of-alice"), api_secret=SecretStr("c2VjcmV0"))
    context.store.add(Broker.KRAKEN, FollowerId("alice"), key, actor="test")


def keyed(api: RunningApi, path: str, key: str, **options: Any) -> requests.Response:
    return api.post(path, headers={"Idempotency-Key": key}, **options)


def make_older(context: ActionContext, age: timedelta) -> None:
    """Let every request have begun longer ago."""
    with context.tokens._engine.begin() as connection:
        connection.execute(text("UPDATE api_requests SET began_at = began_at - CAST(:age AS interval)"), {"age": age})


def test_a_repeated_request_gets_the_first_answer(api: RunningApi) -> None:
    """Whatever happened between: the follower was resumed, and is not paused again."""
    first = keyed(api, PAUSE, "one", json={"reason": "a"})
    assert first.json()["changed"] is True
    assert REPLAYED_HEADER not in first.headers
    api.post(RESUME)
    again = keyed(api, PAUSE, "one", json={"reason": "a"})
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers[REPLAYED_HEADER] == "true"
    assert api.get("/api/followers/kraken/alice").json()["status"] == "active"


def test_a_key_stands_for_one_request_of_one_token(api: RunningApi, context: ActionContext) -> None:
    """Another body or another path under the same key is 422. Another token has keys of its own."""
    keyed(api, PAUSE, "one", json={"reason": "a"})
    for path, body in ((PAUSE, {"reason": "b"}), (RESUME, {"reason": "a"}), (PAUSE, None)):
        refused = keyed(api, path, "one", json=body)
        assert (refused.status_code, refused.json()["type"]) == (422, "urn:nija:problem:key-reused")
    other = add_token(context, "bot", Role.OPERATE, actor="test").text.get_secret_value()
    assert REPLAYED_HEADER not in keyed(api, PAUSE, "one", json={"reason": "a"}, token=other).headers


def test_a_refusal_is_an_answer_too(api: RunningApi) -> None:
    """What was not found under a key is not found under it later."""
    missing = "/api/followers/kraken/bob/pause"
    first = keyed(api, missing, "one")
    again = keyed(api, missing, "one")
    assert first.status_code == again.status_code == 404
    assert (again.headers[REPLAYED_HEADER], again.headers["content-type"]) == ("true", "application/problem+json")
    assert again.json() == first.json()


def test_two_requests_at_once_are_carried_out_once(api: RunningApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one is 409 until the first has its answer."""
    began, go_on = threading.Event(), threading.Event()
    calls: list[None] = []

    def slow(*arguments: Any, **options: Any) -> Any:
        calls.append(None)
        began.set()
        assert go_on.wait(20)
        return pause_follower(*arguments, **options)

    monkeypatch.setattr(routes, "pause_follower", slow)
    answers: list[requests.Response] = []
    first = threading.Thread(target=lambda: answers.append(keyed(api, PAUSE, "one")))
    first.start()
    assert began.wait(20)
    meanwhile = keyed(api, PAUSE, "one")
    go_on.set()
    first.join()
    assert (meanwhile.status_code, meanwhile.json()["type"]) == (409, "urn:nija:problem:under-way")
    assert meanwhile.headers["retry-after"] == "1"
    assert keyed(api, PAUSE, "one").content == answers[0].content
    assert len(calls) == 1


def test_a_request_that_failed_by_a_server_may_be_repeated(api: RunningApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 503 says that nothing was changed, and frees the key."""

    def fail(*_: Any, **__: Any) -> Any:
        raise RedisUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(routes, "pause_follower", fail)
        assert keyed(api, PAUSE, "one").status_code == 503
    assert keyed(api, PAUSE, "one").json()["changed"] is True


def test_a_defect_frees_the_key(api: RunningApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request is not answered with a defect for a whole day."""

    def fail(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(routes, "pause_follower", fail)
        assert keyed(api, PAUSE, "one").status_code == 500
    assert keyed(api, PAUSE, "one").status_code == 200


def test_a_request_whose_process_was_killed_may_be_repeated_after_a_while(
    api: RunningApi, context: ActionContext
) -> None:
    """The row of a killed process has no answer. It holds the key for some minutes only."""
    keyed(api, PAUSE, "one")
    with context.tokens._engine.begin() as connection:
        connection.execute(text("UPDATE api_requests SET status = NULL, answer = NULL"))
    assert keyed(api, PAUSE, "one").status_code == 409
    make_older(context, LONGEST)
    again = keyed(api, PAUSE, "one")
    assert (again.status_code, REPLAYED_HEADER in again.headers) == (200, False)


def test_a_key_is_free_again_after_a_day(api: RunningApi, context: ActionContext) -> None:
    """Old rows are deleted, so that the table stays small."""
    keyed(api, PAUSE, "one", json={"reason": "a"})
    keyed(api, PAUSE, "two", json={"reason": "a"})
    make_older(context, KEPT)
    assert keyed(api, RESUME, "one").status_code == 200
    with context.tokens._engine.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM api_requests")) == 1


def test_a_key_that_cannot_be_stored_is_refused(api: RunningApi) -> None:
    """Blanks, letters of other alphabets, and very long texts."""
    for key in ("a b", "\xe4", "k" * 201):
        assert keyed(api, PAUSE, key).status_code == 422
