"""Tests that the secret box encrypts the keys that the database stores."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from shared.domain.accounts.credentials import Credentials
from shared.domain.accounts.secret_key import HOW_TO_MAKE_A_KEY
from shared.domain.identity import Broker
from shared.persistence.errors import BadSecretKey
from shared.persistence.followers.secrets import SecretBox

FULL = Credentials(
    api_key=SecretStr("the-api-key"), api_secret=SecretStr("the\nsecret"), passphrase=SecretStr("pass"), paper=True
)
PLAIN = Credentials(api_key=SecretStr("k"), api_secret=SecretStr("s"))


def new_key() -> str:
    return Fernet.generate_key().decode()


@pytest.mark.parametrize("credentials", [FULL, PLAIN])
def test_opens_what_it_sealed_with_every_part(credentials: Credentials) -> None:
    """Key, secret, passphrase and the paper flag are restored unchanged."""
    box = SecretBox(SecretStr(new_key()))
    assert box.open(Broker.OKX, "alice", box.seal(Broker.OKX, "alice", credentials)) == credentials


def test_sealed_text_shows_nothing_of_the_key() -> None:
    """The stored text contains neither key nor secret, and no two seals are equal."""
    box = SecretBox(SecretStr(new_key()))
    sealed = box.seal(Broker.KRAKEN, "alice", FULL)
    assert "the-api-key" not in sealed
    assert sealed != box.seal(Broker.KRAKEN, "alice", FULL)


@pytest.mark.parametrize(("broker", "follower_id"), [(Broker.KRAKEN, "bob"), (Broker.OKX, "alice")])
def test_a_key_moved_to_another_row_does_not_open(broker: Broker, follower_id: str) -> None:
    """The text of another follower or broker is refused, so a follower cannot trade with the key of another."""
    box = SecretBox(SecretStr(new_key()))
    with pytest.raises(BadSecretKey, match="belongs to another"):
        box.open(broker, follower_id, box.seal(Broker.KRAKEN, "alice", FULL))


def test_a_wrong_secret_key_says_which_setting_is_wrong() -> None:
    """The error names NIJA_SECRET_KEY and the follower, and contains no part of any key."""
    sealed = SecretBox(SecretStr(new_key())).seal(Broker.KRAKEN, "alice", FULL)
    with pytest.raises(BadSecretKey, match="NIJA_SECRET_KEY") as raised:
        SecretBox(SecretStr(new_key())).open(Broker.KRAKEN, "alice", sealed)
    assert "alice" in str(raised.value)
    assert sealed not in str(raised.value)


def test_rotation_keeps_the_key_and_drops_the_old_secret_key() -> None:
    """After a rotation, the new secret key alone opens the text, and the old one does not."""
    old, new = new_key(), new_key()
    sealed = SecretBox(SecretStr(old)).seal(Broker.KRAKEN, "alice", FULL)
    both = SecretBox(SecretStr(f"{new},{old}"))
    assert both.open(Broker.KRAKEN, "alice", sealed) == FULL
    rotated = both.rotate(sealed)
    assert SecretBox(SecretStr(new)).open(Broker.KRAKEN, "alice", rotated) == FULL
    with pytest.raises(BadSecretKey):
        SecretBox(SecretStr(old)).open(Broker.KRAKEN, "alice", rotated)


@pytest.mark.parametrize("text", [None, "", " , "])
def test_a_missing_secret_key_says_how_to_make_one(text: str | None) -> None:
    """Without NIJA_SECRET_KEY, the error shows the command that makes one."""
    with pytest.raises(BadSecretKey, match=r"missing.*make one with: python3 -c"):
        SecretBox(None if text is None else SecretStr(text))


def test_the_shown_command_makes_a_secret_key() -> None:
    """It runs without any package, as in a container or on a machine without nija."""
    [command] = re.findall(r'python3 -c "(.*)"', HOW_TO_MAKE_A_KEY)
    made = subprocess.run([sys.executable, "-I", "-S", "-c", command], capture_output=True, text=True, check=True)
    box = SecretBox(SecretStr(made.stdout.strip()))
    assert box.open(Broker.KRAKEN, "alice", box.seal(Broker.KRAKEN, "alice", FULL)) == FULL
    assert command in (Path(__file__).resolve().parents[5] / ".env.example").read_text()


def test_a_malformed_secret_key_is_not_repeated() -> None:
    """The error describes the right form and does not show the wrong value."""
    with pytest.raises(BadSecretKey, match="malformed") as raised:
        SecretBox(SecretStr("my-password-123"))
    assert "my-password-123" not in str(raised.value)
