"""Computes and checks API-Sign of Kraken: base64(HMAC-SHA512(secret, path + SHA256(nonce + body)))."""

import base64
import hashlib
import hmac


def sign(secret: bytes, path: str, nonce: str, body: bytes) -> str:
    """The API-Sign of a request. `secret` is decoded already, `body` is exactly what was sent."""
    digest = hashlib.sha256(nonce.encode() + body).digest()
    return base64.b64encode(hmac.digest(secret, path.encode() + digest, "sha512")).decode()


def is_signed(signature: str, secret: bytes, path: str, nonce: str, body: bytes) -> bool:
    """Whether `signature` is the right one, compared in constant time."""
    return hmac.compare_digest(signature.encode(), sign(secret, path, nonce, body).encode())
