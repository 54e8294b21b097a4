"""Reads the times in a recorded request that places an order."""

import re
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import unquote

from shared.brokers.coinbase.tokens import lifetime

VALID_SECONDS = 10
"""How long the order is valid."""


def deadline(headers: Mapping[str, str], content: str) -> list[float]:
    """Kraken: the deadline of the order."""
    found = re.search(r"deadline=([^&]+)", content)
    assert found
    return [datetime.fromisoformat(unquote(found[1])).timestamp() - VALID_SECONDS]


def timestamp(headers: Mapping[str, str], content: str) -> list[float]:
    """Binance: the time of the request."""
    found = re.search(r"timestamp=(\d+)", content)
    assert found
    return [int(found[1]) / 1000]


def access_timestamp(headers: Mapping[str, str], content: str) -> list[float]:
    """OKX: the time of the request, and the expiry of the order."""
    signed_at = datetime.fromisoformat(headers["OK-ACCESS-TIMESTAMP"]).timestamp()
    return [signed_at, int(headers["expTime"]) / 1000 - VALID_SECONDS]


def token(headers: Mapping[str, str], content: str) -> list[float]:
    """Coinbase: from when until when the token is valid."""
    life = lifetime(headers["Authorization"])
    assert life is not None
    return [life[0], life[1] - VALID_SECONDS]
