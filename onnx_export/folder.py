"""A version folder appears whole or not at all, and never twice."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from onnx_export.errors import ExportError
from service.models.manifest import MODEL_NAME
from service.models.repository import VERSION


def next_version(repository: Path, name: str) -> int:
    """One above the highest version of `name`; 1 for a new name."""
    folder = repository / name
    if not folder.is_dir():
        return 1
    return 1 + max((int(p.name) for p in folder.iterdir() if VERSION.fullmatch(p.name)), default=0)


def check_target(repository: Path, *, name: str, version: int) -> Path:
    """Give the folder to write.

    Raises:
        ExportError: the name or version is not allowed, or the version exists.
    """
    if not MODEL_NAME.fullmatch(name):
        raise ExportError(
            "a model name is 1 to 64 letters, digits, `.`, `_` or `-` and starts with a letter or "
            f"digit: got `{name}`; choose one with `--name`"
        )
    if not VERSION.fullmatch(str(version)):
        raise ExportError(
            f"a version is 1 to 999999999: got {version}; leave `--version` out for the next one"
        )
    for folder in (repository / name, *(repository / name).parents):
        if folder.exists() and not folder.is_dir():
            raise ExportError(
                f"a model is a folder of a repository: `{folder}` is a file; choose another `--to` "
                "or `--name`, or move it away"
            )
    target = repository / name / str(version)
    if target.exists():
        raise _exists(target, repository)
    return target


@contextmanager
def published(target: Path, write: Callable[[Path], None]) -> Iterator[None]:
    """Let `write` fill a hidden folder beside `target`, flush it to disk, and rename it into place.

    Whatever fails, also in the block, leaves nothing behind.

    Args:
        target: REPOSITORY/NAME/VERSION; must not exist.
        write: called with the hidden folder.

    Raises:
        ExportError: `target` appeared meanwhile, or the disk is full.
    """
    with _parents(target.parent):
        _fill_and_rename(target, write)
        try:
            _flush_entry(target.parent)
            yield
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise


@contextmanager
def replaced(path: Path, text: str) -> Iterator[None]:
    """Write a file beside `path` and move it there after the block, which needs no room any more.

    A failure in the block leaves `path` as it was.

    Raises:
        ExportError: the disk is full.
    """
    beside = path.with_name(f".{path.name}.tmp")
    try:
        try:
            beside.write_bytes(text.encode())
        except OSError as error:
            raise _explain(error, path) from error
        yield
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _fill_and_rename(target: Path, write: Callable[[Path], None]) -> None:
    hidden = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        write(hidden)
        hidden.chmod(0o755)
        _flush(hidden)
        hidden.rename(target)
    except OSError as error:
        raise _explain(error, target) from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


@contextmanager
def _parents(folder: Path) -> Iterator[None]:
    """Make a folder and those above it; a failure in the block removes the ones that were made."""
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for made in missing:  # deepest first; one that another export has used since then stays
            try:
                made.rmdir()
            except OSError:
                break
        raise


def _flush(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        path.chmod(0o644)
        _flush_entry(path)
    _flush_entry(folder)


def _flush_entry(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explain(error: OSError, target: Path) -> Exception:
    if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
        return _exists(target, target.parent.parent)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ExportError(
            f"the disk of `{target.parent}` is full: nothing was written; free some space and "
            "export again"
        )
    return error


def _exists(target: Path, repository: Path) -> ExportError:
    following = next_version(repository, target.parent.name)
    return ExportError(
        f"a version is never overwritten: `{target}` exists; leave `--version` out to write "
        f"version {following}, or choose another"
    )
