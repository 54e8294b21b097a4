"""Paper accounts for `nija up --paper`: a master and a few followers, made once; their keys are kept.

In: the paper broker's URL. Out: the variables that name the accounts, as a user would write them into `.env`; and
a second key of the master in a file of its own, for the person who trades. (Nonces only grow: a person who used
nija's key would spoil it for nija.)
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
"""Follower id → US dollars at the start."""
_ANSWER_SECONDS: Final = 10.0


def quote_currency(broker: Broker) -> str:
    """What pairs of this broker are quoted in, and its accounts hold as dollars."""
    return profile_of(broker).quote_currency


def trader_key_file(folder: Path, broker: Broker) -> Path:
    """Where the key is kept with which a person trades the master account: JSON, `api_key`, `api_secret` and so on."""
    return folder / f"{broker.value}-trader-key.json"


def paper_variables(broker: Broker, base_url: str, keys_file: Path) -> dict[str, str]:
    """Return the variables of the accounts at this paper broker, making the accounts at the first call.

    Blocks. Raises LocalSystemError when the paper broker does not know the accounts any more, or knows other ones.
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
        # `api_key`, `api_secret`, and with OKX `passphrase`: the variables' names are theirs in capitals.
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
                f"{error.read(500).decode(errors='replace')}): remove `paper` in the data folder to begin anew"
            ) from None
    except (OSError, ValueError) as error:
        raise LocalSystemError(f"the paper broker at {url} did not answer: {error}") from None
