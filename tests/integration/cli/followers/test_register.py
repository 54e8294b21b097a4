"""`nija followers register` disables a follower whose key opens an account that is in nija already.

The broker is a paper OKX, which reports the id of an account.
"""

import json
from collections.abc import Iterator

import pytest

from shared.config import master_prefix
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker
from tests.contract.paper import PaperServer
from tests.integration.cli.followers.command import Nija, listed


@pytest.fixture(scope="module")
def okx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaperServer]:
    """A paper OKX."""
    server = PaperServer(Broker.OKX, tmp_path_factory.mktemp("okx"))
    yield server
    server.stop()


def variables(prefix: str, key: Credentials) -> dict[str, str]:
    assert key.passphrase is not None
    return {
        f"{prefix}_API_KEY": key.api_key.get_secret_value(),
        f"{prefix}_API_SECRET": key.api_secret.get_secret_value(),
        f"{prefix}_PASSPHRASE": key.passphrase.get_secret_value(),
    }


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_second_key_of_an_account_is_disabled_with_the_reason(okx: PaperServer, nija: Nija, form: str) -> None:
    """Bob has another key of alice's account, and carol has another key of the master's."""
    alices, bobs = okx.new_shared_account(f"alice-{form}", {"USDT": "1000"})
    masters, carols = okx.new_shared_account(f"master-{form}", {"USDT": "1000"})
    given = {"OKX_BASE_URL": okx.url, **variables(master_prefix(Broker.OKX), masters)}
    for name, key in (("ALICE", alices), ("BOB", bobs), ("CAROL", carols)):
        given |= variables(f"OKX_USER_{name}", key)
    done = nija("register", *(["--json"] if form == "json" else []), **given)
    assert done.returncode == 0, done.stderr
    reasons = {
        "bob": "the key of follower bob opens the account that follower alice has already at okx",
        "carol": "the key of follower carol opens the master's own account at okx",
    }
    if form == "json":
        refused = {each["follower"]: each["reason"] for each in json.loads(done.stdout)["refused"]}
    else:
        lines = " ".join(done.stdout.split())
        refused = {name: lines.partition(f"{name} at okx: disabled: ")[2] for name in reasons}
    assert refused.keys() == reasons.keys()
    for name, reason in reasons.items():
        assert refused[name].startswith(reason)
    statuses = {name: each["status"] for name, each in listed(nija).items()}
    assert statuses == {"alice": "active", "bob": "disabled", "carol": "disabled"}
