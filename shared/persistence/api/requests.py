"""Remembers for a day which requests of the API have acted, so that a repeated request gets the first answer.

All methods block, and raise DatabaseUnavailable.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Engine, text

from shared.persistence.database import transaction

KEPT: Final = timedelta(hours=24)
"""How long a key stands for its first request."""
LONGEST: Final = timedelta(minutes=5)
"""No request takes so long. One that has no answer by then was under way in a process that has ended."""

_INSERT = text("""
    INSERT INTO api_requests (token_id, request_key, digest, began_at)
    VALUES (:token_id, :key, :digest, :now) ON CONFLICT DO NOTHING
""")
_FOUND = text("""
    SELECT digest, began_at, status, answer FROM api_requests
    WHERE token_id = :token_id AND request_key = :key FOR UPDATE
""")
_BEGIN_AGAIN = text("""
    UPDATE api_requests SET digest = :digest, began_at = :now, status = NULL, answer = NULL
    WHERE token_id = :token_id AND request_key = :key
""")
# A request that another process has taken over has a later begin.
_FINISH = text("""
    UPDATE api_requests SET status = :status, answer = :answer
    WHERE token_id = :token_id AND request_key = :key AND began_at = :began_at
""")
_FORGET = text("""
    DELETE FROM api_requests WHERE token_id = :token_id AND request_key = :key AND began_at = :began_at
""")
_FORGET_OLD = text("DELETE FROM api_requests WHERE began_at < :before")


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request with the key that its sender gave it, and the digest of what it asks for."""

    token_id: str
    key: str
    digest: str


@dataclass(frozen=True, slots=True)
class Begun:
    """The request is to be carried out now, and then finished or forgotten."""

    request: KeyedRequest
    began_at: datetime


@dataclass(frozen=True, slots=True)
class Answered:
    """The request was carried out before, with this answer."""

    status: int
    answer: str


class UnderWay:
    """The same request is being carried out at this moment."""


class OtherRequest:
    """The key stands for another request."""


class RequestStore:
    """The requests of the last day that came with a key."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin(self, request: KeyedRequest) -> Begun | Answered | UnderWay | OtherRequest:
        """Reserve the key for this request, or return what it stands for already."""
        now = datetime.now(UTC)
        parameters = {"token_id": request.token_id, "key": request.key, "digest": request.digest, "now": now}
        with transaction(self._engine) as connection:
            connection.execute(_FORGET_OLD, {"before": now - KEPT})
            if connection.execute(_INSERT, parameters).rowcount:
                return Begun(request, now)
            found = connection.execute(_FOUND, parameters).one_or_none()
            if found is None:
                # The other request failed and was forgotten a moment ago. Its sender may repeat it, and so may this one.
                return UnderWay()
            if found.digest != request.digest:
                return OtherRequest()
            if found.status is not None:
                return Answered(found.status, found.answer)
            if found.began_at > now - LONGEST:
                return UnderWay()
            connection.execute(_BEGIN_AGAIN, parameters)
            return Begun(request, now)

    def finish(self, begun: Begun, status: int, answer: str) -> None:
        """Store the answer."""
        self._execute(_FINISH, begun, status=status, answer=answer)

    def forget(self, begun: Begun) -> None:
        """Free the key: the request was not carried out, so it may be repeated."""
        self._execute(_FORGET, begun)

    def _execute(self, statement: object, begun: Begun, **values: object) -> None:
        which = {"token_id": begun.request.token_id, "key": begun.request.key, "began_at": begun.began_at}
        with transaction(self._engine) as connection:
            connection.execute(statement, {**which, **values})  # type: ignore[call-overload]
