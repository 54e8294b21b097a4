"""Runs the containers of the Kubernetes manifests with `docker run`, under the constraints that the manifests state.

What kustomize does is done by tests/unit/test_kubernetes.py; here a manifest becomes one `docker run`, and its probes
become commands in the container. What only a cluster has (Services, replicas) is done by names on one Docker network.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.containers.docker import checked, docker, inspect, run
from tests.containers.project import IMAGE

Manifest = dict[str, Any]
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


@dataclass(frozen=True)
class Cluster:
    """Where the pods run: a network, and the contents of the ConfigMaps and Secrets by their names."""

    name: str
    data: Mapping[str, Mapping[str, str]]

    def start(self, manifest: Manifest) -> str:
        """Start the manifest's pod; return the container's name."""
        name = f"{self.name}-{manifest['metadata']['name']}"
        docker("run", "--detach", "--name", name, *self._options(manifest))
        return name

    def run_to_end(self, manifest: Manifest) -> None:
        """Run a Job. Raises CommandFailed when it does not end well."""
        docker("run", "--rm", *self._options(manifest))

    def _options(self, manifest: Manifest) -> list[str]:
        pod, container = pod_of(manifest), container_of(manifest)
        security = {**pod["securityContext"], **container["securityContext"]}
        # A cluster does not run the image's own health check.
        options = ["--network", self.name, "--network-alias", manifest["metadata"]["name"], "--no-healthcheck"]
        options += ["--label", f"{self.name}=pod"]
        options += ["--user", f"{security['runAsUser']}:{security['runAsGroup']}"]
        options += [f"--cap-drop={name}" for name in security["capabilities"]["drop"]]
        if security["readOnlyRootFilesystem"]:
            options.append("--read-only")
        if not security["allowPrivilegeEscalation"]:
            options += ["--security-opt", "no-new-privileges"]
        # `RuntimeDefault` is what Docker applies without being asked.
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        limit = container["resources"]["limits"]["memory"].replace("Mi", "m").replace("Gi", "g")
        options += ["--memory", limit, "--memory-swap", limit]
        if "hostname" in pod:
            options += ["--hostname", pod["hostname"]]
        for name, value in self._environment(container).items():
            options += ["--env", f"{name}={value}"]
        # A manifest's command takes the place of the image's entrypoint.
        command = [str(part) for part in container.get("command", [])]
        options += ["--entrypoint", command[0]] if command else []
        return [*options, *self._mounts(manifest), image_of(container), *command[1:]]

    def _environment(self, container: Mapping[str, Any]) -> dict[str, str]:
        found: dict[str, str] = {}
        for source in container.get("envFrom", []):
            (reference,) = source.values()
            found |= self.data[reference["name"]]
        for variable in container.get("env", []):
            if "valueFrom" in variable:
                reference = variable["valueFrom"]["secretKeyRef"]
                found[variable["name"]] = self.data[reference["name"]][reference["key"]]
            else:
                found[variable["name"]] = variable["value"]
        return found

    def _mounts(self, manifest: Manifest) -> list[str]:
        pod, container = pod_of(manifest), container_of(manifest)
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        options = []
        for mount in container.get("volumeMounts", []):
            where, of_pod = mount["mountPath"], volumes.get(mount["name"], {})
            if "emptyDir" in of_pod:
                limit = of_pod["emptyDir"].get("sizeLimit", "64Mi").replace("Mi", "m")
                # `fsGroup` owns an emptyDir, too. The mode is the image's where it has such a folder.
                options += ["--tmpfs", f"{where}:mode=2777,gid={pod['securityContext']['fsGroup']},size={limit}"]
            else:
                volume = f"{self.name}-{manifest['metadata']['name']}-{mount['name']}"
                self._give_to_group(volume, image_of(container), pod["securityContext"]["fsGroup"])
                options += ["--volume", f"{volume}:{where}{self._how_mounted(of_pod)}"]
        return options

    def _how_mounted(self, of_pod: Mapping[str, Any]) -> str:
        """A ConfigMap is read-only, and empty here. Docker would give it the mode of the image's folder."""
        if "configMap" not in of_pod:
            return ""
        assert of_pod["configMap"]["optional"], "the cluster of these tests has no such ConfigMap"
        return ":ro,nocopy"

    def _give_to_group(self, volume: str, image: str, group: int) -> None:
        """What a kubelet does with a new volume for `fsGroup`."""
        docker("volume", "create", "--label", f"{self.name}=pod", volume)
        change = f"chown 0:{group} /volume && chmod 2775 /volume"
        docker("run", "--rm", "--user", "0", "--entrypoint", "sh", "--volume", f"{volume}:/volume", image, "-c", change)

    def wait_ready(self, manifest: Manifest, container: str, prober: str, seconds: float) -> float:
        """Wait until every probe of the manifest passes; return how long it took. Raises AssertionError."""
        began_at = time.monotonic()
        probes = [container_of(manifest)[name] for name in PROBES if name in container_of(manifest)]
        assert probes, f"{container} has no probe"
        for probe in probes:
            while (problem := probe_problem(probe, manifest, container, prober)) is not None:
                state = inspect(container)["State"]
                logs = run(["docker", "logs", "--tail", "20", container])
                assert state["Running"], f"{container} ended: {state}\n{logs.stdout}{logs.stderr}"
                assert time.monotonic() < began_at + seconds, f"{container}: {problem}\n{logs.stdout}{logs.stderr}"
                time.sleep(0.5)
        return time.monotonic() - began_at


def probe_problem(probe: Mapping[str, Any], manifest: Manifest, container: str, prober: str) -> str | None:
    """Run a probe once; None when it passes. A kubelet asks over the network from outside: here `prober` does."""
    ports = {port["name"]: port["containerPort"] for port in container_of(manifest).get("ports", [])}
    host = manifest["metadata"]["name"]
    seconds = probe["timeoutSeconds"]
    if "exec" in probe:
        command = ["docker", "exec", container, *probe["exec"]["command"]]
    elif "httpGet" in probe:
        url = f"http://{host}:{ports[probe['httpGet']['port']]}{probe['httpGet']['path']}"
        ask = f"from urllib.request import urlopen; urlopen({url!r}, timeout={seconds})"
        command = ["docker", "exec", prober, "python", "-c", ask]
    else:
        address = (host, ports[probe["tcpSocket"]["port"]])
        ask = f"import socket; socket.create_connection({address!r}, {seconds})"
        command = ["docker", "exec", prober, "python", "-c", ask]
    done = run(command)
    return None if done.returncode == 0 else f"{' '.join(command)}: {done.stdout}{done.stderr}"


def pod_of(manifest: Manifest) -> Manifest:
    return dict(manifest["spec"]["template"]["spec"])


def container_of(manifest: Manifest) -> Manifest:
    (found,) = pod_of(manifest)["containers"]
    return dict(found)


def image_of(container: Mapping[str, Any]) -> str:
    """The image under test in the place of nija's; the servers' images as they are named."""
    image = str(container["image"])
    return IMAGE if image.partition(":")[0] == "nija" else image


def remove_all(name: str) -> None:
    """Remove the cluster's containers, volumes and network, and no others."""
    label = f"label={name}=pod"
    if containers := docker("ps", "--all", "--quiet", "--filter", label).split():
        docker("rm", "--force", "--volumes", *containers)
    if volumes := docker("volume", "ls", "--quiet", "--filter", label).split():
        docker("volume", "rm", *volumes)
    run(["docker", "network", "rm", name])


def published_port(container: str, inside: int) -> int:
    return int(checked(run(["docker", "port", container, str(inside)])).split("\n")[0].rpartition(":")[2])
