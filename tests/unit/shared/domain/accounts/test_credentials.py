"""Tests whether a key has the form of its broker's keys."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import SecretStr

from shared.brokers.registry import profile_of
from shared.domain.accounts.credentials import Credentials, malformed
from shared.domain.identity import Broker

PEM = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    .decode()
)


def credentials(secret: str, key: str = "organizations/o/apiKeys/k") -> Credentials:
    return Credentials(api_key=SecretStr(key), api_secret=SecretStr(secret))


@pytest.mark.parametrize("secret", [PEM, PEM.strip(), PEM.replace("\n", "\\n"), "c2VlZA=="])
def test_coinbases_two_kinds_of_key_are_taken(secret: str) -> None:
    """PEM with and without the line end behind it, in one line, and base64."""
    assert malformed(profile_of(Broker.COINBASE).keys, credentials(secret)) is None


@pytest.mark.parametrize("secret", ["not-base64!", "0123456789abcdefg"])
def test_another_brokers_secret_is_no_key_of_coinbase(secret: str) -> None:
    """The text says what would be right and does not repeat it."""
    problem = malformed(profile_of(Broker.COINBASE).keys, credentials(secret))
    assert problem is not None
    assert "PRIVATE KEY" in problem
    assert secret not in problem


@pytest.mark.parametrize(("key", "secret"), [("k", " c2VlZA=="), ("k", "c2Vl ZA=="), (" k", PEM), ("k", ""), ("", PEM)])
def test_blanks_and_empty_parts_are_found(key: str, secret: str) -> None:
    """As they come from copying."""
    assert malformed(profile_of(Broker.COINBASE).keys, credentials(secret, key)) is not None
