"""Makes ids of orders and bills in OKX's form: digits that only grow.

Pages of OKX's lists are cut by these ids, so a later order or fill must have the higher one.
"""

from hashlib import blake2b

from shared.exchange.exchange import Identifiers

_FIRST_ORDER = 1_500_000_000_000_000_000
_FIRST_BILL = 1_600_000_000_000_000_000
_STEP = 4_096


def identifiers(seed: int) -> Identifiers:
    """Ids of 19 digits that are the same for the same seed and number, with gaps as OKX's have."""

    def named(first: int, letter: str, sequence: int) -> str:
        digest = blake2b(f"{seed}:{letter}:{sequence}".encode(), digest_size=2).digest()
        return str(first + sequence * _STEP + int.from_bytes(digest, "big") % _STEP)

    return Identifiers(
        order_id=lambda number: named(_FIRST_ORDER, "order", number),
        fill_id=lambda number: named(_FIRST_BILL, "bill", number),
    )
