"""Brings the followers table in line with the followers that the environment names."""

from collections.abc import Sequence

from shared.actions.context import ActionContext
from shared.actions.same_account import judge_keys
from shared.domain.accounts.credentials import EnvironmentFollower
from shared.persistence.followers.environment import Key as Key
from shared.persistence.followers.environment import Registration as Registration


def register_followers(context: ActionContext, followers: Sequence[EnvironmentFollower]) -> Registration:
    """Store the followers of the environment, with their keys encrypted; `followers` is the whole list.

    A changed key is taken over only if it opens the same account; `refused` of the result has the others. A follower
    that was named before and is not in the list any more is disabled. The actor in the audit is
    `environment`, because the variables decide and not the operator who runs this. Raises FollowerTaken, BadSecretKey,
    RedisUnavailable, RedisUnusable, RedisError, DatabaseUnavailable.
    """
    brokers = {follower.broker for follower in followers} | {record.broker for record in context.store.all()}
    context.require_redis(brokers)
    return context.store.register_environment(followers, announce=context.announce, judge=judge_keys(context))
