"""Where a run's data lies, so that a relative path is found again from another folder.

The configuration keeps what the user wrote. `run.json` records what it meant when the run began.
"""

from pathlib import Path

from training.config import DataConfig
from training.errors import DataError

PATH_KEYS = ("path", "factors")
Locations = dict[str, str]


def locations_of(data: DataConfig) -> Locations:
    """The absolute path of every file or folder that `data` names."""
    paths = {key: getattr(data, key) for key in PATH_KEYS}
    return {key: str(path.absolute()) for key, path in paths.items() if path is not None}


def located(data: DataConfig, locations: Locations) -> DataConfig:
    """`data` with recorded places where they still exist; else as it was written.

    Raises:
        DataError: A file or folder is in neither place.
    """
    found = {key: Path(place) for key, place in locations.items() if Path(place).exists()}
    there = data.model_copy(update=found)
    for key in locations:
        path = getattr(there, key)
        if not path.exists():
            raise DataError(
                f"a run needs the data it was trained on: `{path}` is missing; if it was moved, "
                f"say where it is: rfvae-train resume RUN --set data.{key}=PLACE"
            )
    return there
