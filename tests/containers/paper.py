"""Starts the profile `paper` once for these tests, with more followers than it brings and with people who trade.

It has `followers` of its own (three at each broker); a few more are imported by `nija followers import`, as an
operator would do it, so that there is work to share.
"""

import json
import urllib.request
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from redis import Redis

from services.local_system.paper_accounts import quote_currency
from shared.domain.accounts.credentials import Credentials
from shared.domain.copying.open_limits import OpenLimits
from shared.domain.identity import Broker
from shared.messaging.keys import BrokerKeys
from tests.containers.docker import docker
from tests.containers.gate import POSTGRES_PORT, REDIS_PORT, gate
from tests.containers.project import Project, stages
from tests.containers.trading import MASTER_DOLLARS, Trader
from tests.containers.verdict import Ground
from tests.end_to_end.compose import read_services

PAPER: Final = [name for name, service in read_services().items() if "paper" in service["profiles"]]
STAGES: Final = stages(PAPER)
ACCOUNTS: Final = "/var/lib/nija/paper"
_DOLLARS: Final = {"paper_one": 10_000, "paper_two": 2_500, "paper_three": 50_000}
_MORE_DOLLARS: Final = {"four": 5_000, "five": 20_000, "six": 100_000, "seven": 3_000, "eight": 30_000}
OPEN_LIMITS: Final = OpenLimits(timedelta(minutes=15), margin=Decimal("0.1"), margin_of_liquid=Decimal("0.1"))
"""So wide that no open is skipped: these tests demand that every fill is copied, however long a fault lasts."""
OPEN_SETTINGS: Final = {
    "NIJA_OPEN_MAX_AGE_SECONDS": str(int(OPEN_LIMITS.max_age.total_seconds())),
    "NIJA_OPEN_PRICE_LIMIT_PERCENT": str(OPEN_LIMITS.margin * 100),
    "NIJA_OPEN_PRICE_LIMIT_LIQUID_PERCENT": str(OPEN_LIMITS.margin_of_liquid * 100),
}
WITHOUT_STRATEGY: Final = {"MULTI_BROKER_INDEPENDENT": "false"}
"""The comparison waits until all trading has ended. So the strategy's traders run, and trade nothing."""
SHARES: Final = {name: Decimal(dollars) / MASTER_DOLLARS for name, dollars in {**_DOLLARS, **_MORE_DOLLARS}.items()}


class Paper:
    """The project, and what the tests know of it."""

    def __init__(self, folder: Path) -> None:
        self.project = Project(
            "nija-test",
            "paper",
            folder,
            settings={**OPEN_SETTINGS, **WITHOUT_STRATEGY},
            added={"gate": gate("paper-redis", "paper-postgres", inside="paper", outside="outside")},
        )
        self.traders: list[Trader] = []
        self.ground: Ground

    def up(self) -> None:
        """Start everything, and wait until every service is healthy by its own check."""
        self.project.up()
        self.project.wait_healthy(STAGES)
        for broker in Broker:
            key = self.project.exec("paper-copy-engine", "cat", f"{ACCOUNTS}/{broker.value}-trader-key.json")
            url = f"http://127.0.0.1:{self.project.port(f'paper-broker-{broker.value}', 8000)}"
            self.traders.append(Trader(broker, url, Credentials.model_validate(json.loads(key))))
        redis = self.project.port("gate", REDIS_PORT)
        postgres = self.project.port("gate", POSTGRES_PORT)
        self.ground = Ground(
            paper_urls={trader.broker: trader.url for trader in self.traders},
            redis_url=f"redis://:paper@127.0.0.1:{redis}/0",
            database_url=f"postgresql://nija:paper@127.0.0.1:{postgres}/nija",
            shares=SHARES,
            nonces=self.project.folder / "kraken.journal",
            open_limits=OPEN_LIMITS,
        )
        self.ground.nonces.touch()

    def import_followers(self) -> None:
        """Make more accounts at each broker, and import their keys by the command of the user."""
        lines = []
        for trader in self.traders:
            wanted = [
                {"name": name, "balances": {quote_currency(trader.broker): str(dollars)}, "keys": 1}
                for name, dollars in _MORE_DOLLARS.items()
            ]
            made = _post(f"{trader.url}/paper/accounts/bulk", {"accounts": wanted})["accounts"]
            # Alpaca does not say what a live key may do, so the import wants to hear that these are none.
            kind = {"broker": trader.broker.value, "paper": trader.broker is Broker.ALPACA}
            lines += [json.dumps({"follower_id": account["account"], **kind, **account["keys"][0]}) for account in made]
        command = ["nija", "followers", "import", "-", "--format", "jsonl"]
        self.project.exec("paper-copy-engine", *command, given="\n".join(lines))

    def accounts_read(self) -> Mapping[Broker, int]:
        """How many followers' accounts have been read at each broker; an open is copied only for those."""
        with Redis.from_url(self.ground.redis_url, socket_timeout=10) as redis:
            return {broker: int(redis.hlen(BrokerKeys(broker).accounts)) for broker in Broker}

    def copy_nonces(self) -> None:
        """Fetch the journal of Kraken's paper broker, with every nonce that it accepted."""
        source = f"{self.project.container('paper-broker-kraken')}:{ACCOUNTS}/kraken.journal"
        docker("cp", source, str(self.ground.nonces))


def _post(url: str, content: Any) -> Any:
    request = urllib.request.Request(  # noqa: S310  loopback
        url, data=json.dumps(content).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as reply:  # noqa: S310  loopback
        return json.load(reply)
