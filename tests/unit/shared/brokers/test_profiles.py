"""Each broker's facts stand in its own folder, and nowhere else."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.brokers.registry import PROFILES, profile_of
from shared.domain.identity import Broker

TOP = Path(__file__).resolve().parents[4]
REGISTRY = Path("shared/brokers/registry.py")


def named_members(source: Path) -> Iterator[tuple[str, int]]:
    """Each `Broker.MEMBER` in a file, with its line."""
    for node in ast.walk(ast.parse(source.read_text())):
        of_enum = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Broker"
        if of_enum and node.attr in Broker.__members__:
            yield node.attr, node.lineno


def test_a_broker_is_named_in_its_own_folders_and_the_registry_only() -> None:
    """A fact of one broker in a shared table would have to be found by every engineer who adds a broker."""
    wrong = []
    for root in ("shared", "services", "benchmarks"):
        for source in sorted((TOP / root).rglob("*.py")):
            place = source.relative_to(TOP)
            for member, line in named_members(source):
                own = {f"shared/brokers/{member.lower()}", f"services/paper_broker/{member.lower()}"}
                if str(place.parent) not in own and place != REGISTRY:
                    wrong.append(f"{place}:{line} names Broker.{member}")
    assert wrong == []


def test_the_walk_finds_a_name(tmp_path: Path) -> None:
    """The test above can fail: a comparison with a member is found."""
    source = tmp_path / "shared.py"
    source.write_text("def fee(broker):\n    return 0 if broker is Broker.ALPACA else 1\n")
    assert list(named_members(source)) == [("ALPACA", 2)]


@pytest.mark.parametrize("broker", Broker)
def test_every_broker_has_a_profile(broker: Broker) -> None:
    """The registry returns the profile that names this broker."""
    assert profile_of(broker).broker is broker


def test_lock_numbers_are_fixed_and_distinct() -> None:
    """Two versions of nija must hold the same advisory lock of a broker, whatever brokers each of them has."""
    assert {broker.value: profile.lock_number for broker, profile in PROFILES.items()} == {
        "coinbase": 0,
        "kraken": 1,
        "okx": 2,
        "binance": 3,
        "alpaca": 4,
    }


def test_profiles_need_no_client_library() -> None:
    """The command line and the settings read profiles, and must not pay for ccxt or alpaca-py."""
    code = "import sys, shared.brokers.registry; print(sorted({'ccxt', 'alpaca'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=TOP, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
