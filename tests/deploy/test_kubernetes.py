"""Kubernetes manifests: valid by the API's own schemas, and true to the service."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.auth import require_keys
from service.settings import Settings
from tests.deploy.dockerfile import ROOT, read_stages, script
from tests.deploy.exported import labels_of

FOLDER = ROOT / "deploy/kubernetes"
VERSION = "1.33"
NOT_OF_KUBERNETES = {"ServiceMonitor", "PrometheusRule"}
Manifest = dict[str, Any]


def _read(path: str) -> Manifest:
    loaded: Manifest = yaml.safe_load((FOLDER / path).read_text())
    return loaded


DEPLOYMENT = _read("base/deployment.yaml")
POD = DEPLOYMENT["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
INFERENCE = _read("kserve/inferenceservice.yaml")["spec"]["predictor"]
PODS = [POD, INFERENCE]


def _built(overlay: str) -> list[Manifest]:
    """What Kustomize makes of an overlay."""
    for command in (["kustomize", "build"], ["kubectl", "kustomize"]):
        if shutil.which(command[0]):
            done = subprocess.run(
                [*command, FOLDER / overlay], capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, done.stderr
            return list(yaml.safe_load_all(done.stdout))
    pytest.skip("needs `kustomize` or `kubectl`")


ALONE = {
    *("Namespace", "Deployment", "Service", "HorizontalPodAutoscaler"),
    *("PodDisruptionBudget", "NetworkPolicy"),
}


@pytest.mark.parametrize(
    ("overlay", "kinds"),
    [
        ("cpu", ALONE),
        ("gpu", ALONE),
        ("full", ALONE | {"PersistentVolumeClaim"} | NOT_OF_KUBERNETES),
    ],
)
def test_overlay_fits_the_schemas(overlay: str, kinds: set[str]) -> None:
    built = _built(overlay)

    assert {one["kind"] for one in built} == kinds
    for manifest in built:
        if manifest["kind"] not in NOT_OF_KUBERNETES:
            kubernetes_validate.validate(manifest, VERSION, strict=True)


@pytest.mark.parametrize(
    ("overlay", "repository"), [("cpu", None), ("gpu", None), ("full", "/models")]
)
def test_overlay_takes_models_from_the_image_unless_a_volume_has_them(
    overlay: str, repository: str | None
) -> None:
    (deployment,) = [one for one in _built(overlay) if one["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    variables = {one["name"]: one["value"] for one in container["env"]}

    assert variables.get("RFVAE_MODEL_REPOSITORY") == repository


def test_overlay_gives_every_selector_the_labels_of_the_pods() -> None:
    built = {one["kind"]: one["spec"] for one in _built("full") if "spec" in one}
    labels = built["Deployment"]["template"]["metadata"]["labels"]

    assert labels
    assert built["Deployment"]["selector"]["matchLabels"] == labels
    assert built["Service"]["selector"] == labels
    assert built["PodDisruptionBudget"]["selector"]["matchLabels"] == labels
    assert built["NetworkPolicy"]["podSelector"]["matchLabels"] == labels
    assert built["ServiceMonitor"]["selector"]["matchLabels"] == labels


def test_overlay_lets_pods_in_by_the_label_of_a_client_alone() -> None:
    (policy,) = [one["spec"] for one in _built("cpu") if one["kind"] == "NetworkPolicy"]
    (rule,) = policy["ingress"]
    is_client = {"key": "rfvae-client", "operator": "In", "values": ["true"]}

    assert rule["from"] == [
        {"namespaceSelector": {}, "podSelector": {"matchExpressions": [is_client]}},
        *(
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
            for name in ("monitoring", "ingress-nginx")
        ),
    ]


def test_gpu_overlay_asks_for_a_gpu_and_its_image() -> None:
    (deployment,) = [one for one in _built("gpu") if one["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]

    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["image"].startswith("rfvae/service-gpu:")


BASE = sorted(path for path in FOLDER.glob("base/*.yaml") if path.name != "kustomization.yaml")


@pytest.mark.parametrize("path", BASE, ids=lambda path: path.name)
def test_base_manifest_fits_the_schemas(path: Path) -> None:
    kubernetes_validate.validate(yaml.safe_load(path.read_text()), VERSION, strict=True)


def test_schemas_refuse_a_misspelled_key() -> None:
    wrong = {**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], "replica": 2}}

    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(wrong, VERSION, strict=True)


def test_inference_service_holds_a_pod_that_fits_the_schemas() -> None:
    replicas = {"minReplicas", "maxReplicas"}
    spec = {name: value for name, value in INFERENCE.items() if name not in replicas}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "rfvae"}, "spec": spec}

    kubernetes_validate.validate(pod, VERSION, strict=True)
    assert INFERENCE["containers"][0]["name"] == "kserve-container"


def test_kustomizations_list_every_file() -> None:
    for path in FOLDER.rglob("kustomization.yaml"):
        listed = yaml.safe_load(path.read_text())
        named = {*listed.get("resources", []), *listed.get("components", [])}
        named |= {patch["path"] for patch in listed.get("patches", [])}
        for name in named:
            assert (path.parent / name).exists(), f"{path}: {name}"
        files = {one.name for one in path.parent.glob("*.yaml")}
        assert files - named == {"kustomization.yaml"} | (files & {"adapter-values.yaml"})


@pytest.mark.parametrize("pod", PODS, ids=["deployment", "kserve"])
def test_pod_asks_each_probe_its_own_question(pod: Manifest) -> None:
    (container,) = pod["containers"]

    assert {
        name: container[f"{name}Probe"]["httpGet"]["path"]
        for name in ("startup", "liveness", "readiness")
    } == {"startup": "/startupz", "liveness": "/livez", "readiness": "/readyz"}


@pytest.mark.parametrize("pod", PODS, ids=["deployment", "kserve"])
def test_pod_gets_no_variables_that_the_service_would_take_for_settings(pod: Manifest) -> None:
    assert pod["enableServiceLinks"] is False


@pytest.mark.parametrize("pod", PODS, ids=["deployment", "kserve"])
def test_pod_runs_as_the_user_of_the_image_with_a_read_only_root(pod: Manifest) -> None:
    (container,) = pod["containers"]
    user = int(read_stages()["service"].one("USER").split(":")[0])

    assert pod["securityContext"]["runAsUser"] == user
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("pod", PODS, ids=["deployment", "kserve"])
def test_pod_sets_only_settings_that_exist_and_ends_after_them(
    pod: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    (container,) = pod["containers"]
    variables = {one["name"]: one["value"] for one in container["env"]}
    for name, value in variables.items():
        if name.startswith("RFVAE_"):
            assert name.removeprefix("RFVAE_").lower() in Settings.model_fields
            monkeypatch.setenv(name, value)
    settings = Settings()

    require_keys(settings, "0.0.0.0")
    assert pod["terminationGracePeriodSeconds"] > settings.drain_s + settings.grace_s


def test_keys_component_asks_for_keys_from_a_secret() -> None:
    (container,) = _read("keys/deployment.yaml")["spec"]["template"]["spec"]["containers"]
    auth, hashes = container["env"]

    assert auth == {"name": "RFVAE_AUTH", "value": "on"}
    assert hashes["name"] == "RFVAE_API_KEY_HASHES"
    assert set(hashes["valueFrom"]) == {"secretKeyRef"}
    assert container["name"] == CONTAINER["name"]


def _scaled_by(overlay: str) -> list[str]:
    (scaler,) = [one for one in _built(overlay) if one["kind"] == "HorizontalPodAutoscaler"]
    metrics = [metric[metric["type"].lower()] for metric in scaler["spec"]["metrics"]]
    return [one["name"] if "name" in one else one["metric"]["name"] for one in metrics]


def test_autoscaler_reads_metrics_that_are_exported_and_adapted() -> None:
    *names, _ = _scaled_by("full")
    rules = _read("monitoring/adapter-values.yaml")["rules"]["custom"]

    assert names == ["rfvae_queue_rows", "rfvae_reading_wait_seconds"]
    assert set(names) <= set(labels_of())
    assert [rule["name"]["as"] for rule in rules] == names
    for name, rule in zip(names, rules, strict=True):
        assert rule["seriesQuery"].startswith(f"{name}{{")


@pytest.mark.parametrize("overlay", ["cpu", "gpu"])
def test_autoscaler_needs_no_adapter_where_there_is_no_monitoring(overlay: str) -> None:
    assert _scaled_by(overlay) == ["cpu"]


def test_autoscaler_keeps_more_pods_than_a_disruption_may_take() -> None:
    scaler = _read("base/horizontalpodautoscaler.yaml")["spec"]
    budget = _read("base/poddisruptionbudget.yaml")["spec"]

    assert scaler["minReplicas"] > budget["maxUnavailable"]
    assert "replicas" not in DEPLOYMENT["spec"]


def test_network_policy_lets_nothing_out() -> None:
    policy = _read("base/networkpolicy.yaml")["spec"]

    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["egress"] == []


def test_service_monitor_gives_the_job_the_name_that_the_rules_know() -> None:
    (endpoint,) = _read("monitoring/servicemonitor.yaml")["spec"]["endpoints"]
    (port,) = _read("base/service.yaml")["spec"]["ports"]

    assert endpoint["port"] == port["name"]
    assert endpoint["path"] == "/metrics"
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "rfvae"}]


def test_prometheus_rule_holds_the_rules() -> None:
    folder = FOLDER / "monitoring"
    program = script("deploy/kubernetes/monitoring/make_rule.py")
    text = (folder / "prometheusrule.yaml").read_text()

    assert program.text() == text, "run `python deploy/kubernetes/monitoring/make_rule.py`"
    rules = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())
    assert yaml.safe_load(text)["spec"] == rules
