"""From a configuration to a set of images: by name, from its file or folder, and split in two."""

import os
from pathlib import Path

from torch import Tensor

from training.config import DataConfig
from training.data.array_files import ARRAY_SUFFIXES, open_array
from training.data.catalog import DRAWN
from training.data.dsprites_file import DspritesFile
from training.data.image_folder import ImageFolder, image_files, looks_gray
from training.data.parts import Part, split_groups, split_indices, whole_source
from training.data.public_files import PUBLIC
from training.data.source import ImageSource
from training.data.standardization import Doubles, Standardization
from training.data.stored_images import RANGES, StoredImages
from training.data.tables import Vectors, read_factor_table
from training.errors import DataError

DSPRITES = ("dsprites", "oval-dsprites")
IMAGES, VECTORS = "images", "vectors"
_FOLDERS = ("celeba", "3dchairs")
LISTED = 5  # names in a message
LEAST = 2  # of one, nothing varies


def open_images(
    config: DataConfig, *, standardization: Standardization | None = None
) -> ImageSource:
    """Open the set that `config` names, without the images that it holds out.

    Args:
        config: Its name, file and form.
        standardization: Of vectors: that of a run, in the place of the table's own.

    Raises:
        DataError: The name is unknown, the file is not what the name promises, or a setting is
            one that this set does not read.
    """
    whole = _open_whole(config, standardization)
    _require_read(config)
    return whole if config.holdout == 0 else Part(whole, _split(whole, config)[0])


def require_enough(source: ImageSource, config: DataConfig) -> None:
    """Refuse to learn from next to nothing.

    Raises:
        DataError: Fewer than two images or rows are left to learn from.
    """
    if source.n_images < LEAST:
        raise DataError(
            f"there must be {LEAST} images or rows to learn from: `{source.name}` has "
            f"{source.n_images}, with `data.holdout` = {config.holdout:g}; give more, or hold out "
            "none"
        )


def held_out_part(source: ImageSource, config: DataConfig) -> ImageSource | None:
    """What `source`, opened from `config`, holds out, or None; nothing is read again."""
    if not isinstance(source, Part):
        return None
    return Part(source.whole, _split(source.whole, config)[1])


def _split(whole: ImageSource, config: DataConfig) -> tuple[Tensor, Tensor]:
    """Numbers of the images to train on and of the held-out ones."""
    if config.holdout_by == "image" or not isinstance(whole, ImageFolder):
        return split_indices(whole.n_images, config.holdout)
    groups = whole.subfolders
    if len(set(groups)) < LEAST:
        raise DataError(
            f'`data.holdout_by` = "folder" needs {LEAST} folders in `{whole.folder}`, one to hold '
            f"out: all pictures are in the same one; {_cure(whole)}, or hold out by image"
        )
    return split_groups(groups, config.holdout)


def _cure(images: ImageFolder) -> str:
    """Where the folders are to be found of pictures that all are in the same one."""
    folders = {path.parent for path in images.paths}
    holder = Path(os.path.commonpath(folders))
    if holder == images.folder:
        return "give the folder above"
    if len(folders) < LEAST:
        return f"sort those in `{holder}` into folders"
    return f"give the folder that holds them, `{holder}`"


def known_names() -> list[str]:
    """All that `data.name` may be."""
    return [*DRAWN, *PUBLIC, IMAGES, VECTORS]


def _open_whole(config: DataConfig, standardization: Standardization | None) -> ImageSource:
    if config.name not in known_names():
        raise DataError(
            f"`data.name` must be one of {', '.join(known_names())}: got `{config.name}`; "
            "see `rfvae-train datasets`"
        )
    if config.path is not None:
        return _open_path(config, config.path, standardization)
    if config.name not in DRAWN:
        raise DataError(
            f"`{config.name}` is read and not drawn: give its file or folder as `data.path`"
        )
    drawn: ImageSource = DRAWN[config.name].make(config.name, size=config.size)
    return drawn


def _require_read(config: DataConfig) -> None:
    """Refuse a setting that would do nothing; `size` always has a value, also for rows."""
    read = ("name", *_settings_of(config), "holdout")
    idle = [
        f"`data.{key}` = {getattr(config, key)}"
        for key, field in DataConfig.model_fields.items()
        if key not in (*read, "size") and getattr(config, key) != field.default
    ]
    if idle:
        place = "" if config.path is None else f" from `{config.path}`"
        raise DataError(
            f"a setting that is given must be read: `{config.name}`{place} reads "
            f"{', '.join(f'`data.{key}`' for key in read)}, and got {', '.join(idle)}; leave that "
            "out"
        )


def _settings_of(config: DataConfig) -> tuple[str, ...]:
    """What this set reads beside its name and `holdout`."""
    if config.path is None:
        return ("size",) if DRAWN[config.name].sizes else ()
    if config.name == VECTORS:
        key = ("key",) if config.path.suffix.lower() in ARRAY_SUFFIXES else ()
        return ("path", *key, "columns", "standardize", "factors")
    if config.name == IMAGES:
        own = ("on_broken", "holdout_by") if config.path.is_dir() else ("key",)
        return ("path", "size", "channels", *own, "factors")
    return ("path", "size", "on_broken") if config.name in _FOLDERS else ("path", "size")


def _open_path(
    config: DataConfig, path: Path, standardization: Standardization | None
) -> ImageSource:
    if config.name in DSPRITES:
        return _open_dsprites(config, path)
    if config.name in _FOLDERS:
        return PUBLIC[config.name](path, size=config.size, on_broken=config.on_broken)
    if config.name in PUBLIC:
        return PUBLIC[config.name](path, size=config.size)
    if config.name in DRAWN:
        raise DataError(
            f"`{config.name}` is drawn and has no file: leave out `data.path`, or set `data.name` "
            f"to `{IMAGES}` or `{VECTORS}`"
        )
    source = (
        _open_vectors(config, path, standardization)
        if config.name == VECTORS
        else _open_any(config, path)
    )
    if config.factors is not None:
        names = source.file_names if isinstance(source, ImageFolder) else None
        source.factors = read_factor_table(
            config.factors, n_images=source.n_images, file_names=names
        )
    return source


def _open_dsprites(config: DataConfig, path: Path) -> DspritesFile:
    images = DspritesFile(config.name, path=path)
    if images.image_shape[1:] != (config.size, config.size):
        raise DataError(
            f"`data.size` is {config.size} and `{path}` holds images of "
            f"{images.image_shape[1:]}; set `data.size` to the file's"
        )
    return images


def _open_vectors(
    config: DataConfig, path: Path, standardization: Standardization | None
) -> Vectors:
    def standardize(columns: tuple[str, ...], values: Doubles) -> Standardization:
        if standardization is not None:
            return standardization
        kept = split_indices(len(values), config.holdout)[0].numpy()
        if not config.standardize or not len(kept):
            return Standardization.none(columns)
        return Standardization.of_values(columns, values[kept])  # Held-out rows decide nothing.

    return Vectors(path.stem, path, key=config.key, columns=config.columns, standardize=standardize)


def _open_any(config: DataConfig, path: Path) -> ImageFolder | StoredImages:
    """Images in a folder or in an array file."""
    if path.suffix.lower() in ARRAY_SUFFIXES and not path.is_dir():
        rows = open_array(path, key=config.key)
        return StoredImages(
            path.stem, rows, files=[path], size=config.size, channels=config.channels
        )
    channels = config.channels or (1 if looks_gray(image_files(path)) else 3)
    return ImageFolder(
        path.resolve().name,
        path,
        size=config.size,
        channels=channels,
        on_broken=config.on_broken,
    )


def notes_on(source: ImageSource) -> list[str]:
    """What a person should know about a set that was opened: what was left out, a range found."""
    whole = whole_source(source)
    if isinstance(whole, StoredImages):
        return _notes_on_array(whole)
    if not isinstance(whole, ImageFolder):
        return []
    notes = []
    if whole.broken:
        notes.append(f"left out {len(whole.broken)} broken files: {_listed(whole.broken)}")
    if whole.paged:
        notes.append(
            f"only the first page or frame is taken of {len(whole.paged)} files: "
            f"{_listed(whole.paged)}; to train on the others, save each as a file of its own"
        )
    if whole.dark:
        notes.append(
            f"{len(whole.dark)} of {whole.n_images:,} pictures are nearly black: "
            f"{_listed(whole.dark)}; if they hold 12 bits, or labels, scale them to the whole range"
        )
    if whole.n_repeated:
        notes.append(
            f"{whole.n_repeated:,} pictures are the same as another one: where copies are held out "
            "and trained on, the two say nothing of each other"
        )
    return notes


def _notes_on_array(images: StoredImages) -> list[str]:
    notes = []
    if images.divisor not in RANGES:
        notes.append(f"values of 0 to {images.divisor:g} become 0 to 1")
    if images.ground is not None:
        level = "white" if images.ground else "black"
        notes.append(f"the fourth channel is taken for alpha: transparent parts show {level}")
    return notes


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{', '.join(names[:LISTED])}{more}"
