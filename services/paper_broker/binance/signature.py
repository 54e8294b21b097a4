"""Computes and checks Binance's signature: hex HMAC-SHA256 over everything that is sent but the signature itself."""

import hmac

_NAME = "signature="


def sign(secret: bytes, payload: str) -> str:
    """The `signature` of a query string and form body, put together without anything between them."""
    return hmac.digest(secret, payload.encode(), "sha256").hex()


def split(text: str) -> tuple[str, str]:
    """A query string or form body without its signature, and the signature; empty when it has none."""
    if text.startswith(_NAME):
        signature, _, rest = text[len(_NAME) :].partition("&")
        return rest, signature
    before, marker, after = text.partition("&" + _NAME)
    if not marker:
        return text, ""
    signature, separator, rest = after.partition("&")
    return before + separator + rest, signature


def is_signed(signature: str, secret: bytes, payload: str) -> bool:
    """Whether `signature` is the right one, in either case of its letters; compared in constant time."""
    return hmac.compare_digest(signature.lower().encode(), sign(secret, payload).encode())
