"""The API keeps what its OpenAPI document says, for tokens of each role, and shows no key that nija knows."""

import io
from collections.abc import Iterator
from itertools import count
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from services.api.application import OPENAPI_PATH, Api, make_application
from services.api.problems import KEY_REUSED, MEDIA_TYPE, NOT_KNOWN
from services.api.system import ApiSystem
from shared.actions.context import ActionContext
from shared.actions.tokens import add_token
from shared.config import Settings, load_settings
from shared.domain.access import Role
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker, FollowerId
from shared.observability.logging import configure_logging
from shared.queries.connections import Connections

_NUMBERS = count()
CANARY = "Y2FuYXJ5LWNhbmFyeS1jYW5hcnk="
ENDLESS = "/api/events"
"""A stream has no end, so a request of it would have none either. Its own tests are in test_events.py."""


UNUSED_ADDRESS = "http://127.0.0.1:1"
"""Where no broker answers. Each request of these tests has an event loop of its own, so no connection may stay open."""
QUESTIONS = {
    "/api/capital/position-size/kelly",
    "/api/capital/allocation/risk-parity",
    "/api/capital/recommendation/position",
}
"""POST requests that change nothing."""


@pytest.fixture
def settings(variables: dict[str, str]) -> Settings:
    """No request of these tests is one too many, no broker shows market data, and the master has a key."""
    key = {"KRAKEN_API_KEY": f"master{CANARY}", "KRAKEN_API_SECRET": CANARY}
    settings = load_settings({**variables, **key, "KRAKEN_BASE_URL": UNUSED_ADDRESS, "NIJA_RATE_LIMITS": "false"})
    return settings.model_copy(update={"api_requests_per_minute": 1_000_000})


@pytest.fixture
def app(settings: Settings, connections: Connections, context: ActionContext, master: None) -> Api:
    """An API of a system whose followers have the canary as their key and as their secret, with a master account."""
    for number, name in enumerate(("alice", "bob")):
        key = Credentials(api_key=SecretStr(f"{CANARY}{number}"), api_secret=SecretStr(CANARY))
        context.store.add(Broker.KRAKEN, FollowerId(name), key, actor="test")
    system = ApiSystem.of(settings, connections)
    system.database.worked()
    return make_application(system)


@pytest.fixture
def log(settings: Settings) -> Iterator[io.StringIO]:
    """Everything that is logged, at the lowest level."""
    stream = io.StringIO()
    configure_logging("api", level="debug", secrets=settings.secrets(), stream=stream)
    yield stream
    configure_logging("tests", level="warning")


def with_a_new_key(case: Any) -> Any:
    """Short keys come again and again, and a key stands for one request only.

    The new one is longer than a key that another request gets by chance.
    """
    if "Idempotency-Key" in (case.headers or {}):
        case.headers["Idempotency-Key"] = f"of-a-valid-request-{next(_NUMBERS)}"
    return case


def answers_of(operation: Any, token: str, secrets: set[str], requests: int) -> set[int]:
    """Send so many requests, valid ones and others, and check each answer. Return the statuses."""
    headers = {"Authorization": f"Bearer {token}"}
    kinds = [operation.as_strategy(GenerationMode.POSITIVE, headers=headers).map(with_a_new_key)]
    if operation.path != "/health":
        kinds.append(operation.as_strategy(GenerationMode.NEGATIVE, headers=headers))
    answered: set[int] = set()

    @hypothesis_settings(max_examples=requests, suppress_health_check=list(HealthCheck), database=None)
    @given(case=st.one_of(kinds))
    def ask(case: Any) -> None:
        response = case.call(headers=headers)
        excluded = [not_a_server_error]
        if response.status_code == 422 and response.json()["type"] == f"urn:nija:problem:{KEY_REUSED.name}":
            # The request is valid by itself. Its key stood for another one, as short keys do by chance.
            excluded.append(positive_data_acceptance)
        case.validate_response(
            response, excluded_checks=excluded, headers=headers, transport_kwargs={"headers": headers}
        )
        # An account that was not read, or a broker without market data, is a 503. No other error of the server is right.
        assert response.status_code < 500 or response.json()["type"] == f"urn:nija:problem:{NOT_KNOWN.name}"
        answered.add(response.status_code)
        shown = f"{response.headers}{response.text}"
        assert not [secret for secret in secrets if secret in shown]

    ask()
    return answered


ROUNDS = [
    pytest.param(Role.OPERATE, 2, id="quick"),
    *(pytest.param(role, 30, id=role.value, marks=[pytest.mark.long, pytest.mark.timeout(400)]) for role in Role),
]
"""A role, and the requests of each operation. The quick round has a role that is allowed some actions, and not all."""


@pytest.mark.parametrize(("role", "requests"), ROUNDS)
def test_every_answer_is_one_that_the_document_describes(
    app: Api, context: ActionContext, settings: Settings, log: io.StringIO, role: Role, requests: int
) -> None:
    """No 500, no undocumented status, type or field, whatever is asked with a token of this role."""
    token = add_token(context, f"of-{role.value}", role, actor="test").text.get_secret_value()
    schema = schemathesis.openapi.from_asgi(OPENAPI_PATH, app).exclude(path=ENDLESS)
    secrets = {CANARY, token.rpartition("_")[2], *(each.get_secret_value() for each in settings.secrets())}
    answered: set[int] = set()
    for operation in schema.get_all_operations():
        answered |= answers_of(operation.ok(), token, secrets, requests)
    assert {200, 422} <= answered
    assert (403 in answered) is (role is not Role.ADMIN)
    written = log.getvalue()
    assert '"answered"' in written
    assert not [secret for secret in secrets if secret in written]


@pytest.mark.parametrize(
    ("planted", "found"),
    [
        (JSONResponse({"items": []}, 418), "Undocumented status code"),
        (JSONResponse({"surprise": True}), "Response violates schema"),
        (PlainTextResponse("items"), "Undocumented Content-Type"),
    ],
    ids=["status", "field", "type"],
)
def test_an_answer_that_the_document_does_not_describe_is_found(
    app: Api, context: ActionContext, planted: Response, found: str
) -> None:
    """A planted one, so that the test above could fail."""
    token = add_token(context, "planter", Role.READ, actor="test").text.get_secret_value()

    async def planting(scope: Scope, receive: Receive, send: Send) -> None:
        await (planted if scope.get("path") == "/api/brokers" else app)(scope, receive, send)

    operation = schemathesis.openapi.from_asgi(OPENAPI_PATH, planting)["/api/brokers"]["GET"]
    with pytest.raises(FailureGroup) as caught:
        answers_of(operation, token, set(), 2)
    assert found in {each.title for each in caught.value.exceptions}


def test_every_example_is_a_valid_answer(app: Api) -> None:
    """An example that its route could not answer would mislead a client."""
    document = app.openapi()
    checked = 0
    for path, operations in document["paths"].items():
        for operation in operations.values():
            content = operation["responses"]["200"]["content"].get("application/json", {})
            if "example" not in content:
                continue
            schema = {**content["schema"], "components": document["components"]}
            errors = list(jsonschema_rs.validator_for(schema).iter_errors(content["example"]))
            assert not errors, f"{path}: {[error.message for error in errors]}"
            checked += 1
    assert checked >= 10


def test_every_route_but_health_needs_a_token_and_names_its_problems(app: Api) -> None:
    """The roles are in the document, and so is the media type of problems."""
    document = app.openapi()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            scopes = [each["token"] for each in operation.get("security", [])]
            least = "operate" if method == "post" and path not in QUESTIONS else "read"
            expected = [] if path == "/health" else [["admin"]] if path.startswith("/api/tokens") else [[least]]
            assert scopes == expected, path
            problems = {int(code): each for code, each in operation["responses"].items() if int(code) >= 400}
            assert path == "/health" or {401, 403, 413, 422, 429, 503} <= problems.keys()
            assert {media_type for each in problems.values() for media_type in each["content"]} == {MEDIA_TYPE}
