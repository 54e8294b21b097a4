"""What the keys of each broker look like: what can be no key of it, and what only differs from its usual form.

A key that cannot be one is refused. A key of an unusual length is not: brokers change their forms, and test servers
have their own. `usual_form` is added to the broker's own words when the broker refuses a key or cannot be asked.
No message repeats any part of a key.
"""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import Final

from shared.domain.accounts.key_text import is_pem
from shared.domain.accounts.private_key import NEITHER_KIND, MalformedKey, read_private_key
from shared.domain.identity import Broker


class KeyPart(StrEnum):
    """One of the texts that make an API key. The value is its column in an import file."""

    API_KEY = "api_key"
    API_SECRET = "api_secret"  # noqa: S105 - a name
    PASSPHRASE = "passphrase"  # noqa: S105 - the same

    @property
    def words(self) -> str:
        return _WORDS[self]


_WORDS: Final = {
    KeyPart.API_KEY: "API key",
    KeyPart.API_SECRET: "API secret",
    KeyPart.PASSPHRASE: "passphrase",
}


@dataclass(frozen=True, slots=True)
class _Form:
    pattern: re.Pattern[str]
    words: str


def _form(pattern: str, words: str) -> _Form:
    return _Form(re.compile(pattern, re.DOTALL), words)


_UUID: Final = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_PEM: Final = r"\s*-----BEGIN .*"

_FORMS: Final[Mapping[Broker, Mapping[KeyPart, _Form]]] = {
    Broker.COINBASE: {
        KeyPart.API_KEY: _form(
            rf"organizations/{_UUID}/apiKeys/{_UUID}|{_UUID}",
            "the form organizations/…/apiKeys/… or 36 characters with 4 hyphens",
        ),
        KeyPart.API_SECRET: _form(rf"{_PEM}|[A-Za-z0-9+/=]{{88}}", "88 characters, or is a PEM private key"),
    },
    Broker.KRAKEN: {
        KeyPart.API_KEY: _form(r"[A-Za-z0-9+/]{56}", "56 characters"),
        KeyPart.API_SECRET: _form(r"[A-Za-z0-9+/=]{88}", "88 characters"),
    },
    Broker.OKX: {
        KeyPart.API_KEY: _form(_UUID, "36 characters with 4 hyphens"),
        KeyPart.API_SECRET: _form(r"[0-9A-Fa-f]{32}", "32 characters, 0 to 9 and A to F"),
        KeyPart.PASSPHRASE: _form(r".{8,32}", "8 to 32 characters"),
    },
    Broker.BINANCE: {
        KeyPart.API_KEY: _form(r"[A-Za-z0-9]{64}", "64 letters and digits"),
        KeyPart.API_SECRET: _form(rf"[A-Za-z0-9]{{64}}|{_PEM}", "64 letters and digits, or is a PEM private key"),
    },
    Broker.ALPACA: {
        KeyPart.API_KEY: _form(r"[A-Z]{2}[A-Z0-9]{18,24}", "20 to 26 capitals and digits, PK… for paper, AK… for live"),
        KeyPart.API_SECRET: _form(r"[A-Za-z0-9]{40,44}", "40 to 44 letters and digits"),
    },
}
_ALPACA_KEY: Final = re.compile(r"(PK|AK)[A-Z0-9]{18,24}")
Texts = Mapping[KeyPart, str]
"""The parts that a key has, without the empty ones."""


def fault_of_missing(broker: Broker, texts: Texts) -> tuple[KeyPart, str] | None:
    """Say which part a key of this broker has and this one has not; None: none."""
    missing = next((part for part in _FORMS[broker] if not texts.get(part)), None)
    if missing is None:
        return None
    what = (
        "OKX keys have a passphrase; give it too" if missing is KeyPart.PASSPHRASE else f"the {missing.words} is empty"
    )
    return missing, what


def fault_of_form(broker: Broker, texts: Texts) -> tuple[KeyPart, str] | None:
    """Say which part can be none of this broker's, with what would be right; None: none. Quick, for every connection."""
    if broker is not Broker.KRAKEN and broker is not Broker.COINBASE:
        return None
    secret = texts[KeyPart.API_SECRET]
    if _is_base64(secret) or (broker is Broker.COINBASE and is_pem(secret)):
        return None
    if broker is Broker.COINBASE:
        return KeyPart.API_SECRET, NEITHER_KIND
    what = "the API secret of Kraken is base64 text (88 characters, as Kraken shows it); this is not"
    return KeyPart.API_SECRET, what


def fault_of_mix_up(broker: Broker, texts: Texts) -> tuple[KeyPart, str] | None:
    """Say which parts have the same value, or each other's form; None: none."""
    forms = _FORMS[broker]
    for first, second in combinations([part for part in forms if texts.get(part)], 2):
        if texts[first] == texts[second]:
            return second, f"the {second.words} is the same as the {first.words}; each has a value of its own"
        are_right = forms[first].pattern.fullmatch(texts[first]) and forms[second].pattern.fullmatch(texts[second])
        are_swapped = forms[first].pattern.fullmatch(texts[second]) and forms[second].pattern.fullmatch(texts[first])
        if are_swapped and not are_right:
            return first, f"the {first.words} and the {second.words} are swapped: each has the form of the other"
    return None


def fault_of_private_key(broker: Broker, texts: Texts) -> tuple[KeyPart, str] | None:
    """Say why a Coinbase secret cannot sign. Slower than `fault_of_form`: for the moment at which a key is given."""
    if broker is not Broker.COINBASE:
        return None
    try:
        read_private_key(texts[KeyPart.API_SECRET])
    except MalformedKey as error:
        return KeyPart.API_SECRET, str(error)
    return None


def fault_of_paper(broker: Broker, texts: Texts, *, paper: bool) -> tuple[KeyPart, str] | None:
    """Say that a key is of the other kind, paper or live; None: it is not, or does not show it.

    Only for keys that go to the broker itself: servers at a {BROKER}_BASE_URL make keys as they like.
    """
    found = _ALPACA_KEY.fullmatch(texts[KeyPart.API_KEY]) if broker is Broker.ALPACA else None
    if found is None or (found[1] == "PK") == paper:
        return None
    if paper:
        return KeyPart.API_KEY, "the API key is of live trading (it begins with AK), but paper trading is asked for"
    what = (
        "the API key is of paper trading (it begins with PK): say so with ALPACA_PAPER=true "
        "(ALPACA_USER_{NAME}_PAPER=true), the option --paper or the column paper"
    )
    return KeyPart.API_KEY, what


def usual_form(broker: Broker, texts: Texts) -> str:
    """The usual form of this broker's keys, where this key differs from it; empty: it does not."""
    unlike = [
        f"the {part.words} of {broker.value} usually has {form.words} (this one has {len(text)} characters)"
        for part, form in _FORMS[broker].items()
        if (text := texts.get(part)) and not form.pattern.fullmatch(text)
    ]
    return "; ".join(unlike)


def _is_base64(text: str) -> bool:
    try:
        return len(b64decode(text, validate=True)) > 0
    except (Base64Error, ValueError):
        return False
