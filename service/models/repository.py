"""Finds model versions in repository folders: REPOSITORY/NAME/VERSION/, versions being integers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.errors import ArtifactError, UnknownModel, UnknownVersion
from service.models.artifact import MANIFEST
from service.models.manifest import MODEL_NAME

VERSION = re.compile(r"[1-9][0-9]{0,8}")
Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class FoundVersion:
    """A version's folder; `stamp` (name, mtime, size of its files) changes when its files do."""

    name: str
    version: int
    folder: Path
    stamp: Stamp

    @property
    def key(self) -> tuple[str, int]:
        return self.name, self.version


class Verified:
    """Versions whose files were compared with their hashes a moment ago; each counts once."""

    def __init__(self, versions: Iterable[FoundVersion] = ()) -> None:
        self._versions = set(versions)

    def take(self, version: FoundVersion) -> bool:
        """Whether it is one of them and its files did not change; from now on it is none."""
        is_known = version in self._versions
        self._versions.discard(version)
        return is_known


def scan(repositories: Sequence[Path]) -> list[FoundVersion]:
    """All versions of all repositories, as `in_order` has them.

    Raises:
        ArtifactError: a repository does not exist, or it cannot be read as a whole.
    """
    return in_order([versions_in(repository) for repository in repositories])


def versions_in(repository: Path) -> list[FoundVersion]:
    """The versions of one repository.

    Hidden folders, files and folders whose name is not a positive integer are no versions.

    Raises:
        ArtifactError: it does not exist, or it cannot be read as a whole.
    """
    try:
        return [version for model in _folders(repository) for version in _versions(model)]
    except OSError as error:  # nobody knows what it holds, so this must not look like an empty one
        raise _unreadable(repository, error) from None


def in_order(by_repository: Iterable[Sequence[FoundVersion]]) -> list[FoundVersion]:
    """By name and then from the highest version down.

    The first repository that has a name wins: its versions are served, and those of later
    repositories under this name are not.
    """
    owners: dict[str, int] = {}
    served = [
        version
        for place, versions in enumerate(by_repository)
        for version in versions
        if owners.setdefault(version.name, place) == place
    ]
    return sorted(served, key=lambda version: (version.name, -version.version))


def device_of(repository: Path) -> int:
    """Which file system the folder is on; another one when a volume comes or goes there.

    Raises:
        ArtifactError: it does not exist.
    """
    try:
        return repository.stat().st_dev
    except OSError as error:
        raise _unreadable(repository, error) from None


def version_at(folder: Path) -> FoundVersion | None:
    """What `scan` of the folder's grandparent makes of it; None where that passes it over."""
    place = Path(os.path.abspath(folder))  # `.` has a name, and a link keeps its own
    model = place.parent.name
    if not VERSION.fullmatch(place.name) or not model or model.startswith("."):
        return None
    return FoundVersion(model, int(place.name), folder, _stamp(folder))


def require_versions(found: Sequence[FoundVersion], repositories: Sequence[Path]) -> None:
    """Refuse to go on with nothing to serve.

    Raises:
        ArtifactError: nothing was found; the text says what a repository looks like.
    """
    if found:
        return
    places = ", ".join(f"`{repository}`" for repository in repositories)
    model = next((place for place in repositories if (place / MANIFEST).exists()), None)
    hint = f"; `{model}` is itself a version: name its grandparent" if model else ""
    raise ArtifactError(
        f"a repository must hold NAME/VERSION/{MANIFEST}; found none in {places}{hint}"
    )


def pick(found: Sequence[FoundVersion], name: str | None, version: int | None) -> FoundVersion:
    """One of them: by default the first by name, in its highest version.

    Raises:
        UnknownModel, UnknownVersion: with what there is.
    """
    name = found[0].name if name is None else name
    versions = [one for one in found if one.name == name]
    if not versions:
        raise UnknownModel(name, sorted({one.name for one in found}))
    if version is None:
        return versions[0]
    for one in versions:
        if one.version == version:
            return one
    raise UnknownVersion(name, version, sorted(one.version for one in versions))


def _unreadable(repository: Path, error: OSError) -> ArtifactError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ArtifactError(
            f"model repository `{repository}` does not exist or is no folder; "
            "correct RFVAE_MODEL_REPOSITORY or create it"
        )
    return ArtifactError(
        f"model repository `{repository}` must be readable with every folder in it; got "
        f"`{error.strerror}` for `{error.filename}`; correct that, or move the folder away"
    )


def _versions(model: Path) -> list[FoundVersion]:
    """In no order; none where the folder was removed since it was listed."""
    try:
        folders = _folders(model)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError:
        if MODEL_NAME.fullmatch(model.name):
            raise
        return []  # no model is called so: `lost+found` of a volume, which only root may read
    numbered = [(int(each.name), each) for each in folders if VERSION.fullmatch(each.name)]
    name = model.name.encode(errors="replace").decode()  # logs and metrics take nothing but UTF-8
    return [FoundVersion(name, number, folder, _stamp(folder)) for number, folder in numbered]


def _folders(parent: Path) -> list[Path]:
    with os.scandir(parent) as entries:
        return [
            Path(entry.path)
            for entry in entries
            if entry.is_dir() and not entry.name.startswith(".")
        ]


def _stamp(folder: Path) -> Stamp:
    try:
        with os.scandir(folder) as entries:
            stats = [(entry.name, entry.stat()) for entry in entries]
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # to load it will say so
        return ()
    return tuple(sorted((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats))
