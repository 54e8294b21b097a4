"""Writes the instruments that the broker lists into Redis, where the other stages read them."""

from collections.abc import Mapping

from redis.asyncio import Redis
from redis.typing import EncodableT, FieldT

from shared.domain.instrument import Instrument
from shared.domain.symbol import Symbol
from shared.messaging.keys import BrokerKeys


async def list_instruments(redis: Redis, keys: BrokerKeys, instruments: Mapping[Symbol, Instrument]) -> None:
    """Replace the hash `instruments` (symbol → Instrument) in one step; what is no longer listed goes.

    An empty listing is an answer that no broker means, so it leaves the hash as it is.
    """
    if not instruments:
        return
    listing: dict[FieldT, EncodableT] = {
        symbol: instrument.model_dump_json() for symbol, instrument in instruments.items()
    }
    async with redis.pipeline(transaction=True) as pipeline:
        pipeline.delete(keys.instruments)
        pipeline.hset(keys.instruments, mapping=listing)
        await pipeline.execute()
