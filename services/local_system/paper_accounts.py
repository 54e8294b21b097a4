"""Makes the paper accounts for `nija up --paper`, a master and a few followers, and keeps their keys.

The result is the variables that name the accounts, as a user would write them into `.env`. The master also gets a
second key, in a file of its own, for the person who trades. Nonces only grow, so a person that used nija's key would
make it unusable for nija.
"""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

from services.local_system.embedded import write_private
from services.local_system.errors import LocalSystemError
from shared.brokers.registry import profile_of
from shared.config import master_prefix
from shared.domain.identity import Broker

_MASTER_DOLLARS: Final = "100000"
_FOLLOWERS: Final = {"paper_one": "10000", "paper_two": "2500", "paper_three": "50000"}
"""By follower id, the US dollars at the start."""
_ANSWER_SECONDS: Final = 10.0


def quote_currency(broker: Broker) -> str:
    """The quote currency of this broker's pairs, which its accounts hold as dollars."""
    return profile_of(broker).quote_currency


def trader_key_file(folder: Path, broker: Broker) -> Path:
    """The JSON file with the key that a person uses to trade the master account (`api_key`, `api_secret` and so on)."""
    return folder / f"{broker.value}-trader-key.json"


def paper_variables(broker: Broker, base_url: str, keys_file: Path) -> dict[str, str]:
    """Return the variables of the accounts at this paper broker. The first call makes the accounts.

    Blocks. Raises LocalSystemError when the paper broker no longer knows the accounts, or knows other ones.
    """
    if keys_file.exists():
        kept: dict[str, str] = json.loads(keys_file.read_text())
        return kept
    variables: dict[str, str] = {}
    cash = quote_currency(broker)
    accounts = [("master", master_prefix(broker), _MASTER_DOLLARS, 2)]
    accounts += [(name, f"{broker.name}_USER_{name.upper()}", dollars, 1) for name, dollars in _FOLLOWERS.items()]
    for name, variable, dollars, keys in accounts:
        reply = _post(f"{base_url}/paper/accounts", {"name": name, "balances": {cash: dollars}, "keys": keys})
        # `api_key`, `api_secret` and, with OKX, `passphrase`. In capitals they are parts of the variables' names.
        variables |= {f"{variable}_{part.upper()}": text for part, text in reply["keys"][0].items()}
        for key in reply["keys"][1:]:
            write_private(trader_key_file(keys_file.parent, broker), json.dumps(key, indent=1))
    write_private(keys_file, json.dumps(variables, indent=1))
    return variables


def _post(url: str, content: dict[str, Any]) -> Any:
    request = urllib.request.Request(  # noqa: S310 - our own paper broker, http on loopback
        url, data=json.dumps(content).encode(), headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as reply:  # noqa: S310
            return json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            raise LocalSystemError(
                f"the paper broker refused to make the account {content['name']!r} ({error.code}: "
                f"{error.read(500).decode(errors='replace')}): remove `paper` in the data folder to start again"
            ) from None
    except (OSError, ValueError) as error:
        raise LocalSystemError(f"the paper broker at {url} did not answer: {error}") from None
