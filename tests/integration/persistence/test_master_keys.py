"""The key of a master account is stored sealed, and opens for this account only."""

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy import Engine, text

from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker, FollowerId, MasterAccount, mailbox_of_master
from shared.persistence.errors import BadSecretKey
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.strategy.keys import MasterKeys

MAIN, ALPHA = MasterAccount("main"), MasterAccount("alpha")
MAILBOX = mailbox_of_master(MAIN)
KEY = Credentials(api_key=SecretStr("the-api-key"), api_secret=SecretStr("the-api-secret"))
OTHER = Credentials(api_key=SecretStr("another-key"), api_secret=SecretStr("another-secret"))


@pytest.fixture
def box() -> SecretBox:
    """A secret key of this test."""
    return SecretBox(SecretStr(Fernet.generate_key().decode()))


def test_a_worker_gets_the_last_key_that_was_stored(engine: Engine, box: SecretBox) -> None:
    """The trader stores it at each start. Followers and unknown accounts are left out."""
    keys = MasterKeys(engine, box)
    keys.keep(Broker.KRAKEN, MAIN, OTHER)
    keys.keep(Broker.KRAKEN, MAIN, KEY)
    asked = [FollowerId("alice"), MAILBOX, mailbox_of_master(ALPHA)]
    assert keys.of_mailboxes(Broker.KRAKEN, asked) == {MAILBOX: KEY}
    assert keys.of_mailboxes(Broker.OKX, asked) == {}
    assert keys.of_mailboxes(Broker.KRAKEN, [FollowerId("alice")]) == {}


def test_the_database_has_no_key_in_clear(engine: Engine, box: SecretBox) -> None:
    """Neither the key nor its secret is in the table."""
    MasterKeys(engine, box).keep(Broker.KRAKEN, MAIN, KEY)
    with engine.connect() as connection:
        stored = str(connection.execute(text("SELECT * FROM master_keys")).all())
    assert "the-api" not in stored


def test_a_key_of_another_account_or_another_secret_does_not_open(engine: Engine, box: SecretBox) -> None:
    """The error names the account, and nothing of the key."""
    keys = MasterKeys(engine, box)
    keys.keep(Broker.KRAKEN, MAIN, KEY)
    with engine.begin() as connection:
        connection.execute(text("UPDATE master_keys SET master_account = 'alpha'"))
    found = keys.of_mailboxes(Broker.KRAKEN, [mailbox_of_master(ALPHA)])[mailbox_of_master(ALPHA)]
    assert isinstance(found, BadSecretKey)
    assert "master:alpha" in str(found)
    stranger = MasterKeys(engine, SecretBox(SecretStr(Fernet.generate_key().decode())))
    assert isinstance(stranger.of_mailboxes(Broker.KRAKEN, [mailbox_of_master(ALPHA)]).popitem()[1], BadSecretKey)
