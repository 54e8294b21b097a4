"""Names products as Coinbase does, and makes ids in Coinbase's forms: UUIDs, and entry ids for fills."""

from collections.abc import Mapping
from hashlib import blake2b
from uuid import UUID

from shared.exchange.exchange import Identifiers
from shared.exchange.instruments import INSTRUMENTS, PaperInstrument

PRODUCT_IDS: Mapping[str, str] = {symbol: symbol.replace("/", "-") for symbol in INSTRUMENTS}
"""`BTC/USD` → `BTC-USD`."""

PRODUCTS: Mapping[str, PaperInstrument] = {PRODUCT_IDS[symbol]: each for symbol, each in INSTRUMENTS.items()}
"""By product id."""


def uuid_of(*parts: object) -> str:
    """A UUID that is the same for the same parts and looks as random as Coinbase's."""
    digest = blake2b(":".join(map(str, parts)).encode(), digest_size=16).digest()
    return str(UUID(bytes=digest, version=4))


def identifiers(seed: int) -> Identifiers:
    """Orders have a UUID; fills have an entry id of 64 hex digits."""

    def fill_id(sequence: int) -> str:
        return blake2b(f"{seed}:entry:{sequence}".encode(), digest_size=32).hexdigest()

    return Identifiers(order_id=lambda number: uuid_of(seed, "order", number), fill_id=fill_id)
