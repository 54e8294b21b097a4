"""Each broker's facts stand in its own folder, and nowhere else."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.paper_broker.dialect import dialect_of
from shared.brokers import registry
from shared.brokers.registry import profile_of
from shared.domain.identity import Broker

TOP = Path(__file__).resolve().parents[4]
REGISTRY = Path("shared/brokers/registry.py")
PRODUCT = (
    *("shared", "services", "benchmarks", "migrations", "k8s", "monitoring", ".ci", "tests/contract"),
    *("docker-compose.yml", "Dockerfile", "Makefile", "pyproject.toml"),
)
MOST_EDITS = 6
"""Outside the two folders that have the broker's name."""


def named_members(source: Path) -> Iterator[tuple[str, int]]:
    """Each `Broker.MEMBER` in a file, with its line."""
    for node in ast.walk(ast.parse(source.read_text())):
        of_enum = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Broker"
        if of_enum and node.attr in Broker.__members__:
            yield node.attr, node.lineno


def lists_of_brokers() -> Iterator[Path]:
    """Each file of the product, and of the contract suite, that names every broker."""
    for root in PRODUCT:
        place = TOP / root
        for path in place.rglob("*") if place.is_dir() else [place]:
            if path.is_file() and path.suffix != ".pyc":
                words = set(re.findall(r"[a-z]+", path.read_text().lower()))
                if words.issuperset(broker.value for broker in Broker):
                    yield path.relative_to(TOP)


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


def test_a_folder_with_the_profile_of_another_broker_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copied profile whose broker was not changed would send one broker's orders to another."""
    monkeypatch.setattr("shared.brokers.okx.profile.PROFILE", profile_of(Broker.KRAKEN))
    with pytest.raises(TypeError, match=r"shared\.brokers\.okx\.profile\.PROFILE must be the profile of okx"):
        registry._profile_in_folder_of(Broker.OKX)


@pytest.mark.parametrize("broker", Broker)
def test_every_broker_has_a_paper_dialect(broker: Broker) -> None:
    """The paper broker finds the dialect by the broker's name, and it lists something to trade."""
    assert dialect_of(broker)(enforces_rate_limits=True).instruments


def test_a_dialect_that_cannot_be_called_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the constant that is wrong."""
    monkeypatch.setattr("services.paper_broker.okx.dialect.DIALECT", None)
    with pytest.raises(TypeError, match=r"services\.paper_broker\.okx\.dialect\.DIALECT must be the class"):
        dialect_of(Broker.OKX)


def test_the_steps_of_a_new_broker_name_every_file_that_lists_the_brokers() -> None:
    """CONTRIBUTING.md promises how many edits a new broker needs; a further list of brokers breaks the promise."""
    section = (TOP / "CONTRIBUTING.md").read_text().partition("### A new broker\n")[2].partition("\n### ")[0]
    steps = re.findall(r"^\d+\. `([^`]+)`", section, flags=re.MULTILINE)
    assert {step for step in steps if not step.endswith("/")} == {str(place) for place in lists_of_brokers()}
    assert [step for step in steps if step.endswith("/")] == ["k8s/brokers/"]
    assert {folder.name for folder in (TOP / "k8s/brokers").iterdir()} == {broker.value for broker in Broker}
    assert f"and {len(steps)} edits outside of them" in section
    assert len(steps) <= MOST_EDITS


def test_profiles_need_no_client_library() -> None:
    """The command line and the settings read profiles, and must not pay for ccxt or alpaca-py."""
    code = "import sys, shared.brokers.registry; print(sorted({'ccxt', 'alpaca'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=TOP, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
