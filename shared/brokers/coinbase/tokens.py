"""Coinbase's bearer tokens: a key, a method and an address in, a signed JWT out; and what one says of itself.

Two kinds of key exist: P-256 as PEM, signed ES256, and Ed25519 as base64, signed EdDSA.
"""

import json
from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from secrets import token_hex
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

LIFE_SECONDS = 120
_PEM_BEGINS = "-----BEGIN"
_ED25519_BYTES = (32, 64)
_ED25519_SEED_BYTES = 32
_HALF_SIGNATURE_BYTES = 32
_CURVE_BITS = 256
_ES256 = ec.ECDSA(SHA256())

SigningKey = ec.EllipticCurvePrivateKey | Ed25519PrivateKey


class MalformedKey(ValueError):
    """The secret is no key that Coinbase gives out; the text says what would be right, without the secret."""


def read_key(secret: str) -> SigningKey:
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
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.key_size != _CURVE_BITS:
            raise MalformedKey("the API secret is a PEM key of another kind; Coinbase's are EC keys on P-256")
        return key
    try:
        seed = b64decode(secret, validate=True)
    except (Base64Error, ValueError):
        seed = b""
    if len(seed) not in _ED25519_BYTES:
        raise MalformedKey(
            "the API secret of Coinbase is a private key, from '-----BEGIN EC PRIVATE KEY-----' to its end, "
            "or 88 characters of base64; this is neither"
        )
    return Ed25519PrivateKey.from_private_bytes(seed[:_ED25519_SEED_BYTES])


def bearer_token(key: SigningKey, key_name: str, uri: str, issued_at: int, expires_at: int) -> str:
    """A JWT for one request. `uri`: method, blank, address without query; times: seconds since 1970."""
    is_elliptic = isinstance(key, ec.EllipticCurvePrivateKey)
    header = {"alg": "ES256" if is_elliptic else "EdDSA", "typ": "JWT", "kid": key_name, "nonce": token_hex(16)}
    claims: dict[str, Any] = {"sub": key_name, "nbf": issued_at, "iat": issued_at, "exp": expires_at}
    if is_elliptic:
        claims |= {"iss": "coinbase-cloud", "aud": ["retail_rest_api_proxy"], "uri": uri}
    else:
        claims |= {"iss": "cdp", "aud": ["cdp_service"], "uris": [uri]}
    signed = f"{_encoded(_json(header))}.{_encoded(_json(claims))}"
    return f"{signed}.{_encoded(_signature(key, signed.encode()))}"


def lifetime(authorization: str) -> tuple[int, int] | None:
    """From when until when a token is good, in seconds since 1970; None when it is no token of ours."""
    try:
        segment = authorization.split(".")[1]
        claims = json.loads(urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
        return int(claims["nbf"]), int(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def _signature(key: SigningKey, signed: bytes) -> bytes:
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(signed)
    r, s = decode_dss_signature(key.sign(signed, _ES256))
    return r.to_bytes(_HALF_SIGNATURE_BYTES, "big") + s.to_bytes(_HALF_SIGNATURE_BYTES, "big")


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def _encoded(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()
