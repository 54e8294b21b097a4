"""Starts a paper broker in a process of its own, and calls its own API under /paper/."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from pydantic import SecretStr

from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker

START_SECONDS = 60.0


class PaperServer:
    """One running paper broker."""

    def __init__(self, broker: Broker, folder: Path, *options: str, shows_identity: bool = True) -> None:
        """`shows_identity`: whether keys of new accounts show the broker's own id of the account."""
        self._shows_identity = shows_identity
        port_file = folder / f"{broker.value}.port"
        self._log = (folder / f"{broker.value}.log").open("wb")
        command = [sys.executable, "-m", "services.paper_broker.app", "--broker", broker.value]
        self._process = subprocess.Popen(
            [*command, "--port", "0", "--port-file", str(port_file), "--seed", "7", *options],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + START_SECONDS
        while not (port_file.exists() and port_file.read_text().strip()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"the paper broker did not start: {Path(self._log.name).read_text()}")
            time.sleep(0.02)
        self.url = f"http://127.0.0.1:{port_file.read_text().strip()}"

    def stop(self) -> None:
        """End the process; a second call does nothing."""
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait(10)
        self._log.close()

    def ask(self, method: str, path: str, document: Any = None) -> Any:
        body = None if document is None else json.dumps(document).encode()
        request = Request(f"{self.url}/paper/{path}", data=body, method=method)  # noqa: S310  # our own server
        with urlopen(request, timeout=10) as response:  # noqa: S310  # our own server
            return json.loads(response.read())

    def new_account(self, name: str, balances: dict[str, str], permissions: tuple[str, ...] = ()) -> Credentials:
        """Create an account with one key and return the key."""
        description: dict[str, Any] = {"name": name, "balances": balances, "keys": 1}
        if permissions:
            description["permissions"] = list(permissions)
        (key,) = self._keys(description)
        return key

    def new_shared_account(self, name: str, balances: dict[str, str]) -> tuple[Credentials, Credentials]:
        """Create an account with two keys and return them."""
        one, other = self._keys({"name": name, "balances": balances, "keys": 2})
        return one, other

    def _keys(self, description: dict[str, Any]) -> list[Credentials]:
        return [
            Credentials(
                api_key=SecretStr(key["api_key"]),
                api_secret=SecretStr(key["api_secret"]),
                passphrase=SecretStr(key["passphrase"]) if "passphrase" in key else None,
            )
            for key in self.ask("POST", "accounts", {**description, "shows_identity": self._shows_identity})["keys"]
        ]

    def fault(self, kind: str, **parameters: Any) -> None:
        """Switch a fault on; it hits once unless `count` says otherwise."""
        self.ask("POST", "faults", {"kind": kind, "count": 1, **parameters})

    def pause(self) -> None:
        """Let all counted requests be forgotten, as after a long pause. The limits stay in force."""
        self.ask("DELETE", "limits")

    def pin_price(self, symbol: str, price: str) -> None:
        self.ask("POST", "price", {"symbol": symbol, "price": price})

    def silence(self, symbol: str, first_minute: int, last_minute: int) -> None:
        """Let nothing be traded in these minutes since 1970."""
        self.ask("POST", "quiet", {"symbol": symbol, "first_minute": first_minute, "last_minute": last_minute})

    def orders_of(self, account: str) -> list[dict[str, Any]]:
        """The account's orders in the broker's own log: the ground truth."""
        orders: list[dict[str, Any]] = []
        since = 0
        while True:
            page = self.ask("GET", f"orders?since_sequence={since}&limit=1000")
            if not page["orders"]:
                return [order for order in orders if order["account"] == account]
            orders += page["orders"]
            since = page["next_since_sequence"]
