"""Makes ids of orders and trades in Binance's form: whole numbers that only grow."""

from shared.exchange.exchange import Identifiers

_FIRST_ORDER = 30_000_000_000
_FIRST_TRADE = 4_000_000_000


def identifiers(seed: int) -> Identifiers:
    """Numbers that only grow, as those of one symbol do at Binance; the seed moves where they begin."""
    offset = seed % 1_000 * 1_000_000
    return Identifiers(
        order_id=lambda number: str(_FIRST_ORDER + offset + number),
        fill_id=lambda number: str(_FIRST_TRADE + offset + number),
    )
