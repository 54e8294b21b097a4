"""Makes Coinbase's keys, and checks the bearer token (JWT) of a request against the key that it names.

A token is good for one method and path (`uri`), from `nbf` to `exp`, for two minutes at the most; it is signed
with the key's own P-256 key (ES256). Only the public half is needed to check it.
"""

import binascii
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from shared.exchange.accounts import ApiKey

LONGEST_LIFE_SECONDS = 120
_CLOCK_SLACK_SECONDS = 1
_ISSUERS = frozenset({"coinbase-cloud", "cdp"})
_REAL_HOST = "api.coinbase.com"
_HALF_SIGNATURE_BYTES = 32
_MICROSECONDS = 1_000_000
_ES256 = ec.ECDSA(SHA256())
_BEARER = "Bearer "


def new_key() -> tuple[str, str]:
    """A fresh (key name, private key as PEM), both as Coinbase writes them."""
    private_key = ec.generate_private_key(ec.SECP256R1())
    pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return f"organizations/{uuid4()}/apiKeys/{uuid4()}", pem.decode()


def key_name(authorization: str) -> str | None:
    """The key that a token names, whether it is right or not."""
    name = _segment(authorization.removeprefix(_BEARER).partition(".")[0]).get("kid")
    return name if isinstance(name, str) else None


class Tokens:
    """Checks tokens; remembers each key's public half, for reading it takes a third of the check."""

    def __init__(self) -> None:
        self._public_keys: dict[str, ec.EllipticCurvePublicKey] = {}

    def key_of(
        self, authorization: str, call: tuple[str, str, str], keys: Mapping[str, ApiKey], now: int
    ) -> ApiKey | None:
        """The key whose token this is; None when anything about it is wrong.

        `call`: method, host and path of the request. `now`: microseconds since 1970.
        """
        if not authorization.startswith(_BEARER):
            return None
        signed, _, signature_text = authorization[len(_BEARER) :].rpartition(".")
        header_text, _, claims_text = signed.partition(".")
        header, claims = _segment(header_text), _segment(claims_text)
        key = keys.get(str(header.get("kid")))
        if key is None or header.get("alg") != "ES256" or not header.get("nonce"):
            return None
        if not self._is_signed(key, signed.encode(), signature_text):
            return None
        return key if _claims_hold(claims, key.api_key, call, now) else None

    def _is_signed(self, key: ApiKey, signed: bytes, signature_text: str) -> bool:
        try:
            signature = _decoded(signature_text)
        except (binascii.Error, ValueError):
            return False
        if len(signature) != 2 * _HALF_SIGNATURE_BYTES:
            return False
        halves = signature[:_HALF_SIGNATURE_BYTES], signature[_HALF_SIGNATURE_BYTES:]
        r, s = (int.from_bytes(half, "big") for half in halves)
        try:
            self._public_key(key).verify(encode_dss_signature(r, s), signed, _ES256)
        except InvalidSignature:
            return False
        return True

    def _public_key(self, key: ApiKey) -> ec.EllipticCurvePublicKey:
        public_key = self._public_keys.get(key.api_key)
        if public_key is None:
            private_key = load_pem_private_key(key.api_secret.encode(), None)
            if not isinstance(private_key, ec.EllipticCurvePrivateKey):
                raise AssertionError("the paper broker's own keys are elliptic-curve keys")
            public_key = self._public_keys[key.api_key] = private_key.public_key()
        return public_key


def _claims_hold(claims: Mapping[str, Any], name: str, call: tuple[str, str, str], now: int) -> bool:
    method, host, path = call
    not_before, expires = claims.get("nbf"), claims.get("exp")
    if not (isinstance(not_before, int) and isinstance(expires, int)):
        return False
    # ccxt writes the scheme into the claim when it is not https.
    operation, _, address = str(claims.get("uri", "")).partition(" ")
    address = address.removeprefix("http://").removeprefix("https://")
    return (
        claims.get("sub") == name
        and claims.get("iss") in _ISSUERS
        and operation == method
        and address in (host + path, _REAL_HOST + path)
        and not_before * _MICROSECONDS <= now + _CLOCK_SLACK_SECONDS * _MICROSECONDS
        and now < expires * _MICROSECONDS
        and expires <= not_before + LONGEST_LIFE_SECONDS
    )


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _segment(text: str) -> dict[str, Any]:
    """A token's header or claims; empty when it cannot be read."""
    try:
        content = orjson.loads(_decoded(text))
    except (binascii.Error, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
