"""What may change when a run goes on: how far, where and how it trains, never what it computes."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from training.config import Config
from training.config_file import config_tables, load_config, parse_config, read_tables
from training.errors import ConfigError, as_typed
from training.run_images import PATH_KEYS

# The images are the same wherever they lie, which is checked by their hash; factors are only told.
MOVABLE = {f"data.{key}" for key in PATH_KEYS}
CHANGEABLE = (
    *sorted(MOVABLE),
    "run.steps",
    "run.log_every",
    "run.checkpoint_minutes",
    "run.threads",
    "run.device",
    "run.devices",
    "run.nodes",
    "run.tensorboard",
)
Changes = dict[str, tuple[Any, Any]]  # by `section.key`: before, after


def with_changes(config: Config, overrides: Sequence[str]) -> Config:
    """The configuration of a run that goes on, with `section.key=value` overrides.

    Raises:
        ConfigError: An override is none, breaks a rule, or changes what the run computes.
    """
    tables = config_tables(config)
    for section, values in read_tables(None, overrides).items():
        tables[section] = {**tables.get(section, {}), **values}
    changed = parse_config(tables, origin="the settings to resume with")
    differences = changes_between(config, changed)
    fixed = [name for name in differences if name not in CHANGEABLE]
    if fixed:
        before, after = differences[fixed[0]]
        raise ConfigError(
            f"a run goes on with the mathematics that it began with: got `{fixed[0]}` = {after}, "
            f"and it began with {before}; {', '.join(f'`{name}`' for name in CHANGEABLE)} may "
            "change: leave the others out, or start a new run"
        )
    return changed


def changes_between(before: Config, after: Config) -> Changes:
    """What differs, in the forms that JSON has."""
    old, new = before.model_dump(mode="json"), after.model_dump(mode="json")
    return {
        f"{section}.{key}": (value, new[section][key])
        for section, settings in old.items()
        for key, value in settings.items()
        if value != new[section][key]
    }


def recorded(info: Mapping[str, Any], changes: Changes, *, step: int) -> dict[str, Any]:
    """The entry of `run.json` that says what changed at which steps, with these changes added."""
    if not changes:
        return {}
    settings = {name: {"from": old, "to": new} for name, (old, new) in changes.items()}
    return {"changes": [*info.get("changes", []), {"step": step, "settings": settings}]}


def other_numbers(info: Mapping[str, Any], device: str) -> Iterator[str]:
    """What a run that goes on on another kind of device, `cpu` or `cuda`, cannot keep."""
    former = info.get("device", device)
    if former != device:
        yield (
            f"warning: the run computed on {former} and goes on on {device}, which draws "
            "other random numbers: its result is as good, and not that of a run without a stop"
        )


def unread_edits(path: Path, config: Config, *, but: Changes) -> Iterator[str]:
    """What somebody wrote into the run's configuration, which a run that goes on does not read.

    Args:
        path: Of the file.
        config: What the run goes on with.
        but: What was changed on the command line.
    """
    try:
        found = load_config(path)
    except ConfigError:
        return
    for name, (value, written) in changes_between(config, found).items():
        if name in but or name == "run.steps":
            continue
        cure = ""
        if name in CHANGEABLE:
            cure = f"; to change it: rfvae-train resume {as_typed(path.parent)} --set {name}=…"
        yield (
            f"warning: `{path}` says `{name}` = {written}; a run goes on with the settings that it "
            f"began with, {value}, and the file is written anew{cure}"
        )
