"""The configuration for a Ray cluster: valid by Ray's own schema, and true to the application."""

import importlib

import yaml
from ray.serve.schema import ServeDeploySchema

from service.auth import is_loopback, require_keys
from service.ray_app import AUTOSCALING, DEPLOYMENT
from service.settings import load_settings
from tests.deploy.dockerfile import ROOT

CONFIG = yaml.safe_load((ROOT / "deploy/ray/serve.yaml").read_text())
(APPLICATION,) = CONFIG["applications"]


def test_config_fits_the_schema_of_ray() -> None:
    assert ServeDeploySchema.model_validate(CONFIG).applications[0].route_prefix == "/"


def test_config_names_a_builder_and_settings_that_exist() -> None:
    module, name = APPLICATION["import_path"].split(":")

    assert callable(getattr(importlib.import_module(module), name))
    assert load_settings(**APPLICATION["args"]).access_log == "errors"


def test_config_asks_for_no_key_as_long_as_it_listens_on_loopback() -> None:
    settings = load_settings(**APPLICATION["args"])

    require_keys(settings, None)
    assert settings.asks_for_keys or is_loopback(CONFIG["http_options"]["host"])


def test_config_scales_the_deployment_as_the_command_does_but_keeps_two_replicas() -> None:
    (deployment,) = APPLICATION["deployments"]

    assert deployment["name"] == DEPLOYMENT
    assert deployment["autoscaling_config"] == {**AUTOSCALING, "min_replicas": 2}
