"""Tests which Redis and which brokers a Flower watches, and when it refuses to start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.flower.app import watched
from shared.config import ConfigurationError, load_settings
from shared.domain.identity import Broker

SHARED = "redis://:hunter2@127.0.0.1:1/0"
NOTHING = {"NIJA_ENV_FILE": "", "NIJA_CONFIG_FILE": ""}


def test_by_default_it_watches_all_brokers_that_share_a_redis() -> None:
    """A broker with a Redis of its own is left out."""
    settings = load_settings({**NOTHING, "REDIS_URL": SHARED, "OKX_REDIS_URL": "redis://127.0.0.1:2/0"})
    assert watched(settings, ()) == (SHARED, tuple(broker for broker in Broker if broker is not Broker.OKX))
    assert watched(settings, (Broker.OKX,)) == ("redis://127.0.0.1:2/0", (Broker.OKX,))


def test_brokers_on_different_servers_are_refused() -> None:
    """One Flower watches one Redis: the text names both brokers, and shows no password."""
    settings = load_settings({**NOTHING, "REDIS_URL": SHARED, "OKX_REDIS_URL": "redis://127.0.0.1:2/0"})
    with pytest.raises(ConfigurationError, match=r"--broker: kraken and okx .* second Flower") as refused:
        watched(settings, (Broker.KRAKEN, Broker.OKX))
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "variables", "named"),
    [
        ([], {"REDIS_URL": SHARED}, "NIJA_FLOWER_BASIC_AUTH is missing"),
        ([], {"REDIS_URL": SHARED, "NIJA_FLOWER_BASIC_AUTH": "hunter2"}, "NIJA_FLOWER_BASIC_AUTH should be"),
        ([], {"REDIS_URL": SHARED, "NIJA_FLOWER_BASIC_AUTH": "name:"}, "NIJA_FLOWER_BASIC_AUTH should be"),
        ([], {"NIJA_FLOWER_BASIC_AUTH": "name:hunter2"}, "REDIS_URL is missing"),
        (["--broker", "kracken"], {"REDIS_URL": SHARED}, "--broker: unknown broker"),
        (["--port", "0"], {"REDIS_URL": SHARED}, "--port must be"),
    ],
)
def test_it_does_not_start_without_what_it_needs(
    arguments: list[str], variables: dict[str, str], named: str, tmp_path: Path
) -> None:
    """Exit code 2 and the setting's name, above all without a password; no secret is shown."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "services.flower.app", *arguments],
        env={"PATH": os.environ["PATH"], **NOTHING, **variables},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert named in done.stderr
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr
