"""Makes the demo's paper accounts: a master with two keys (nija's and the person's) and followers of every size."""

import random
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

import aiohttp

from services.demo.as_they_are import SpecialFollower
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
    """Keys of the master (nija's own, and the person's) and of the followers, and what they held before.

    `followers` have the first of their `follower_keys`.
    """

    master: Credentials
    person: Credentials
    plain: list[NewFollower]
    special: list[NewFollower]
    """The followers of `specials`, in the same order."""
    specials: Sequence[SpecialFollower]
    follower_keys: dict[str, list[Credentials]]
    held_before: dict[str, dict[str, Decimal]]
    """By follower, its balances."""
    coins_before: dict[str, dict[str, Decimal]]
    """By follower that has some, what it holds besides the currency in which the master trades."""

    @property
    def followers(self) -> list[NewFollower]:
        return [*self.special, *self.plain]


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
    broker: Broker,
    paper_url: str,
    followers: int,
    seed: int,
    *,
    keys_each: int = 1,
    specials: Sequence[SpecialFollower] = (),
) -> DemoAccounts:
    """Make all accounts at the paper broker: `followers` plain ones, and the special ones.

    Each follower gets `keys_each` keys. Raises LocalSystemError when the paper broker refuses.
    """
    quote = quote_currency(broker)
    plain_balances = follower_balances(followers, seed, quote)
    special_balances: dict[str, dict[str, Decimal]] = {each.name: each.balances(broker) for each in specials}
    balances = {**special_balances, **plain_balances}
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

    def new_followers(names: Iterable[str]) -> list[NewFollower]:
        return [
            NewFollower(broker=broker, follower_id=FollowerId(name), credentials=keys[name][0], row=row)
            for row, name in enumerate(names, start=1)
        ]

    own = {name: {coin: amount for coin, amount in held.items() if coin != quote} for name, held in balances.items()}
    return DemoAccounts(
        master=keys[MASTER][0],
        person=keys[MASTER][1],
        plain=new_followers(plain_balances),
        special=new_followers(special_balances),
        specials=specials,
        follower_keys={name: keys[name] for name in balances},
        held_before=balances,
        coins_before={name: coins for name, coins in own.items() if coins},
    )
