"""Finds the secrets among variables: by the names of the variables, and as passwords in URLs."""

from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import SecretStr

from shared.config.broker_variables import SECRET_NAME
from shared.domain.accounts.key_text import bare, bare_key, bare_passphrase

_SECRET_PARAMETERS = {"password", "sslpassword"}
"""Parameters that a DATABASE_URL or a REDIS_URL may have in its query."""


def secrets_among(variables: Mapping[str, str]) -> list[SecretStr]:
    """Every secret among `variables`, which may not have been checked: as it is given, and as it is used."""
    given = [value for name, value in variables.items() if SECRET_NAME.search(name)]
    used = [clean(value) for value in given for clean in (bare_key, bare_passphrase)]
    named = [SecretStr(text) for text in dict.fromkeys([*given, *used]) if text]
    return [*named, *passwords_in(map(bare, variables.values()))]


def passwords_in(urls: Iterable[str | None]) -> list[SecretStr]:
    """The passwords in those of `urls` that are URLs, as they are written and as they are meant."""
    found = {part for url in urls if url and "://" in url for part in _password_parts(url)}
    return [SecretStr(each) for each in sorted(found) if each]


def _password_parts(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
        passwords = [parts.password or ""]
        passwords += [value for name, value in parse_qsl(parts.query) if name in _SECRET_PARAMETERS]
    except ValueError:
        passwords = []
    # A password that was not percent-encoded reaches to the last @, whatever is in it.
    before, separator, _ = url.partition("://")[2].rpartition("@")
    if separator:
        passwords.append(before.partition(":")[2])
    for password in passwords:
        yield from (password, unquote(password))
