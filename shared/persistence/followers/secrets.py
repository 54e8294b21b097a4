"""Encrypts the API keys that the database stores, and decrypts them.

MultiFernet does it, so that the secret key can rotate.
"""

import json

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from shared.domain.accounts.credentials import Credentials
from shared.domain.accounts.secret_key import HOW_TO_MAKE_A_KEY
from shared.domain.identity import Broker, FollowerId
from shared.persistence.errors import BadSecretKey


class SecretBox:
    """Seals with the first key of NIJA_SECRET_KEY, opens with any of them."""

    def __init__(self, secret_key: SecretStr | None) -> None:
        """Take one Fernet key or several, separated by commas, the newest first. Raises BadSecretKey."""
        texts = [text.strip() for text in (secret_key.get_secret_value() if secret_key else "").split(",")]
        texts = [text for text in texts if text]
        if not texts:
            raise BadSecretKey(
                f"NIJA_SECRET_KEY is missing; followers' keys are encrypted with it; {HOW_TO_MAKE_A_KEY}"
            )
        try:
            self._fernet = MultiFernet([Fernet(text) for text in texts])
        except ValueError:
            raise BadSecretKey(
                "NIJA_SECRET_KEY is malformed: it is one key of 44 base64 characters, or several separated by "
                f"commas; {HOW_TO_MAKE_A_KEY}"
            ) from None

    def seal(self, broker: Broker, follower_id: FollowerId, credentials: Credentials) -> str:
        """Encrypt a key for this follower; the text opens for no other."""
        passphrase = credentials.passphrase
        content = {
            "of": f"{broker.value}:{follower_id}",
            "api_key": credentials.api_key.get_secret_value(),
            "api_secret": credentials.api_secret.get_secret_value(),
            "passphrase": passphrase.get_secret_value() if passphrase is not None else None,
            "paper": credentials.paper,
        }
        return self._fernet.encrypt(json.dumps(content).encode()).decode()

    def open(self, broker: Broker, follower_id: FollowerId, sealed: str) -> Credentials:
        """Decrypt what `seal` gave for this follower. Raises BadSecretKey."""
        try:
            opened = self._fernet.decrypt(sealed.encode())
        except InvalidToken:
            raise BadSecretKey(
                f"the key of follower {follower_id} at {broker.value} was not encrypted with this NIJA_SECRET_KEY: "
                "set the one that was in use when the follower was added (older keys after a comma)"
            ) from None
        try:
            content = json.loads(opened)
            owner = content.pop("of")
            credentials = Credentials.model_validate(content)
        except (ValueError, KeyError, TypeError, AttributeError):  # whose texts would repeat what is secret
            raise BadSecretKey(
                f"the stored key of follower {follower_id} at {broker.value} is not in a form that this version reads"
            ) from None
        if owner != f"{broker.value}:{follower_id}":
            raise BadSecretKey(f"the stored key of follower {follower_id} at {broker.value} belongs to another one")
        return credentials

    def rotate(self, sealed: str) -> str:
        """Encrypt again with the first key. Raises BadSecretKey."""
        try:
            return self._fernet.rotate(sealed.encode()).decode()
        except InvalidToken:
            raise BadSecretKey("a stored key opens with none of the keys in NIJA_SECRET_KEY") from None
