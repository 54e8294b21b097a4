"""Carries an action out once: a request that is repeated under its Idempotency-Key gets the first answer again."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Annotated, Final

import structlog
from anyio import CancelScope
from anyio.to_thread import run_sync
from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel
from redis.exceptions import RedisError

from services.api.problems import (
    KEY_REUSED,
    MEDIA_TYPE,
    STORED,
    UNDER_WAY,
    RequestRefused,
    problem_response,
    refusal_of,
)
from services.api.system import System
from shared.actions.keyed_requests import Answered, Begun, KeyedRequest, OtherRequest, RequestStore, UnderWay
from shared.domain.errors import NijaError
from shared.persistence.errors import DatabaseUnavailable
from shared.queries.tokens import Principal

REPLAYED_HEADER: Final = "Idempotency-Replayed"
_CLIENT_ERROR: Final = 400
_SERVER_ERROR: Final = 500

log = structlog.get_logger()

IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=r"^[!-~]{1,200}$",
        description="A text of your choice, new for each action. The same request under the same key is carried out "
        "once within 24 hours, and gets the same answer.",
        examples=["5f0c8a52-pause-alice"],
    ),
]
Work = Callable[[], Awaitable[BaseModel]]


class Once:
    """One request, with the key under which it is carried out once. Without a key it is carried out each time."""

    def __init__(self, store: RequestStore, key: str | None, digest: str) -> None:
        self._store = store
        self._key = key
        self._digest = digest

    async def run(self, principal: Principal, work: Work) -> Response:
        """Do the work and return its result as the answer, or return the answer of the first such request."""
        if self._key is None:
            return _answer(await work())
        request = KeyedRequest(principal.token_id, self._key, self._digest)
        match await run_sync(self._store.begin, request):
            case Answered(status=status, answer=answer):
                media_type = MEDIA_TYPE if status >= _CLIENT_ERROR else "application/json"
                return Response(answer, status, {REPLAYED_HEADER: "true"}, media_type)
            case UnderWay():
                detail = "the first request under this Idempotency-Key has no answer yet; ask again"
                raise RequestRefused(UNDER_WAY, detail, headers={"Retry-After": "1"})
            case OtherRequest():
                raise RequestRefused(KEY_REUSED, "use a new Idempotency-Key for each action")
            case Begun() as begun:
                return await self._carry_out(begun, work)

    async def _carry_out(self, begun: Begun, work: Work) -> Response:
        keep = False
        try:
            try:
                response = _answer(await work())
                keep = True
            except (NijaError, RedisError, RequestRefused) as error:
                refused = error if isinstance(error, RequestRefused) else refusal_of(error)
                response = problem_response(refused)
                # After the failure of a server nothing was changed, so the client should send the request again.
                keep = refused.kind.status < _SERVER_ERROR or refused.kind is STORED
            return response
        finally:
            with CancelScope(shield=True):
                if keep:
                    await run_sync(self._finish, begun, response.status_code, bytes(response.body).decode())
                else:
                    await run_sync(self._forget, begun)

    def _finish(self, begun: Begun, status: int, answer: str) -> None:
        try:
            self._store.finish(begun, status, answer)
        except DatabaseUnavailable as error:
            # The action was carried out, and its sender should learn that.
            log.warning("the answer to a request was not stored", error=str(error))

    def _forget(self, begun: Begun) -> None:
        try:
            self._store.forget(begun)
        except DatabaseUnavailable as error:
            log.warning("the key of a request stays taken for some minutes", error=str(error))


def _answer(result: BaseModel) -> Response:
    return Response(result.model_dump_json(), media_type="application/json")


async def once_of(request: Request, system: System, idempotency_key: IdempotencyKey = None) -> Once:
    """The request with its key."""
    parts = (request.method.encode(), request.url.path.encode(), await request.body())
    return Once(system.actions.requests, idempotency_key, hashlib.sha256(b"\n".join(parts)).hexdigest())


OnceOnly = Annotated[Once, Depends(once_of)]
