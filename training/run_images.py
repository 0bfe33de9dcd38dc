"""The images of a run: where they lie now, and whether they are still those it was trained on.

The configuration keeps what the user wrote. `run.json` records what a relative path meant when the
run began, so that it is found again from another folder, or where files were moved to since.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.checkpoint import LoadedRun
from training.config import DataConfig
from training.data import ImageSource, open_images
from training.data.standardization import Standardization
from training.errors import DataError

PATH_KEYS = ("path", "factors")
Locations = dict[str, str]


def locations_of(data: DataConfig) -> Locations:
    """The absolute path of every file or folder that `data` names."""
    paths = {key: getattr(data, key) for key in PATH_KEYS}
    return {key: str(path.absolute()) for key, path in paths.items() if path is not None}


def open_run_images(run: LoadedRun) -> ImageSource:
    """The images of a run.

    Raises:
        DataError: They are no longer where they were, or not those it was trained on.
    """
    recorded = run.run_info.get("data_paths", {})
    source = open_recorded(run.config.data, run.run_info, locations=recorded)
    require_same(source, run.run_info)
    return source


def open_recorded(
    data: DataConfig, info: Mapping[str, Any], *, locations: Locations
) -> ImageSource:
    """The images of a run, vectors standardized as they were when it began.

    Args:
        data: What the run's configuration says.
        info: Its `run.json`.
        locations: Recorded places, which win where something is there.

    Raises:
        DataError: A file or folder is missing, or cannot be read.
    """
    standardization = Standardization.of_run(info["data"])
    return open_images(_located(data, locations), standardization=standardization)


def require_same(images: ImageSource, info: Mapping[str, Any]) -> None:
    """Refuse images that are not those of the run whose `run.json` this is.

    Raises:
        DataError: Their hash is not the recorded one.
    """
    expected, found = info["data"]["sha256"], images.sha256()
    if expected != found:
        raise DataError(
            f"a run needs the images it was trained on: SHA-256 {expected[:12]}… is recorded and "
            f"`{images.name}` now has {found[:12]}…; restore the file, or start a new run"
        )


def _located(data: DataConfig, locations: Locations) -> DataConfig:
    found = {key: Path(place) for key, place in locations.items() if Path(place).exists()}
    there = data.model_copy(update=found)
    for key in PATH_KEYS:
        path = getattr(there, key)
        if path is not None and not path.exists():
            raise DataError(
                f"a run needs the data it was trained on: `{path}` is missing; if it was moved, "
                f"say where it is: rfvae-train resume RUN --set data.{key}=PLACE"
            )
    return there
