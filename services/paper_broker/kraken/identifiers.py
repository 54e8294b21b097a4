"""Makes ids in Kraken's form: `O3KQ2M-ABCDE-FGHIJK` for orders, `T…` for trades."""

from base64 import b32encode
from hashlib import blake2b

from shared.exchange.exchange import Identifiers


def identifiers(seed: int) -> Identifiers:
    """Ids that are the same for the same seed and number, and look as random as Kraken's."""

    def named(letter: str, sequence: int) -> str:
        digest = blake2b(f"{seed}:{letter}:{sequence}".encode(), digest_size=10).digest()
        text = letter + b32encode(digest).decode()
        return f"{text[:6]}-{text[6:11]}-{text[11:17]}"

    return Identifiers(order_id=lambda number: named("O", number), fill_id=lambda number: named("T", number))
