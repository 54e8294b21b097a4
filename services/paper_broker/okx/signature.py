"""Computes and checks OK-ACCESS-SIGN: base64(HMAC-SHA256(secret, timestamp + method + path?query + body))."""

import base64
import hmac


def sign(secret: bytes, timestamp: str, method: str, path_and_query: str, body: bytes) -> str:
    """The OK-ACCESS-SIGN of a request. `timestamp` is the header's text, `body` is exactly what was sent."""
    prehash = f"{timestamp}{method}{path_and_query}".encode() + body
    return base64.b64encode(hmac.digest(secret, prehash, "sha256")).decode()


def is_signed(signature: str, secret: bytes, timestamp: str, method: str, path_and_query: str, body: bytes) -> bool:
    """Whether `signature` is the right one, compared in constant time."""
    return hmac.compare_digest(signature.encode(), sign(secret, timestamp, method, path_and_query, body).encode())
