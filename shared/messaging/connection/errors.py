"""Puts into words why a Redis server cannot be used: an error of redis-py becomes one that says what to do.

A server that does not answer yet is RedisUnavailable: waiting may cure that. Everything else is RedisUnusable. Both texts name
the setting and the server, never a password.
"""

import socket
import ssl
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    InvalidResponse,
    MaxConnectionsError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.domain.errors import HostUnknown, NijaError
from shared.messaging.connection.connect import COMMAND_ANSWER_SECONDS

_DEFAULT_PORT: Final = 6379


class RedisUnusable(NijaError):
    """This Redis cannot be used as it is; the text names the setting and says what would be right."""


class RedisUnavailable(NijaError):
    """Redis does not answer now, or says that it will soon. Wait and ask again."""


class RedisHostUnknown(RedisUnusable, HostUnknown):
    """The name of the Redis server cannot be resolved."""


def place_of(url: str) -> str:
    """The server that a URL names, without user and password."""
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else "{}:{}".format(*_address_of(url))


def explained(error: RedisError | OSError, setting: str, url: str) -> RedisUnavailable | RedisUnusable:
    """The error of a Redis client as one that says what to do."""
    place = place_of(url)
    for cause in _chain(error):
        if isinstance(cause, socket.gaierror):
            return RedisHostUnknown(f"{setting}: the host of {place} is not known ({cause.strerror}): correct the name")
    on_the_way = _network_problem(error, place)
    if on_the_way is not None:
        return RedisUnusable(f"{setting}: {on_the_way}")
    said = _what_it_answers(error)
    if said is not None:
        return RedisUnusable(f"{setting}: Redis at {place} {said}")
    text = str(error) or type(error).__name__
    if isinstance(error, BusyLoadingError | MaxConnectionsError | ResponseError) or "max number of clients" in text:
        return RedisUnavailable(f"{setting}: Redis at {place} answers: {text}")
    if urlsplit(url).scheme == "rediss" and _answers_without_tls(url):
        return RedisUnusable(f"{setting}: Redis at {place} does not speak TLS: write redis://, or the port for TLS")
    if isinstance(error, RedisTimeoutError):
        return RedisUnavailable(f"{setting}: Redis at {place} does not answer within {COMMAND_ANSWER_SECONDS:g} s")
    if any(isinstance(cause, ConnectionRefusedError | FileNotFoundError) for cause in _chain(error)):
        return RedisUnavailable(f"{setting}: no Redis listens at {place}")
    if urlsplit(url).scheme == "redis" and isinstance(error, RedisConnectionError) and _speaks_tls(url):
        return RedisUnusable(f"{setting}: {place} speaks TLS: write rediss:// instead of redis://")
    return RedisUnavailable(f"{setting}: {place} does not answer as a Redis does ({text})")


def _network_problem(error: BaseException, place: str) -> str | None:
    """What is wrong with the certificate or the socket; None: nothing of that."""
    for cause in _chain(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return (
                    f"the certificate of {place} is not accepted ({cause.verify_message}): "
                    "name the file with its CA at the end of the URL, ?ssl_ca_certs=FILE"
                )
            case ssl.SSLError():
                what = cause.reason or cause
                return f"{place} does not speak TLS as rediss:// needs it ({what}): write redis://, or the port for TLS"
            case PermissionError():
                return f"{place} may not be opened: {cause.strerror}"
    return None


def _what_it_answers(error: RedisError | OSError) -> str | None:
    """What a server that answers wants to have otherwise; None: it gives no answer, or waiting may cure it."""
    text = str(error)
    match error:
        case AuthenticationError() if "without any password" in text or "no password is set" in text:
            return "has no password set: leave the password out of the URL, or set one (requirepass)"
        case AuthenticationError(status_code="NOAUTH"):
            return "asks for a password: write it into the URL, as in redis://:<password>@host:6379/0"
        case AuthenticationError():
            return (
                "refuses the user name or the password of the URL: correct them; "
                "special characters in them are percent-encoded (@ as %40)"
            )
        case RedisConnectionError() if "protected mode" in text:
            return "is in protected mode: set a password for it (requirepass)"
        case InvalidResponse():
            return "does not answer like a Redis: correct the host and the port"
        case ReadOnlyError():
            return "is a replica, which takes no writes: name the primary"
        case ResponseError() if "DB index" in text or "database" in text.lower():
            return f"does not have the database that the URL ends with ({text}): end it with /0"
        case ResponseError() if "unknown command" in text.lower() or "cluster" in text.lower():
            return f"does not answer like a Redis that nija can use: {text}"
    return None


def _speaks_tls(url: str) -> bool:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent: the question is only whether there is TLS
    try:
        with (
            socket.create_connection(_address_of(url), COMMAND_ANSWER_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=_address_of(url)[0]),
        ):
            return True
    except OSError:
        return False


def _answers_without_tls(url: str) -> bool:
    """Whether a Redis answers in clear. It does not answer a client that begins TLS: it waits for the end of a line."""
    try:
        with socket.create_connection(_address_of(url), COMMAND_ANSWER_SECONDS) as plain:
            plain.sendall(b"PING\r\n")
            return plain.recv(1) in {b"+", b"-"}
    except OSError:
        return False


def _address_of(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "localhost", parts.port or _DEFAULT_PORT


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what caused it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
