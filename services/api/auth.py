"""Finds out whose token a request presents, counts the request, and checks the role."""

from typing import Annotated, Final

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from services.api.limits import LimitReached
from services.api.problems import NOT_ALLOWED, TOO_MANY, RequestRefused, not_authenticated, not_valid
from services.api.system import System
from shared.domain.access import Role
from shared.queries.tokens import Principal, authenticate

COST_OF_ACTION: Final = 10
"""A request that changes something counts like so many questions."""

_BEARER = HTTPBearer(
    scheme_name="token",
    description="`nija tokens add NAME --role read` makes a token. Roles: read < operate < admin.",
    auto_error=False,
)
Presented = Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]


def principal_of(request: Request, system: System, scopes: SecurityScopes, presented: Presented) -> Principal:
    """The owner of the token. Raises RequestRefused."""
    found = None
    if presented is not None:
        found = authenticate(system.connections, presented.credentials, system.environment_token)
    if found is None:
        raise not_authenticated()
    request.state.token_id = found.token_id
    try:
        system.limits.take(found.token_id, 1 if request.method == "GET" else COST_OF_ACTION)
    except LimitReached as error:
        raise RequestRefused(
            TOO_MANY,
            f"ask again in {error.retry_seconds} s",
            headers={"Retry-After": str(error.retry_seconds)},
        ) from None
    for needed in map(Role, scopes.scopes):
        if not found.role.includes(needed):
            raise RequestRefused(NOT_ALLOWED, f"this needs the role {needed.value}; the token has {found.role.value}")
    _check_parameter_names(request)
    return found


def _check_parameter_names(request: Request) -> None:
    """Refuse an unknown name and a repeated one. The framework ignores what it does not know, and all but the last value.

    A misspelt filter would then return everything. No route has a parameter with several values.
    """
    operation = request.app.openapi()["paths"][request.scope["route"].path][request.method.lower()]
    known = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"]
    if not set(request.query_params) <= set(known):
        raise not_valid("query", f"has an unknown parameter; known are {', '.join(known) or 'none'}")
    if len(request.query_params.multi_items()) > len(request.query_params):
        raise not_valid("query", "gives a parameter twice; give each at most once")


Reader = Annotated[Principal, Security(principal_of, scopes=[Role.READ.value])]
Operator = Annotated[Principal, Security(principal_of, scopes=[Role.OPERATE.value])]
Admin = Annotated[Principal, Security(principal_of, scopes=[Role.ADMIN.value])]
