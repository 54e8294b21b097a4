"""Tests that the grace of a process is the same in all environments, and longer than its shutdown takes."""

from pathlib import Path

import pytest
import yaml

from services.broker_worker.app import END_SECONDS
from services.broker_worker.child import FINISH_SECONDS, STOP_CHECK_SECONDS, STOP_SECONDS
from services.copy_engine.read_fills import GIVE_UP_SECONDS
from services.local_system.processes import Surroundings, api_spec, service_specs, trader_specs
from services.strategy_trader.app import CYCLE_GRACE_SECONDS
from shared.config import Settings
from shared.domain.identity import Broker
from shared.messaging.cancellation import CANCEL_AGAIN_SECONDS
from shared.presence import LAST_SIGN_SECONDS
from shared.running import GRACE_SECONDS

TOP = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((TOP / "docker-compose.yml").read_text())["services"]
AROUND = Surroundings({}, Path(), Path, Path())
STARTED = [
    *service_specs(Settings(), tuple(Broker), AROUND),
    *trader_specs(tuple(Broker), AROUND),
    api_spec(8300, AROUND),
]
SPECS = {spec.name.replace("_", "-"): spec.grace_seconds for spec in STARTED}


def of_kubernetes() -> dict[str, float]:
    """The grace of each deployment, by name."""
    found = {}
    for path in (TOP / "k8s").glob("b*/**/*.yaml"):
        for manifest in yaml.safe_load_all(path.read_text()):
            if manifest["kind"] == "Deployment":
                seconds = manifest["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
                found[manifest["metadata"]["name"]] = float(seconds)
    return found


def of_compose(prefix: str) -> dict[str, float]:
    """The grace of the services that are stages of nija."""
    return {name: float(COMPOSE[prefix + name]["stop_grace_period"].removesuffix("s")) for name in [*SPECS, "flower"]}


def test_the_grace_is_the_same_everywhere() -> None:
    """This covers `nija up`, compose (live and paper) and Kubernetes."""
    in_kubernetes = of_kubernetes()
    assert in_kubernetes.items() >= SPECS.items()
    assert of_compose("") == of_compose("paper-") == in_kubernetes


@pytest.mark.parametrize(
    ("begins_with", "needed_seconds"),
    [
        ("bookkeeper", GRACE_SECONDS),
        ("copy-engine", GRACE_SECONDS + GIVE_UP_SECONDS),
        ("master-trader", GRACE_SECONDS),
        ("broker-worker", END_SECONDS),
        # The cycle in hand, one task that loses its first cancellation, and the last sign of life.
        ("strategy-trader", CYCLE_GRACE_SECONDS + CANCEL_AGAIN_SECONDS + LAST_SIGN_SECONDS),
        # A request that is under way in a thread ends at the latest when a broker or PostgreSQL has not answered.
        ("api", GRACE_SECONDS + Settings().request_timeout_seconds),
    ],
)
def test_the_grace_is_longer_than_the_longest_end(begins_with: str, needed_seconds: float) -> None:
    """A process that limits its own shutdown is therefore never killed."""
    graces = [seconds for name, seconds in SPECS.items() if name.startswith(begins_with)]
    assert graces
    assert min(graces) > needed_seconds + 2


def test_a_workers_children_are_done_before_it_ends_itself() -> None:
    """Even if all children hang, they release their claims before the worker ends itself."""
    assert END_SECONDS > STOP_CHECK_SECONDS + 2 * STOP_SECONDS + FINISH_SECONDS + 10
