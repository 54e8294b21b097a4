"""Reads the private key that a Coinbase API secret is.

Two kinds exist: P-256 as PEM (SEC1 or PKCS8), and Ed25519 as base64 of 64 bytes (or of its 32-byte seed) or as PEM.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

_PEM_BEGINS: Final = "-----BEGIN"
_ED25519_BYTES: Final = (32, 64)
_ED25519_SEED_BYTES: Final = 32

NEITHER_KIND: Final = (
    "the API secret of Coinbase is a private key, from '-----BEGIN EC PRIVATE KEY-----' to its end, "
    "or 88 characters of base64; this is neither"
)

SigningKey = ec.EllipticCurvePrivateKey | Ed25519PrivateKey


class MalformedKey(ValueError):
    """The secret is no key that Coinbase gives out; the text says what would be right, without the secret."""


def read_private_key(secret: str) -> SigningKey:
    """The key that the secret stands for. Raises MalformedKey."""
    secret = secret.strip()
    if secret.startswith(_PEM_BEGINS):
        # In a file of variables the line ends are often written as \n.
        pem = secret.replace("\\n", "\n").encode()
        try:
            key = load_pem_private_key(pem, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise MalformedKey("the API secret begins like a PEM key but cannot be read; copy it again") from None
        if isinstance(key, Ed25519PrivateKey):
            return key
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise MalformedKey("the API secret is a PEM key of another kind; Coinbase's are EC keys on P-256")
        return key
    try:
        seed = b64decode(secret, validate=True)
    except (Base64Error, ValueError):
        seed = b""
    if len(seed) not in _ED25519_BYTES:
        raise MalformedKey(NEITHER_KIND)
    return Ed25519PrivateKey.from_private_bytes(seed[:_ED25519_SEED_BYTES])
