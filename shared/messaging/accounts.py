"""Writes a reading of an account into Redis: the whole reading, its small summary and its time, in one step."""

from redis.asyncio.client import Pipeline

from shared.domain.accounts.snapshot import AccountSnapshot, AccountSummary
from shared.domain.identity import FollowerId
from shared.messaging.keys import BrokerKeys


def add_account(pipeline: Pipeline, keys: BrokerKeys, follower_id: FollowerId, account: AccountSnapshot) -> None:
    """Add the commands to a transaction. A summary without its reading would be a wrong equity."""
    pipeline.hset(keys.accounts, follower_id, account.model_dump_json())
    pipeline.hset(keys.account_summaries, follower_id, AccountSummary.of(account).model_dump_json())
    pipeline.zadd(keys.account_ages, {follower_id: account.taken_at.timestamp()})
