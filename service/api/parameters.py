"""The one place that reads query strings, and what each route takes there."""

import difflib
import json
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails

from service.errors import InvalidValue

_LONGEST_QUERY: Final = 4096  # bytes


def _check_dims(value: object) -> object:
    if value in ("relevant", "all"):
        return value
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    if not isinstance(value, list | tuple) or not value or not all(map(_is_dim, value)):
        raise ValueError(
            "must be `relevant`, `all`, or the numbers or names of dimensions (`3,1` in a query, "
            "[3, 1] in JSON)"
        )
    return tuple(value)


def _is_dim(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool) and value != ""


Dims = Annotated[
    Literal["relevant", "all"] | tuple[int | str, ...],
    PlainValidator(_check_dims),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"type": "string"}]}},
            ]
        }
    ),
]
Finite = Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]


class NoQuery(BaseModel):
    """For routes that take none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelQuery(NoQuery):
    """Which model answers."""

    model: str | None = Field(None, description="Name of the model; default from the settings.")
    version: int | None = Field(None, ge=1, description="Version; default: the highest one.")


class EncodeQuery(ModelQuery):
    """Which latent dimensions come back."""

    dims: Dims = Field(
        "relevant",
        description="`relevant` (in order of relevance), `all`, or numbers or names with commas.",
    )
    top_k: int | None = Field(None, ge=1, description="Keep the first k of them.")
    threshold: float | None = Field(
        None, ge=0, le=1, description="Keep those with at least this relevance, 0 to 1."
    )


class DecodeQuery(ModelQuery):
    """Which latent dimensions the rows give."""

    dims: Dims | None = Field(
        None,
        description="Numbers or names with commas, `relevant` or `all`; default: as many as a row "
        "has, all of them or the relevant ones.",
    )


class TraverseQuery(ModelQuery):
    """What a traversal varies, and how far."""

    dims: Dims = Field(
        "relevant", description="Rows of the grid: `relevant`, `all`, or numbers or names."
    )
    steps: int = Field(11, description="Columns of the grid, 2 to the setting `max_steps`.")
    low: Finite | None = Field(
        None,
        description="First value, in prior standard deviations; default: each dimension's 1 % "
        "quantile over the training set.",
    )
    high: Finite | None = Field(
        None, description="Last value; default: each dimension's 99 % quantile."
    )


class InterpolateQuery(ModelQuery):
    """How fine the walk between two images is."""

    steps: int = Field(11, description="Columns of the grid, 2 to the setting `max_steps`.")


class SwapQuery(ModelQuery):
    """What the first image takes from the second."""

    dims: Dims | None = Field(
        None,
        description="Dimensions to take from the second image: numbers or names with commas, "
        "`relevant` or `all`. Must be given, here or in a JSON body.",
    )


Query = TypeVar("Query", bound=NoQuery)


def parse_query(query_string: bytes, schema: type[Query]) -> Query:
    """Checks a query string against what the route takes.

    Raises:
        InvalidValue: an unknown parameter (the nearest one is named) or a wrong value.
    """
    if len(query_string) > _LONGEST_QUERY:
        raise InvalidValue(
            f"a query string must not be over {_LONGEST_QUERY} bytes; got {len(query_string)}; "
            "send the values in a JSON body"
        )
    parsed: Query = _parse(query_string, schema)
    return parsed


@lru_cache(maxsize=512)
def _parse(query_string: bytes, schema: type[Query]) -> Query:
    values: dict[str, str] = {}
    for name, value in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
        if name in values:
            raise InvalidValue(
                f"query parameter `{shorten(name)}` must be given once; got it twice"
            )
        values[name] = value
    return check(values, schema, place="query parameter")


Checked = TypeVar("Checked", bound=BaseModel)


def check(values: Any, schema: type[Checked], *, place: str) -> Checked:
    """Validates plain values; the error is one line that names the first field that is wrong."""
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise explain(error, schema, place=place) from None


def merge(query: Query, body: BaseModel | None) -> Query:
    """The query with the options that a JSON body gives; the same one twice is an error."""
    if body is None:
        return query
    options = type(query).model_fields.keys() & body.model_fields_set
    for name in sorted(options & query.model_fields_set):
        raise InvalidValue(f"`{name}` must stand in the query or in the body; got it in both")
    return query.model_copy(update={name: getattr(body, name) for name in options})


def explain(error: ValidationError, schema: type[BaseModel], *, place: str) -> InvalidValue:
    """One line from pydantic's first error: the rule, what was received, what to do."""
    errors = error.errors(include_url=False)
    first = next((item for item in errors if item["type"] == "extra_forbidden"), errors[0])
    where = ".".join(str(step) for step in first["loc"] if not _is_branch(step))
    if first["type"] == "extra_forbidden":
        return _unknown(where, schema, place)
    if first["type"] == "missing":
        return InvalidValue(f"{place} `{where}` must be given; got none")
    name = f"{place} `{where}`" if where else "the body"
    return InvalidValue(f"{name}: {_rule(first)}; got {_received(first)}")


def _rule(error: ErrorDetails) -> str:
    """Pydantic's words, but for those that speak of its own types."""
    match error["type"]:
        case "too_short":
            return f"must hold {error['ctx']['min_length']} or more"
        case "too_long":
            return f"must hold {error['ctx']['max_length']} or fewer"
        case "model_type" | "dict_type" | "model_attributes_type":
            return "must be a JSON object"
        case "list_type" | "tuple_type":
            return "must be a list"
    rule = error["msg"].removeprefix("Value error, ")
    return rule[0].lower() + rule[1:]


def _received(error: ErrorDetails) -> str:
    if error["type"] in ("too_short", "too_long"):
        return str(error["ctx"]["actual_length"])
    value = error["input"]
    plain = value is None or isinstance(value, bool)
    return f"`{json.dumps(value) if plain else shorten(value)}`"


def shorten(value: object, longest: int = 60) -> str:
    """A value as it can stand in an error: one line, not long."""
    text = " ".join(str(value).split())
    return text if len(text) <= longest else f"{text[:longest]}…"


def _is_branch(step: int | str) -> bool:
    return isinstance(step, str) and ("[" in step or step in ("int", "str", "float"))


def _unknown(name: str, schema: type[BaseModel], place: str) -> InvalidValue:
    known = list(schema.model_fields)
    if not known:
        return InvalidValue(f"this route takes no {place}; got `{shorten(name)}`; leave it out")
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
    listed = ", ".join(f"`{field}`" for field in known)
    return InvalidValue(
        f"{place} must be one of {listed}; got `{shorten(name)}`; the nearest is `{nearest}`"
    )
