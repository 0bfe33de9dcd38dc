"""A run from start to end: device, data, folder, loop, checkpoints, and how it stopped."""

import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from rich.console import Console

from training.checkpoint import read_checkpoint, restore
from training.config import Config
from training.config_file import config_toml
from training.data import ImageSource, notes_on, open_images, require_enough
from training.data.standardization import standardization_of
from training.device import join, machine_name
from training.errors import RunError, as_typed
from training.fit import Hooks, fit, new_state
from training.networks import SampleShape
from training.progress import make_display
from training.ranks import Ranks
from training.recorder import Recorder
from training.resumption import (
    MOVABLE,
    changes_between,
    other_numbers,
    recorded,
    unread_edits,
    with_changes,
)
from training.run_folder import FORMAT_VERSION, RunFolder, now, write_atomically
from training.run_images import Locations, locations_of, open_recorded, require_same
from training.state import TrainingState


def start_run(config: Config, out: Path, *, console: Console) -> str:
    """Train from step 0 into a new folder.

    Returns:
        `finished` or `interrupted`; `followed` in every process but the first, which alone writes.
    """
    ranks, device = join(config, console)
    console = console if ranks.rank == 0 else Console(quiet=True)
    folder = RunFolder(out)
    _require_free(folder, ranks)
    images = open_images(config.data)
    require_enough(images, config.data)
    _describe_images(images, config, console)
    if ranks.rank > 0:
        return _follow(_state(config, images.image_shape, ranks, device), images, config)
    state = _state(config, images.image_shape, ranks, device)  # Fails before there is a folder.
    info = _describe(config, images, device)  # Hashes the file, which may take minutes.
    folder.create()
    with folder.lock():
        write_atomically(folder.config, config_toml(config).encode())
        return _train(folder, state, images, config=config, info=info, console=console)


def resume_run(
    run_dir: Path,
    *,
    steps: int | None = None,
    overrides: Sequence[str] = (),
    console: Console,
) -> str:
    """Go on from the folder's checkpoint as if never stopped.

    Where the run is over and only its data has moved, records the new place.

    Args:
        run_dir: Folder of the run.
        steps: Another end.
        overrides: `section.key=value`, of the settings that `training/resumption.py` lets change.
        console: Where it says what it does.

    Returns:
        As `start_run`.

    Raises:
        ConfigError: A setting would change what the run computes.
        RunError: There is nothing left to do, or the folder is not that of a run.
        DataError: The images are no longer the ones that the run was started with.
    """
    folder = RunFolder(run_dir)
    info = folder.read_info()
    checkpoint = read_checkpoint(folder.checkpoint)
    end = [] if steps is None else [f"run.steps={steps}"]
    config = with_changes(checkpoint.config, [*overrides, *end])
    changes = changes_between(checkpoint.config, config)
    locations = {
        key: place
        for key, place in info.get("data_paths", {}).items()
        if f"data.{key}" not in changes
    }
    is_over = checkpoint.step >= config.run.steps
    if is_over and changes and changes.keys() <= MOVABLE:
        return _find_moved(folder, info, config, locations, console)
    if "pruned_from" in info:
        raise RunError(
            f"`{run_dir}` was pruned from `{info['pruned_from']['run']}` and has no optimizers to "
            "go on with: resume that run, and prune it again"
        )
    if is_over:
        raise RunError(
            f"the run is already at step {checkpoint.step} of {config.run.steps}; "
            "to train longer give a larger --steps"
        )
    ranks, device = join(config, console)
    console = console if ranks.rank == 0 else Console(quiet=True)
    images = _open_same_images(info, config, locations, console)
    state = _state(config, checkpoint.image_shape, ranks, device)
    restore(state, checkpoint)
    if ranks.rank > 0:
        return _follow(state, images, config)
    with folder.lock():
        _require_same_step(folder, state)
        folder.cut_metrics(after=state.step)
        for line in (
            *unread_edits(folder.config, config, but=changes),
            *(f"Changed: {name} from {old} to {new}" for name, (old, new) in changes.items()),
            *other_numbers(info, device.type),
        ):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        write_atomically(folder.config, config_toml(config).encode())
        console.print(f"Resuming at step {state.step:,}", highlight=False)
        info |= {"steps": config.run.steps, "code_version": _code_versions(info)} | _place(device)
        info |= recorded(info, changes, step=state.step)
        info = _with_data(info, images, config, locations)
        return _train(folder, state, images, config=config, info=info, console=console)


def _find_moved(
    folder: RunFolder, info: dict[str, Any], config: Config, locations: Locations, console: Console
) -> str:
    """Records where the data of a run that is over lies now, for what reads it after training."""
    images = _open_same_images(info, config, locations, console)
    with folder.lock():
        folder.write_info(_with_data(folder.read_info(), images, config, locations))
    console.print("Recorded where the data of this run is", highlight=False)
    return "finished"


def _require_same_step(folder: RunFolder, state: TrainingState) -> None:
    """Another process may have trained in the folder until a moment ago, while images were read."""
    now_at = read_checkpoint(folder.checkpoint).step
    if now_at != state.step:
        raise RunError(
            f"another process went on with this run, from step {state.step:,} to {now_at:,}, and "
            f"stopped: rfvae-train resume {as_typed(folder.path)} goes on from there"
        )


def _require_free(folder: RunFolder, ranks: Ranks) -> None:
    """The first process looks, and all of them stop, so that none waits for it."""
    refusal = None
    if ranks.rank == 0:
        try:
            folder.require_free()
        except RunError as error:
            refusal = error
    if ranks.any(refusal is not None):
        raise refusal or RunError(f"the first process cannot use the run folder `{folder.path}`")


def _state(
    config: Config, image_shape: SampleShape, ranks: Ranks, device: torch.device
) -> TrainingState:
    state = new_state(config, image_shape, device=device)
    state.ranks = ranks
    return state


def _follow(state: TrainingState, images: ImageSource, config: Config) -> str:
    """What every rank but the first does: the same steps, and nothing is written."""
    with stop_on_signals() as should_stop:
        fit(state, images, config=config, hooks=Hooks(should_stop=should_stop))
    return "followed"


def _train(
    folder: RunFolder,
    state: TrainingState,
    images: ImageSource,
    *,
    config: Config,
    info: dict[str, Any],
    console: Console,
) -> str:
    display = make_display(console, first=state.step, last=config.run.steps)
    recorder = Recorder(folder, state, config, display, info, images)
    try:
        recorder.begin()
        with stop_on_signals() as should_stop:
            hooks = Hooks(recorder.stepped, recorder.logged, should_stop)
            fit(state, images, config=config, hooks=hooks)
        status = "finished" if state.step == config.run.steps else "interrupted"
        recorder.finish(status=status)
    except Exception:  # Also a full memory or a lost file: the folder must not say that it runs.
        recorder.fail()
        raise
    finally:
        display.close()
        recorder.close()
    return status


def _describe_images(images: ImageSource, config: Config, console: Console) -> None:
    origin = "drawn by this program" if images.source == "procedural" else f"{config.data.path}"
    shape = images.image_shape
    samples = f"images of {'x'.join(str(side) for side in shape)}"
    if len(shape) == 1:
        samples = f"rows of {shape[0]} numbers"
    console.print(
        f"Data: {images.name}, {images.n_images:,} {samples}, {images.source}: {origin}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    for note in notes_on(images):
        console.print(note[0].upper() + note[1:], highlight=False, markup=False, soft_wrap=True)


def _open_same_images(
    info: dict[str, Any], config: Config, locations: Locations, console: Console
) -> ImageSource:
    images = open_recorded(config.data, info, locations=locations)
    _describe_images(images, config, console)
    require_same(images, info)
    return images


def _describe(config: Config, images: ImageSource, device: torch.device) -> dict[str, Any]:
    vectors = standardization_of(images)
    return {
        "format_version": FORMAT_VERSION,
        "status": "running",
        "code_version": code_version(),
        "torch_version": torch.__version__,
        "data": {
            "name": images.name,
            "source": images.source,
            "sha256": images.sha256(),
            "n_images": images.n_images,
            **_factors_of(images),
            **({} if vectors is None else vectors.facts()),
        },
        "data_paths": locations_of(config.data),
        "seed": config.run.seed,
        **_place(device),
        "step": 0,
        "steps": config.run.steps,
        "seconds": 0.0,
        "created": now(),
    }


def _with_data(
    info: dict[str, Any], images: ImageSource, config: Config, locations: Locations
) -> dict[str, Any]:
    """`run.json` with the places and the factors that the data of a run has now."""
    places = locations_of(config.data) | locations
    return {**info, "data_paths": places, "data": {**info["data"], **_factors_of(images)}}


def _factors_of(images: ImageSource) -> dict[str, list[Any] | None]:
    factors = images.factors
    return {
        "factor_names": list(factors.factor_names) if factors else None,
        "factor_sizes": list(factors.factor_sizes) if factors else None,
    }


def _place(device: torch.device) -> dict[str, str]:
    return {"device": device.type, "machine": machine_name(device)}


def _code_versions(info: dict[str, Any]) -> str:
    """Of a run that goes on all, oldest first: a card must not name one that made only a part."""
    former = info["code_version"].split(", ")
    return ", ".join(dict.fromkeys([*former, code_version()]))


def code_version() -> str:
    """The package's version, with the commit where the code runs from a git checkout."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "rev-parse", "--short", "HEAD"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return version("rfvae")
    return f"{version('rfvae')}+g{commit.stdout.strip()}"


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a wish to stop; a second Ctrl-C stops at once."""
    received: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    former = {
        number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
