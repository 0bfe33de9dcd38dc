"""`docker compose up`: checked against the compose specification, and for what it promises."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from service.auth import require_keys
from service.cli import app
from service.settings import BUNDLED, BUNDLED_DEFAULT, Settings, load_settings
from tests.deploy.dockerfile import ROOT, read_stages

VARIABLE = re.compile(r"\$\{(?P<name>\w+):(?P<kind>[-+])(?P<text>[^}]*)\}")


def _resolved(**variables: str) -> str:
    """The file with variables put in, as the client does before it reads it."""

    def value(found: re.Match[str]) -> str:
        given = variables.get(found["name"], "")
        if found["kind"] == "+":
            return found["text"] if given else ""
        return given or found["text"]

    return VARIABLE.sub(value, (ROOT / "docker-compose.yml").read_text())


TEXT = _resolved()


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(TEXT)
    return loaded["services"]


def test_compose_fits_the_specification() -> None:
    compose = PyCompose.from_json(json.dumps(yaml.safe_load(TEXT)))

    compose.validate()
    assert compose.service_names() == [
        *("service", "service-gpu", "training", "prometheus", "grafana")
    ]


def test_compose_check_refuses_a_misspelled_key() -> None:
    misspelled = yaml.safe_load(TEXT.replace("    ports:", "    prots:"))

    with pytest.raises(ValueError, match="prots"):
        PyCompose.from_json(json.dumps(misspelled))


def test_compose_starts_the_service_and_its_watchers_without_a_profile(
    services: dict[str, Any],
) -> None:
    always = {name for name, service in services.items() if not service.get("profiles")}

    assert always == {"service", "prometheus", "grafana"}
    assert services["service-gpu"]["profiles"] == ["gpu"]
    assert services["training"]["profiles"] == ["training"]


def test_compose_publishes_on_loopback_only_what_a_person_opens(services: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}

    assert set(published) == {"service", "service-gpu", "grafana"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_compose_says_that_loopback_needs_no_key_and_lets_others_ask_for_one(
    services: dict[str, Any],
) -> None:
    variables = services["service"]["environment"]

    settings = load_settings(
        host="0.0.0.0",
        auth=variables["RFVAE_AUTH"],
        api_key_hashes=variables["RFVAE_API_KEY_HASHES"],
    )
    require_keys(settings, settings.host)
    assert not settings.asks_for_keys
    assert services["service-gpu"]["environment"] == variables


@pytest.mark.parametrize("name", ["service", "service-gpu"])
@pytest.mark.parametrize(
    ("variables", "folder", "repositories", "default"),
    [
        ({}, "./service/bundled", (BUNDLED,), BUNDLED_DEFAULT),
        ({"MODELS": "./mine"}, "./mine", (Path("/models"),), None),
    ],
    ids=["bundled", "mine"],
)
def test_compose_serves_the_models_that_it_is_given_or_else_the_bundled_ones(
    name: str,
    variables: dict[str, str],
    folder: str,
    repositories: tuple[Path, ...],
    default: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = yaml.safe_load(_resolved(**variables))["services"][name]
    for variable, value in service["environment"].items():
        monkeypatch.setenv(variable, value)
    started: list[Settings] = []
    monkeypatch.setattr("service.run.run", lambda settings, say: started.append(settings))
    monkeypatch.setattr("service.cli.configure_logging", lambda *_: None)

    app(shlex.split(service["command"]), standalone_mode=False)

    assert started[0].model_repository == repositories
    assert started[0].default_model == default
    assert service["volumes"] == [f"{folder}:/models:ro"]


def test_compose_names_files_and_targets_that_exist(services: dict[str, Any]) -> None:
    volumes = [volume for service in services.values() for volume in service.get("volumes", [])]
    paths = [Path(volume.split(":")[0]) for volume in volumes if volume.startswith(".")]
    targets = [service["build"]["target"] for service in services.values() if "build" in service]

    assert len(paths) == 5
    assert [path for path in paths if not (ROOT / path).is_dir()] == []
    assert set(targets) <= set(read_stages())


@pytest.mark.parametrize("name", ["service", "service-gpu", "prometheus", "grafana"])
def test_compose_gives_containers_no_more_rights_than_they_need(
    services: dict[str, Any], name: str
) -> None:
    service = services[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_compose_waits_for_requests_longer_than_the_service_does(services: dict[str, Any]) -> None:
    settings = Settings()
    wait_s = int(services["service"]["stop_grace_period"].removesuffix("s"))

    assert wait_s > settings.drain_s + settings.grace_s


def test_compose_reserves_the_gpu(services: dict[str, Any]) -> None:
    (device,) = services["service-gpu"]["deploy"]["resources"]["reservations"]["devices"]

    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


def test_grafana_opens_without_a_login_and_reports_to_nobody(services: dict[str, Any]) -> None:
    environment = services["grafana"]["environment"]

    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "true"
    assert environment["GF_ANALYTICS_REPORTING_ENABLED"] == "false"


def test_grafana_is_provisioned_with_the_prometheus_of_the_compose_file(
    services: dict[str, Any],
) -> None:
    folder = ROOT / "deploy/grafana/provisioning"
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((folder / "dashboards/rfvae.yml").read_text())["providers"]
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())

    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == config["global"]["scrape_interval"]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert Path(home).parent == Path(provider["options"]["path"])


def test_prometheus_scrapes_the_services_of_the_compose_file(services: dict[str, Any]) -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    (job,) = config["scrape_configs"]

    assert job["dns_sd_configs"][0]["names"] == [
        name for name in services if name.startswith("service")
    ]
