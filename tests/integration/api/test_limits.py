"""Each token has its own limit, which all processes of the API count together, and which holds without Redis too."""

from dataclasses import replace

import pytest
import redis

from services.api.limits import LimitReached, RequestLimits
from shared.actions.context import ActionContext
from shared.actions.tokens import add_token
from shared.config import Settings
from shared.domain.access import Role
from shared.queries.connections import Connections
from tests.support.api import running_api

NO_REDIS = "redis://127.0.0.1:1/0"


def taken(limits: RequestLimits, token_id: str, cost: int = 1) -> int:
    """How many requests are counted until one is too many, which says when to ask again."""
    for number in range(1_000):
        try:
            limits.take(token_id, cost)
        except LimitReached as error:
            return number if 1 <= error.retry_seconds <= 60 else -1
    return -1


def test_a_token_has_a_limit_of_its_own(fresh_redis_url: str) -> None:
    """Another token is not held up by it."""
    limits = RequestLimits(20, fresh_redis_url)
    assert taken(limits, "one") == 20
    assert taken(limits, "two") == 20
    assert taken(limits, "three", cost=10) == 2


def test_processes_count_together(fresh_redis_url: str) -> None:
    """A second process would otherwise double the limit."""
    limits, other = RequestLimits(20, fresh_redis_url), RequestLimits(20, fresh_redis_url)
    for _ in range(15):
        limits.take("one")
    assert taken(other, "one") == 5


def test_the_counters_are_below_nijas_own_keys_and_expire(fresh_redis_url: str) -> None:
    """The rights of a Redis user are given for these keys, and a token that is gone leaves nothing behind."""
    RequestLimits(20, fresh_redis_url).take("one")
    with redis.Redis.from_url(fresh_redis_url, decode_responses=True) as client:
        keys = client.keys("*")
        assert keys
        assert [key for key in keys if not key.startswith("nija:api:limit")] == []
        assert all(0 < client.ttl(key) <= 120 for key in keys)


def test_without_redis_a_process_counts_by_itself(fresh_redis_url: str) -> None:
    """The limit is neither lifted nor is every request refused."""
    for url in (NO_REDIS, None):
        # The windows of a process begin with the minute. Over such a begin, the first request leaves the window.
        assert 20 <= taken(RequestLimits(20, url), "one") <= 22


@pytest.mark.parametrize("has_redis", [True, False])
def test_a_client_over_its_limit_gets_429_and_learns_when_to_ask_again(
    settings: Settings, connections: Connections, context: ActionContext, *, has_redis: bool
) -> None:
    """Others are answered meanwhile. An action counts like ten questions."""
    few = settings.model_copy(update={"api_requests_per_minute": 12})
    token = add_token(context, "busy", Role.OPERATE, actor="test").text.get_secret_value()
    with running_api(few, connections) as api:
        if not has_redis:
            api.app.state.system = replace(api.system, limits=RequestLimits(12, NO_REDIS))
        assert [api.get("/api/tokens", token=token).status_code for _ in range(2)] == [403, 403]
        assert api.post("/api/followers/kraken/bob/pause", token=token).status_code == 404
        refused = next(each for _ in range(3) if (each := api.get("/api/fills", token=token)).status_code != 200)
        assert (refused.status_code, refused.json()["type"]) == (429, "urn:nija:problem:too-many-requests")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert api.get("/api/fills").status_code == 200
        assert api.get("/health", token=token).status_code == 200
