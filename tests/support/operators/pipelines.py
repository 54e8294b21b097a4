"""Reads the pipeline of a broker as `nija status` reads it."""

from redis import Redis

from shared.domain.identity import Broker
from shared.queries.pipeline import read_pipeline
from shared.queries.status import Pipeline


def pipeline_in(url: str, broker: Broker = Broker.KRAKEN) -> Pipeline:
    """What is under way at the broker, from the Redis at that URL."""
    with Redis.from_url(url, decode_responses=True) as redis:
        return read_pipeline(redis, broker)
