"""Replaces secrets in log events with asterisks.

Three nets, because one alone has holes: the values of secrets that are known at the start (also as they look in
URLs and JSON), fields whose name says that they hold a secret, and text that has the form of one (passwords in
URLs, `API-Sign: …`).
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote, quote_plus

from pydantic import SecretStr

MASK: Final = "***"

_SHORTEST_SECRET = 6
"""Characters. A shorter one is no secret, and would blacken half of the log."""

_SECRET_WORDS = {"secret", "secrets", "signature", "sign", "passphrase", "password", "authorization", "token", "apikey"}
_WORD = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")
# To the last @: a password that was not percent-encoded may hold a slash, a question mark, a hash or an @.
# `<password>` is how nija's own examples write it.
_IN_URL = re.compile(r"(?P<before>[a-z][a-z0-9+.-]*://[^\s/:@?#'\"]*:)(?!<password>@)[^\s'\"]+@", re.IGNORECASE)
_IN_TEXT = re.compile(
    r"(?P<before>(?:api[-_ ]?key|api[-_ ]?sign|api[-_ ]?secret|ok-access-(?:key|sign|passphrase)|x-mbx-apikey"
    r"|apca-api-(?:key-id|secret-key)|signature|passphrase|password|authorization|secret[-_]?key|secret|token)"
    r"['\"]?\s*[:=]\s*(?:b?['\"])?(?:(?:bearer|basic)\s+)?)"
    # Words with which nija's own errors go on behind the name of a setting.
    r"(?!(?:the|unknown|follower) )[^\s'\",;&}\])*]+",
    re.IGNORECASE,
)


def names_a_secret(name: str) -> bool:
    """Whether a field of this name holds a secret. `key_hash` and `keys` do not, `api_key` and `API-Sign` do."""
    words = [word.lower() for word in _WORD.findall(name)]
    if not words:
        return False
    return words[-1] == "key" or words[-2:] == ["key", "id"] or any(word in _SECRET_WORDS for word in words)


def _quote_all(text: str, errors: str) -> str:
    return quote(text, safe="", errors=errors)


class Redactor:
    """A structlog processor. `secrets`: the values that are known when the process starts."""

    def __init__(self, secrets: Iterable[SecretStr] = ()) -> None:
        forms: set[str] = set()
        for secret in secrets:
            value = secret.get_secret_value()
            # Each line of a PEM key is as good as a secret of its own.
            for text in (value, *value.splitlines()):
                if len(text) >= _SHORTEST_SECRET and "-----" not in text:
                    forms |= {text, json.dumps(text)[1:-1]}
                    # Variables may hold bytes that are not UTF-8.
                    forms |= {make(text, errors="surrogateescape") for make in (quote, _quote_all, quote_plus)}
        # The longest first, so that a secret inside another one does not leave the rest of it.
        alternatives = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
        self._known = re.compile(alternatives) if alternatives else None

    def text(self, text: str) -> str:
        """`text` without secrets."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        text = _IN_URL.sub(rf"\g<before>{MASK}@", text)
        return _IN_TEXT.sub(rf"\g<before>{MASK}", text)

    def value(self, value: Any) -> Any:
        """`value` without secrets, through mappings, lists, tuples and sets."""
        match value:
            case str():
                return self.text(value)
            case bytes():
                return self.text(value.decode(errors="replace"))
            case None | bool() | int() | float():
                return value
            case Mapping():
                return {self._key(key): self._field(key, item) for key, item in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self.value(item) for item in value]
            case _:
                return self.text(str(value))

    def _key(self, key: Any) -> Any:
        return self.text(key) if isinstance(key, str) else key

    def _field(self, key: Any, value: Any) -> Any:
        if isinstance(key, str) and value is not None and names_a_secret(key):
            return MASK
        return self.value(value)

    def __call__(self, _logger: Any, _method: str, event: Any) -> dict[str, Any]:
        """Be a structlog processor: the last one before the renderer."""
        redacted: dict[str, Any] = {}
        for key, value in event.items():
            # structlog's own, for the stdlib formatter: objects that it needs as they are.
            redacted[key] = value if key in {"_record", "_from_structlog"} else self._field(key, value)
        return redacted
