"""An API key as a user gives it: text in, secrets that print as asterisks inside, a check of its form out."""

from base64 import b64decode
from binascii import Error as Base64Error
from hashlib import sha256

from pydantic import BaseModel, ConfigDict, SecretStr

from shared.domain.identity import Broker, FollowerId

_PEM = "-----"


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


def key_hash(credentials: Credentials) -> str:
    """The API key's SHA-256 as 64 hex digits: tells two keys apart without keeping either in clear."""
    return sha256(credentials.api_key.get_secret_value().encode()).hexdigest()


def malformed(broker: Broker, credentials: Credentials) -> str | None:
    """Say what is wrong with the form of a key and what would be right, without repeating it; None: nothing."""
    for name, secret in (("API key", credentials.api_key), ("API secret", credentials.api_secret)):
        text = secret.get_secret_value()
        if not text:
            return f"the {name} is empty"
        # PEM keys (Coinbase) have line ends inside and at the end, and blanks in their first and last line.
        if _PEM not in text and (text != text.strip() or " " in text):
            return f"the {name} contains blanks; copy it again without them"
        if not text.isascii():
            return f"the {name} contains characters that no key has; copy it again"
    if broker is Broker.KRAKEN and not _is_base64(credentials.api_secret.get_secret_value()):
        return "the API secret of Kraken is base64 text (88 characters, as Kraken shows it); this is not"
    if broker is Broker.COINBASE and not _is_private_key(credentials.api_secret.get_secret_value()):
        return (
            "the API secret of Coinbase is a private key, from '-----BEGIN EC PRIVATE KEY-----' to its end, "
            "or 88 characters of base64; this is neither"
        )
    if broker is Broker.OKX and not (credentials.passphrase and credentials.passphrase.get_secret_value()):
        return "OKX keys have a passphrase; give it too"
    return None


def _is_private_key(text: str) -> bool:
    return text.strip().startswith(_PEM) or _is_base64(text)


def _is_base64(text: str) -> bool:
    try:
        return len(b64decode(text, validate=True)) > 0
    except (Base64Error, ValueError):
        return False
