"""Tests that the Kubernetes manifests are valid and safe, and start what `nija up` starts.

Kustomize is not installed on every machine, so the few features that the manifests use are implemented here. With a
kubectl, its result is compared with this one.
"""

import copy
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from services.local_system.processes import Surroundings, api_spec, service_specs, trader_specs
from shared.config import Settings, load_settings, master_prefix
from shared.domain.identity import Broker

TOP = Path(__file__).resolve().parents[2]
FOLDER = TOP / "k8s"
EXAMPLE = FOLDER / "overlays" / "example"
OLDEST_VERSION = "1.30"
SECRETS = {
    "nija-servers",
    "nija-secret-key",
    "nija-flower",
    "nija-api",
    "followers",
    *(f"master-{b.value}" for b in Broker),
}
Manifest = dict[str, Any]


def rendered(folder: Path) -> list[Manifest]:
    """The manifests that `kubectl kustomize` prints for a folder that uses only the features below."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert kustomization.keys() <= {"apiVersion", "kind", "resources", "namespace", "labels", "images"}
    found: list[Manifest] = []
    for resource in kustomization["resources"]:
        path = folder / resource
        found += rendered(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    for manifest in found:
        if kustomization.get("namespace") and manifest["kind"] != "Namespace":
            manifest["metadata"]["namespace"] = kustomization["namespace"]
        for labels in kustomization.get("labels", []):
            # includeTemplates must be missing. It would also label the volume claims, which cannot be changed later.
            assert labels.keys() == {"pairs"}
            manifest["metadata"].setdefault("labels", {}).update(labels["pairs"])
        for container in containers(manifest):
            for image in kustomization.get("images", []):
                assert image.keys() == {"name", "newTag"}
                if container["image"].partition(":")[0] == image["name"]:
                    container["image"] = f"{image['name']}:{image['newTag']}"
    return found


def pod(manifest: Manifest) -> Manifest:
    """The specification of the pod, or empty for a manifest without pods."""
    specification: Manifest = manifest.get("spec", {}).get("template", {}).get("spec", {})
    return specification


def containers(manifest: Manifest) -> list[Manifest]:
    return [*pod(manifest).get("containers", []), *pod(manifest).get("initContainers", [])]


def by_name(manifests: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    named = {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in manifests}
    assert len(named) == len(manifests)
    return named


ALL = by_name(rendered(EXAMPLE))
WORKLOADS = {name: manifest for name, manifest in ALL.items() if pod(manifest)}
STAGES = [
    manifest for (kind, name), manifest in WORKLOADS.items() if kind == "Deployment" and not name.startswith("flower")
]


def deployment(name: str) -> Manifest:
    return ALL["Deployment", name]


@pytest.mark.parametrize("version", [OLDEST_VERSION, kubernetes_validate.latest_version()])
def test_every_manifest_is_valid(version: str) -> None:
    """The validation is strict: a misspelt field is an error and not ignored."""
    for manifest in ALL.values():
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_misspelt_field_would_be_found() -> None:
    """The validation can fail."""
    wrong = copy.deepcopy(deployment("copy-engine"))
    wrong["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, OLDEST_VERSION, strict=True)


def test_kubectl_makes_the_same_of_them() -> None:
    """If kubectl is installed, its kustomize gives the manifests that the other tests check."""
    try:
        done = subprocess.run(
            ["kubectl", "kustomize", str(EXAMPLE)], capture_output=True, text=True, check=False, timeout=60
        )
    except FileNotFoundError:
        pytest.skip("there is no kubectl")
    if done.returncode and "kustomiz" not in done.stderr:
        pytest.skip(f"this kubectl does not work: {done.stderr[:200]}")
    assert done.returncode == 0, done.stderr
    assert by_name(list(yaml.safe_load_all(done.stdout))) == ALL


def test_each_broker_has_a_master_a_trader_and_a_worker_of_its_own() -> None:
    """There is one folder for each broker. They differ in the name only, and labels show the broker."""
    for broker in Broker:
        named = by_name(rendered(FOLDER / "brokers" / broker.value))
        assert named.keys() == {
            ("Deployment", f"master-trader-{broker.value}"),
            ("Deployment", f"strategy-trader-{broker.value}"),
            ("Deployment", f"broker-worker-{broker.value}"),
        }
        for manifest in named.values():
            for labels in (manifest["metadata"]["labels"], manifest["spec"]["selector"]["matchLabels"]):
                assert labels["nija/broker"] == broker.value
        for file in ("master-trader.yaml", "strategy-trader.yaml", "broker-worker.yaml"):
            text = (FOLDER / "brokers" / broker.value / file).read_text()
            assert text == (FOLDER / "brokers" / "kraken" / file).read_text().replace("kraken", broker.value)


def test_the_stages_are_started_as_nija_up_starts_them(tmp_path: Path) -> None:
    """The modules and options are the same as on one machine."""
    around = Surroundings({}, tmp_path, lambda name: tmp_path / name, tmp_path)
    settings = load_settings({"NIJA_ENV_FILE": "", "NIJA_CONFIG_FILE": ""})
    brokers = list(Broker)
    started = [
        *service_specs(settings, brokers, around),
        *trader_specs(brokers, around),
        api_spec(8300, around),
    ]
    specs = {spec.name.replace("_", "-"): list(spec.command)[3:] for spec in started}
    # In a pod it listens for the Service, and not on loopback.
    specs["api"][1:1] = ["--address", "0.0.0.0"]  # noqa: S104
    assert {manifest["metadata"]["name"] for manifest in STAGES} == specs.keys()
    for name, command in specs.items():
        own = containers(deployment(name))[0]["command"]
        assert (own if own[0] == "celery" else own[3:]) == command
    assert deployment("copy-engine")["spec"]["replicas"] == 2


def test_liveness_is_the_age_of_the_heartbeat_file(tmp_path: Path) -> None:
    """Each stage's own probe runs. It accepts a new file and rejects an old or missing file."""
    file = tmp_path / "heartbeat"
    for manifest in STAGES:
        (container,) = containers(manifest)
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            command = container[probe]["exec"]["command"]
            assert command[:4] == ["python", "-P", "-m", "shared.observability.heartbeat"]
            assert command[-1] == "/tmp/heartbeat"
            assert ("--alive" in command) is (probe != "readinessProbe")
        assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]
    command = [sys.executable, *containers(deployment("bookkeeper"))[0]["livenessProbe"]["exec"]["command"][1:-1]]

    def code() -> int:
        return subprocess.run([*command, str(file)], check=False, capture_output=True, timeout=20).returncode

    assert code() == 1
    file.touch()
    assert code() == 0
    long_ago = time.time() - 3600
    os.utime(file, (long_ago, long_ago))
    assert code() == 1


def test_only_readiness_asks_whether_a_process_can_do_its_work(tmp_path: Path) -> None:
    """A missing PostgreSQL must not restart a container: its process is alive but not ready."""
    file = tmp_path / "heartbeat"
    file.write_text("PostgreSQL does not answer")
    (container,) = containers(deployment("bookkeeper"))
    codes = {}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        command = [sys.executable, *container[probe]["exec"]["command"][1:-1], str(file)]
        codes[probe] = subprocess.run(command, check=False, capture_output=True, timeout=20).returncode
    assert codes == {"startupProbe": 0, "livenessProbe": 0, "readinessProbe": 1}


def secret_references(manifest: Manifest) -> set[str]:
    names = set()
    for container in containers(manifest):
        names |= {source["secretRef"]["name"] for source in container.get("envFrom", []) if "secretRef" in source}
        for variable in container.get("env", []):
            if "valueFrom" in variable:
                names.add(variable["valueFrom"]["secretKeyRef"]["name"])
            else:
                assert not variable["name"].endswith(("KEY", "SECRET", "PASSWORD", "AUTH", "URL")), variable
    return names


def test_secrets_are_referred_to_and_documented_and_not_here() -> None:
    """The manifests contain no Secret. The documentation has a command for each Secret that they refer to."""
    assert not [name for name in ALL if name[0] == "Secret"]
    wanted = set().union(*(secret_references(manifest) for manifest in WORKLOADS.values()))
    assert wanted == SECRETS
    documented = (TOP / "docs" / "deployment.md").read_text()
    for name in wanted - {f"master-{broker.value}" for broker in Broker}:
        assert f"create secret generic {name} " in documented
    for broker in Broker:
        assert f"create secret generic master-{broker.value} " in documented
        assert f"{master_prefix(broker)}_API_KEY" in documented


def test_a_process_is_given_no_key_that_it_does_not_need() -> None:
    """A master's key goes to its master trader and its strategy trader. The secret key goes where keys are encrypted."""
    for (_, name), manifest in WORKLOADS.items():
        wanted = secret_references(manifest) - {"nija-servers"}
        match name.split("-"):
            case ["master", "trader", broker]:
                assert wanted == {f"master-{broker}"}
            case ["strategy", "trader", broker]:
                assert wanted == {f"master-{broker}", "nija-secret-key"}
            case ["broker", "worker", _]:
                assert wanted == {"nija-secret-key"}
            case ["followers"]:
                assert wanted == {"nija-secret-key", "followers"}
            case ["flower"]:
                assert wanted == {"nija-flower"}
            case ["api"]:
                assert wanted == {"nija-api"}
            case _:
                assert wanted == set(), name


def test_pods_may_do_no_more_than_they_need() -> None:
    """Pods meet the Pod Security Standard `restricted`, with a read-only root, no token and a memory limit."""
    for (_, name), manifest in WORKLOADS.items():
        specification = pod(manifest)
        assert specification["automountServiceAccountToken"] is False
        assert specification["enableServiceLinks"] is False, name
        assert specification["securityContext"]["runAsNonRoot"] is True
        assert specification["securityContext"]["runAsUser"] > 0
        assert specification["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(manifest):
            assert container["securityContext"] == {
                "readOnlyRootFilesystem": True,
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]


def test_the_images_user_is_the_pods_user() -> None:
    """The user of the Dockerfile owns its folders, and pods of its image run as this user."""
    assert "\nUSER 10001:10001\n" in (TOP / "Dockerfile").read_text()
    for manifest in WORKLOADS.values():
        if containers(manifest)[0]["image"].startswith("nija:"):
            assert pod(manifest)["securityContext"]["runAsUser"] == 10001


def test_the_settings_are_settings() -> None:
    """Each name in the ConfigMap is known and its value is valid. All brokers of the overlay are enabled."""
    values: Mapping[str, str] = ALL["ConfigMap", "nija-settings"]["data"]
    assert values.keys() <= {f"NIJA_{field.upper()}" for field in Settings.model_fields}
    settings = load_settings({**values, "NIJA_ENV_FILE": "", "NIJA_CONFIG_FILE": ""})
    assert set(settings.brokers) == {manifest["metadata"]["labels"].get("nija/broker") for manifest in STAGES} - {None}


def test_redis_keeps_every_write_and_forgets_nothing() -> None:
    """The options are those of the compose file. Another test runs that Redis."""
    (container,) = containers(ALL["StatefulSet", "redis"])
    command = container["command"][-1]
    for option in ("--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction", "--requirepass"):
        assert option in command
    compose = yaml.safe_load((TOP / "docker-compose.yml").read_text())["services"]["redis"]["command"][-1]
    assert command.split("--dir")[0].strip() == compose.split("--requirepass")[0].strip()
