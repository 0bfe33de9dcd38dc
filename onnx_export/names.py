"""Names that people give to dimensions."""

from collections.abc import Mapping

from onnx_export.errors import ExportError
from service.models.manifest import LONGEST_NAME

RESERVED = ("relevant", "all")  # what the service takes for sets of dimensions


def parse_names(text: str, latent_dim: int) -> dict[int, str]:
    """Read "scale=3,orientation=7" as {3: "scale", 7: "orientation"}.

    Raises:
        ExportError: a part is not NAME=DIM, a dimension does not exist, or a name is not usable
            or used twice.
    """
    names: dict[int, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        dim, name = _parse_part(part, latent_dim)
        if dim in names or name in names.values():
            raise ExportError(
                f"each dimension and each name occurs once in `--names`: got `{part}` again"
            )
        names[dim] = name
    return names


def complete_names(names: Mapping[int, str], latent_dim: int) -> list[str]:
    """A name for every dimension; one without a given name is called `z` and its number.

    Raises:
        ExportError: a given name is the one that another dimension has by default.
    """
    complete = [names.get(dim, f"z{dim}") for dim in range(latent_dim)]
    for dim, name in names.items():
        if complete.count(name) > 1:
            raise ExportError(
                f"names are unique and `{name}` is what dimension {name[1:]} is called without "
                f"one: got `{name}={dim}`; choose another name"
            )
    return complete


def _parse_part(part: str, latent_dim: int) -> tuple[int, str]:
    name, _, number = (piece.strip() for piece in part.rpartition("="))
    if not name or not number.isdecimal():
        raise ExportError(
            f"names are written NAME=DIM with commas between: got `{part}`; "
            'for example --names "scale=3,orientation=7"'
        )
    if len(name) > LONGEST_NAME or not name.isprintable() or name.isdecimal():
        raise ExportError(
            f"a name is 1 to {LONGEST_NAME} printable characters and not a number: got {name!r}"
        )
    if name in RESERVED:
        raise ExportError(
            f"`relevant` and `all` are sets of dimensions in the service: got `{part}`; choose "
            "another name"
        )
    if int(number) >= latent_dim:
        raise ExportError(
            f"dimensions go from 0 to {latent_dim - 1}: got {number} for `{name}` in `--names`"
        )
    return int(number), name
