"""The service on Ray Serve: `serve run service.ray_app:build` or `serve run deploy/ray/serve.yaml`.

Every replica is the whole application with its own models, queue and batches; Ray adds and removes
replicas by the requests under way, and starts one anew that has died (extra `ray`).
"""

from __future__ import annotations

from typing import Any, Final

import ray
from fastapi import FastAPI
from ray import serve
from ray.serve import Application

from service.api.call import Service
from service.app import create_app
from service.auth import require_keys
from service.observability.logging import configure_logging
from service.settings import Settings, load_settings

DEPLOYMENT: Final = "rfvae"
AUTOSCALING: Final = {
    "min_replicas": 1,
    "max_replicas": 8,
    "target_ongoing_requests": 32,  # half a batch (RFVAE_MAX_BATCH_ROWS); more of them wait
    "upscale_delay_s": 10,
    "downscale_delay_s": 300,
}
# Requests beyond a replica's share wait in Ray, where nobody answers 429: so let them come.
MOST_ONGOING: Final = 4096
ANSWERS: Final = {"max_ongoing_requests": MOST_ONGOING, "graceful_shutdown_timeout_s": 60}


def build(options: dict[str, Any]) -> Application:
    """The application; `options` are settings without the prefix, and win over RFVAE_ variables.

    Raises:
        SettingsError: an option is unknown or out of its range, or nothing says who may ask.
    """
    _settings(options)  # here, so that a mistake ends the command and not each replica

    def app() -> FastAPI:
        settings = settings_of_replica(options, _assigned_cores())
        configure_logging(settings.log_format, settings.log_level)
        return create_app(settings)

    replica = serve.ingress(app)(Replica)
    return serve.deployment(
        replica, name=DEPLOYMENT, autoscaling_config=AUTOSCALING, **ANSWERS
    ).bind()


class Replica:
    """What Ray asks of a replica beside its answers."""

    app: FastAPI  # Ray sets it

    async def check_health(self) -> None:
        """Waits for the models; a replica gets no request before this has answered once.

        Raises:
            ServiceError: they cannot be loaded; Ray starts the replica anew.
        """
        service: Service = self.app.state.service
        failure = await service.lifecycle.settled()
        if failure is not None:
            raise failure


def settings_of_replica(options: dict[str, Any], cores: float) -> Settings:
    """The settings of this machine, with one lane and one picture thread for each core of Ray's."""
    settings = _settings(options)
    own = max(1, int(cores))
    chosen = {name: own for name in ("lanes", "image_threads") if getattr(settings, name) == 0}
    return settings.model_copy(update=chosen)


def _settings(options: dict[str, Any]) -> Settings:
    settings = load_settings(**options)
    require_keys(settings, None)  # Ray listens, and may do so on every node's address
    return settings


def _assigned_cores() -> float:
    return float(ray.get_runtime_context().get_assigned_resources().get("CPU", 1.0))
