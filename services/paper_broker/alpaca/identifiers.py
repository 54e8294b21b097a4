"""Makes ids in Alpaca's forms: UUIDs for orders and assets, activity ids for fills."""

from hashlib import blake2b
from uuid import UUID

from shared.exchange.exchange import Identifiers


def uuid_of(*parts: object) -> str:
    """A UUID that is the same for the same parts and looks as random as Alpaca's."""
    digest = blake2b(":".join(str(part) for part in parts).encode(), digest_size=16).digest()
    return str(UUID(bytes=digest, version=4))


def identifiers(seed: int) -> Identifiers:
    """Activity ids are 17 digits, two colons and a UUID, and sort as they were made.

    Alpaca's digits are the time to the millisecond; here they count, so that the same seed gives the same ids.
    """
    return Identifiers(
        order_id=lambda number: uuid_of(seed, "order", number),
        fill_id=lambda number: f"{number:017d}::{uuid_of(seed, 'fill', number)}",
    )
