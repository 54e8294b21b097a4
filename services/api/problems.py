"""Turns every error into a problem document (RFC 9457), which never repeats what the client has sent.

A client may send a key in the wrong field, and answers end up in logs. So a problem names the field, and not its value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException

from shared.actions.errors import ActionRefused, ChangeNotAnnounced, ChangeNotRead
from shared.domain.errors import InvalidAmount, NijaError
from shared.messaging.connection.errors import RedisUnavailable, RedisUnusable
from shared.persistence.errors import (
    BadSecretKey,
    DatabaseUnavailable,
    DatabaseUnusable,
    FollowerError,
    SchemaOutdated,
    TokenTaken,
    UnknownFollower,
    UnknownToken,
)
from shared.queries.capital.errors import AccountNotRead, NoSuchAccount, UnknownPair
from shared.queries.events import NotAPosition
from shared.queries.fill_names import UnknownFill

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 5
"""When a client should ask again after a server did not answer."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """A kind of problem: its name in `type`, its HTTP status and its title."""

    name: str
    status: int
    title: str


NOT_AUTHENTICATED: Final = ProblemKind("not-authenticated", 401, "A valid token is needed")
NOT_ALLOWED: Final = ProblemKind("not-allowed", 403, "The token may not do this")
NOT_FOUND: Final = ProblemKind("not-found", 404, "There is no such thing")
METHOD_NOT_ALLOWED: Final = ProblemKind("method-not-allowed", 405, "The method is not allowed here")
REFUSED: Final = ProblemKind("refused", 409, "The action was refused, and nothing was changed")
STOPPED: Final = ProblemKind("stopped", 409, "Trading is stopped")
UNDER_WAY: Final = ProblemKind("under-way", 409, "The same request is being carried out")
TOO_LARGE: Final = ProblemKind("too-large", 413, "The body of the request is too large")
NOT_VALID: Final = ProblemKind("not-valid", 422, "The request is not valid")
KEY_REUSED: Final = ProblemKind("key-reused", 422, "The Idempotency-Key stands for another request")
TOO_MANY: Final = ProblemKind("too-many-requests", 429, "The token has sent too many requests")
DEFECT: Final = ProblemKind("defect", 500, "nija has a defect")
AWAY: Final = ProblemKind("away", 503, "A server that nija needs does not answer")
NOT_KNOWN: Final = ProblemKind("not-known", 503, "nija has no fresh data for an answer")
STORED: Final = ProblemKind("stored", 503, "The change was stored, and a server failed after it")

_OF_STATUS: Final = {kind.status: kind for kind in (NOT_FOUND, METHOD_NOT_ALLOWED, TOO_LARGE, NOT_VALID)}
_TEXTS: Final[dict[type[Exception], tuple[ProblemKind, str | None]]] = {
    # None: the text of the error, which names only what exists.
    UnknownFollower: (NOT_FOUND, "there is no such follower; GET /api/followers lists them"),
    UnknownFill: (NOT_FOUND, "there is no such fill; GET /api/fills lists them"),
    UnknownToken: (NOT_FOUND, "no token in use has this id; GET /api/tokens lists them"),
    NoSuchAccount: (NOT_FOUND, "there is no such master account; GET /api/accounts lists them"),
    UnknownPair: (
        NOT_FOUND,
        "the broker of the account lists no such pair against cash; a pair is for example BTC-USD",
    ),
    AccountNotRead: (NOT_KNOWN, None),
    InvalidAmount: (NOT_VALID, "a number is out of its range"),
    NotAPosition: (NOT_VALID, "Last-Event-ID should be the id of an event of this stream, or be left out"),
    BadSecretKey: (REFUSED, "this process cannot read the keys of followers: use `nija followers` on the server"),
    ActionRefused: (REFUSED, None),
    FollowerError: (REFUSED, None),
    TokenTaken: (REFUSED, None),
    ChangeNotAnnounced: (STORED, "the change was stored, and reaches the running stages within a minute"),
    ChangeNotRead: (STORED, "the change was stored, but its result could not be read"),
    DatabaseUnavailable: (AWAY, "PostgreSQL does not answer; ask again"),
    DatabaseUnusable: (AWAY, "PostgreSQL cannot be used; the log of the API says why"),
    SchemaOutdated: (AWAY, "the database has another schema; the log of the API says which"),
    RedisUnavailable: (AWAY, "Redis does not answer; nothing was changed"),
    RedisUnusable: (AWAY, "Redis cannot be used; the log of the API says why"),
    RedisError: (AWAY, "Redis does not answer"),
    OSError: (AWAY, "a server does not answer"),
}
_MESSAGES_WITH_INPUT: Final = frozenset({"value_error", "assertion_error", "union_tag_invalid"})
"""Kinds of pydantic's errors whose texts may repeat the value."""
_NAMED_BY_CLIENT: Final = "volatilities"
"""A field whose parts have names that the client chooses. They are not repeated."""


class FieldProblem(BaseModel):
    """One field that is not valid. The value is left out on purpose."""

    field: str = Field(examples=["query.limit"])
    message: str = Field(examples=["Input should be less than or equal to 500"])


class ProblemDocument(BaseModel):
    """What went wrong, as RFC 9457 describes it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:nija:problem:not-found",
                    "title": "There is no such thing",
                    "status": 404,
                    "detail": "there is no such follower; GET /api/followers lists them",
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] | None = None


class RequestRefused(Exception):
    """A request that gets a problem as its answer."""

    def __init__(
        self,
        kind: ProblemKind,
        detail: str,
        *,
        errors: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})


def problem_response(refused: RequestRefused) -> Response:
    """The answer to a refused request."""
    kind = refused.kind
    problem = ProblemDocument(
        type=f"urn:nija:problem:{kind.name}",
        title=kind.title,
        status=kind.status,
        detail=refused.detail,
        errors=list(refused.errors) or None,
    )
    headers = dict(refused.headers)
    if kind in (AWAY, NOT_KNOWN):
        headers.setdefault("Retry-After", str(RETRY_SECONDS))
    return Response(problem.model_dump_json(exclude_none=True), kind.status, headers, MEDIA_TYPE)


def not_authenticated() -> RequestRefused:
    """The refusal of a request without a valid token."""
    detail = "send a token that is in use, as `Authorization: Bearer nija_…`"
    return RequestRefused(NOT_AUTHENTICATED, detail, headers={"WWW-Authenticate": "Bearer"})


def not_valid(field: str, message: str) -> RequestRefused:
    """The refusal of one field."""
    return RequestRefused(NOT_VALID, f"{field}: {message}", errors=[FieldProblem(field=field, message=message)])


def refusal_of(error: Exception) -> RequestRefused:
    """The refusal that an error of an action or a query becomes. Its cause goes to the log where the answer hides it."""
    for kind_of_error in type(error).__mro__:
        if kind_of_error in _TEXTS:
            kind, detail = _TEXTS[kind_of_error]
            if kind in (AWAY, STORED):
                log.warning("a server failed during a request", error=str(error))
            return RequestRefused(kind, detail or str(error))
    return RequestRefused(REFUSED, str(error))


def add_problem_handlers(app: FastAPI) -> None:
    """Let every error of the application become a problem document."""
    app.add_exception_handler(RequestRefused, _refused)
    app.add_exception_handler(NijaError, _nija_error)
    app.add_exception_handler(RedisError, _nija_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _defect)


def _refused(_request: Request, error: Exception) -> Response:
    return problem_response(cast(RequestRefused, error))


def _nija_error(_request: Request, error: Exception) -> Response:
    return problem_response(refusal_of(error))


def _validation_error(_request: Request, error: Exception) -> Response:
    errors = [_field_problem(each) for each in cast(RequestValidationError, error).errors()]
    detail = "; ".join(f"{each.field}: {each.message}" for each in errors)
    return problem_response(RequestRefused(NOT_VALID, detail, errors=errors))


def _field_problem(problem: Mapping[str, Any]) -> FieldProblem:
    """The field and what is wrong with it; neither the value nor the name of a field that does not exist."""
    location = list(problem["loc"])
    if problem["type"] in ("extra_forbidden", "json_invalid"):
        location = location[:-1]
    if _NAMED_BY_CLIENT in location:
        location = location[: location.index(_NAMED_BY_CLIENT) + 1]
    message = "Value is not valid" if problem["type"] in _MESSAGES_WITH_INPUT else problem["msg"]
    return FieldProblem(field=".".join(map(str, location)), message=message)


def _http_error(_request: Request, error: Exception) -> Response:
    """An error of the framework: an unknown path, a wrong method, a body that is no text."""
    raised = cast(HTTPException, error)
    kind = _OF_STATUS.get(raised.status_code, NOT_VALID)
    details = {
        NOT_FOUND.status: "this path is not part of the API; GET /api/openapi.json describes it",
        METHOD_NOT_ALLOWED.status: "GET /api/openapi.json names the methods of each path",
        TOO_LARGE.status: "send a smaller body",
    }
    detail = details.get(kind.status, "the body cannot be read")
    return problem_response(RequestRefused(kind, detail, headers=raised.headers))


def _defect(_request: Request, _error: Exception) -> Response:
    # The server logs the error itself, without secrets.
    return problem_response(RequestRefused(DEFECT, "the log of the API has the details; please report it"))


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The statuses of a route's problems, for the OpenAPI document."""
    titles = {
        401: "No token, or none that is valid",
        403: "The role of the token is too low",
        404: "There is no such thing",
        409: "Refused, stopped, or the same request is under way",
        413: "The body is too large",
        422: "A field is not valid",
        429: "Too many requests; see Retry-After",
        503: "A server does not answer, or there are no fresh data; see Retry-After",
    }
    return {status: {"model": ProblemDocument, "description": titles[status]} for status in statuses}


PROBLEMS: Final = problems(401, 403, 413, 422, 429, 503)
"""Those of every route that needs a token."""
