"""Makes the demo's paper accounts: a master with two keys (nija's and the person's) and followers of every size."""

import random
from decimal import Decimal
from typing import NamedTuple

import aiohttp

from services.local_system.errors import LocalSystemError
from services.local_system.paper_accounts import quote_currency as quote_currency
from shared.domain.accounts.credentials import Credentials
from shared.domain.amounts import plain
from shared.domain.identity import Broker, FollowerId
from shared.persistence.followers.import_file import NewFollower

MASTER = "master"
MASTER_DOLLARS = Decimal(100_000)
SMALLEST_DOLLARS, LARGEST_DOLLARS = 40, 250_000
EVERY_TH_HOLDS_COINS = 4


class DemoAccounts(NamedTuple):
    """Keys of the master (nija's own, and the person's) and of the followers; coins that were there before.

    `followers` have the first of their `follower_keys`.
    """

    master: Credentials
    person: Credentials
    followers: list[NewFollower]
    follower_keys: dict[str, list[Credentials]]
    coins_before: dict[str, dict[str, Decimal]]


def follower_balances(count: int, seed: int, quote: str = "USD") -> dict[str, dict[str, Decimal]]:
    """Balances by follower: log-uniform between 40 and 250,000 dollars; every fourth holds some coins besides."""
    draw = random.Random(seed)  # noqa: S311  no secret depends on it
    balances: dict[str, dict[str, Decimal]] = {}
    for number in range(count):
        ratio = LARGEST_DOLLARS / SMALLEST_DOLLARS
        dollars = Decimal(round(SMALLEST_DOLLARS * ratio ** draw.random(), 2)).quantize(Decimal("0.01"))
        held = {quote: dollars}
        if number % EVERY_TH_HOLDS_COINS == EVERY_TH_HOLDS_COINS - 1:
            held["BTC"] = Decimal(draw.randrange(10, 5_000)) / Decimal(1_000_000)
            held["ETH"] = Decimal(draw.randrange(10, 5_000)) / Decimal(100_000)
        balances[f"follower-{number + 1:04d}"] = held
    return balances


async def make_accounts(
    broker: Broker, paper_url: str, followers: int, seed: int, *, keys_each: int = 1
) -> DemoAccounts:
    """Make all accounts at the paper broker, a follower's with so many keys. Raises LocalSystemError when it refuses."""
    quote = quote_currency(broker)
    balances = follower_balances(followers, seed, quote)
    wanted = [{"name": MASTER, "balances": {quote: plain(MASTER_DOLLARS)}, "keys": 2}]
    wanted += [
        {"name": name, "balances": {currency: plain(amount) for currency, amount in held.items()}, "keys": keys_each}
        for name, held in balances.items()
    ]
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{paper_url}/paper/accounts/bulk", json={"accounts": wanted}) as reply,
    ):
        if not reply.ok:
            raise LocalSystemError(f"the paper broker did not make the accounts: {await reply.text()}")
        made = {account["account"]: account["keys"] for account in (await reply.json())["accounts"]}
    keys = {name: [Credentials.model_validate(key) for key in keys] for name, keys in made.items()}
    return DemoAccounts(
        master=keys[MASTER][0],
        person=keys[MASTER][1],
        followers=[
            NewFollower(broker=broker, follower_id=FollowerId(name), credentials=keys[name][0], row=row)
            for row, name in enumerate(balances, start=1)
        ],
        follower_keys={name: keys[name] for name in balances},
        coins_before={
            name: {currency: amount for currency, amount in held.items() if currency != quote}
            for name, held in balances.items()
        },
    )
