"""What `rfvae-serve serve` says once the models are ready: where, and what to try."""

from importlib.metadata import version

from service.models.artifact import Manifest
from service.models.registry import Registry
from service.runtime.threads import LanePlan


def welcome(registry: Registry, url: str, *, processes: int = 1) -> str:
    """Several lines for a terminal; the commands work with the default model."""
    model = registry.get()
    n_relevant = len(model.space.relevant_dims)
    row = ",".join("0" * n_relevant)
    plan = model.engine.plan
    shared = f" in each of {processes} processes" if processes > 1 else ""
    return (
        f"rfvae {version('rfvae')} serves `{model.name}` version {model.version} ({n_relevant} "
        f"relevant of {model.space.latent_dim} dimensions) on {model.engine.providers[0]} "
        f"with {_lanes(plan)}{shared}\n"
        f"Address  {url}   routes {url}/docs   stop with Ctrl-C\n"
        f"Try\n{_examples(url, model.manifest, row)}"
    )


def _lanes(plan: LanePlan) -> str:
    lanes = "1 lane" if plan.lanes == 1 else f"{plan.lanes} lanes"
    return f"{lanes} of {plan.threads} thread{'s' if plan.threads > 1 else ''}"


def _examples(url: str, manifest: Manifest, latents: str) -> str:
    """Three commands, one a line, that work with this model."""
    send = "-H 'Content-Type: application/json' -d"
    row = f'{{"latents": [[{latents}]], "dims": "relevant"}}'
    decode = f"  curl -s {url}/decode {send} '{row}'"
    if manifest.vector is not None:
        means = ",".join(f"{offset:.6g}" for offset in manifest.vector.offset)
        return (
            f"{decode}\n"
            f"  curl -s {url}/encode {send} '{{\"rows\": [[{means}]]}}'\n"
            f"  curl -s {url}/traverse {send} '{{\"rows\": [[{means}]]}}'"
        )
    return (
        f"{decode} -o shape.png\n"
        f"  curl -s {url}/encode -H 'Content-Type: image/png' --data-binary @shape.png\n"
        f"  curl -s {url}/traverse -H 'Content-Type: image/png' --data-binary @shape.png "
        "-o traversal.png"
    )
