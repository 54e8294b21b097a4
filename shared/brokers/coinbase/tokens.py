"""Signs the bearer token (JWT) that each request to Coinbase carries, and reads how long a token is valid.

P-256 keys sign ES256, Ed25519 keys EdDSA.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from secrets import token_hex
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from shared.domain.accounts.private_key import SigningKey

LIFE_SECONDS = 120
_HALF_SIGNATURE_BYTES = 32
_ES256 = ec.ECDSA(SHA256())


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
