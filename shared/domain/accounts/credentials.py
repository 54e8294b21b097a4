"""Reads an API key from the texts that a user gives, cleans and checks it, and never prints its secrets."""

from collections.abc import Mapping
from hashlib import sha256

from pydantic import BaseModel, ConfigDict, SecretStr

from shared.domain.accounts.key_forms import Fault, KeyRules, Texts
from shared.domain.accounts.key_forms import KeyPart as KeyPart
from shared.domain.accounts.key_text import (
    bare_key,
    bare_passphrase,
    fault_of_characters,
    fault_of_key,
    fault_of_passphrase,
)
from shared.domain.errors import NijaError
from shared.domain.identity import Broker, FollowerId


class Credentials(BaseModel):
    """One API key. Secrets show as asterisks wherever they are printed."""

    model_config = ConfigDict(frozen=True)

    api_key: SecretStr
    api_secret: SecretStr
    passphrase: SecretStr | None = None
    paper: bool = False


class EnvironmentFollower(BaseModel):
    """A follower that is named in the environment, not added to the database by a command."""

    model_config = ConfigDict(frozen=True)

    broker: Broker
    follower_id: FollowerId
    credentials: Credentials


class KeyFault(NijaError):
    """A key that cannot be one. `part`: which of its texts; the message says what would be right, without the text."""

    def __init__(self, part: KeyPart, message: str) -> None:
        super().__init__(message)
        self.part = part


def read_key(rules: KeyRules, given: Mapping[KeyPart, str], *, paper: bool, at_broker: bool) -> Credentials:
    """Make a key of what a user gave. Raises KeyFault.

    What stands around a key (quotes, blanks, line ends) is removed; every other fault is refused. `at_broker`: the
    key goes to the broker itself and not to a {BROKER}_BASE_URL.
    """
    texts = cleaned(given)
    fault = (
        rules.fault_of_missing(texts)
        or rules.fault_of_mix_up(texts)
        or _fault(rules, texts)
        or rules.fault_of_private_key(texts)
        or (rules.fault_of_paper(texts, paper) if at_broker else None)
    )
    if fault is not None:
        raise KeyFault(*fault)
    passphrase = texts.get(KeyPart.PASSPHRASE)
    return Credentials(
        api_key=SecretStr(texts[KeyPart.API_KEY]),
        api_secret=SecretStr(texts[KeyPart.API_SECRET]),
        passphrase=SecretStr(passphrase) if passphrase else None,
        paper=paper,
    )


def cleaned(given: Mapping[KeyPart, str]) -> dict[KeyPart, str]:
    """Strips quotes, blanks and line ends from each part, and drops the parts that are then empty."""
    texts = {
        part: bare_passphrase(text) if part is KeyPart.PASSPHRASE else bare_key(text) for part, text in given.items()
    }
    return {part: text for part, text in texts.items() if text}


def key_hash(api_key: SecretStr | str) -> str:
    """Return the SHA-256 of an API key as 64 hex digits: the name of the key wherever it must not stand in clear."""
    text = api_key.get_secret_value() if isinstance(api_key, SecretStr) else api_key
    return sha256(text.encode()).hexdigest()


def malformed(rules: KeyRules, credentials: Credentials) -> str | None:
    """Say what is wrong with the form of a stored key and what would be right, without repeating it; None: nothing."""
    texts = _texts(credentials)
    fault = rules.fault_of_missing(texts) or _fault(rules, texts)
    return None if fault is None else fault[1]


def usual_form(rules: KeyRules, broker: Broker, credentials: Credentials) -> str:
    """The usual form of this broker's keys, where this key differs from it; empty: it does not."""
    return rules.usual_form(broker.value, _texts(credentials))


def _texts(credentials: Credentials) -> dict[KeyPart, str]:
    texts = {
        KeyPart.API_KEY: credentials.api_key.get_secret_value(),
        KeyPart.API_SECRET: credentials.api_secret.get_secret_value(),
    }
    if credentials.passphrase:
        texts[KeyPart.PASSPHRASE] = credentials.passphrase.get_secret_value()
    return texts


def _fault(rules: KeyRules, texts: Texts) -> Fault | None:
    # Written for speed: a worker asks it of every account at every drain.
    for part, text in texts.items():
        fault = fault_of_passphrase(text) if part is KeyPart.PASSPHRASE else fault_of_key(text)
        if fault is not None:
            return part, f"the {part.words} {fault}"
    of_form = rules.fault_of_form(texts)
    if of_form is not None:
        return of_form
    for part, text in texts.items():
        fault = None if part is KeyPart.PASSPHRASE else fault_of_characters(text)
        if fault is not None:
            return part, f"the {part.words} {fault}"
    return None
