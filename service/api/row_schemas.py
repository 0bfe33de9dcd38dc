"""The JSON of models of rows of numbers, where it differs from that of models of images."""

from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, model_validator

from service.api import schemas
from service.api.parameters import Dims
from service.api.schemas import Answer, Body

NumberRow = Annotated[
    list[Any] | dict[str, Any],  # cells are checked together, by `service.codecs.rows`
    Field(
        description="Numbers in the order of the model's columns, or an object by their names.",
        json_schema_extra={
            "anyOf": [
                {"type": "array", "items": {"type": "number"}},
                {"type": "object", "additionalProperties": {"type": "number"}},
            ]
        },
    ),
]


class RowsBody(Body):
    """Rows of numbers; a bare list is taken as `rows`."""

    rows: list[NumberRow] = Field(min_length=1, description="In the data's own units.")

    @model_validator(mode="before")
    @classmethod
    def _wrap_a_bare_list(cls, value: Any) -> Any:
        return {"rows": value} if isinstance(value, list) else value


class EncodeRowsBody(schemas.ChoiceBody, RowsBody):
    """Rows, and which latent dimensions come back."""


class TraverseRowsBody(schemas.SweepBody):
    """Where a traversal starts, and what it varies; all of it may be left out."""

    rows: list[NumberRow] | None = Field(None, min_length=1, max_length=1, description="One row.")


class InterpolateRowsBody(RowsBody):
    """Two rows and the number of steps between them."""

    steps: int = Field(11, strict=True, description="Columns of the grid, 2 to `max_steps`.")


class SwapRowsBody(RowsBody):
    """Two rows and the dimensions to take from the second."""

    dims: Dims | None = Field(
        None, description="Numbers or names of dimensions, `relevant` or `all`."
    )


# What takes the place of a body of images where the model takes rows.
ROWS_BODIES: Final[dict[type[Body], type[Body]]] = {
    schemas.ImagesBody: RowsBody,
    schemas.EncodeBody: EncodeRowsBody,
    schemas.TraverseBody: TraverseRowsBody,
    schemas.InterpolateBody: InterpolateRowsBody,
    schemas.SwapBody: SwapRowsBody,
}


class DecodeRowsAnswer(Answer):
    """One row of numbers for each row of latents."""

    columns: list[str]
    rows: list[list[float]] = Field(description="In the data's own units.")


class GridOfRowsRow(schemas.Labeled):
    """One row of frames, each a row of numbers."""

    frames: list[list[float]] = Field(description="Numbers in the order of `frame_columns`.")


class GridOfRowsAnswer(Answer):
    """A grid of frames: row = factor (or input), column = step."""

    rows: list[GridOfRowsRow]
    columns: list[str] = Field(description="What each column of the grid shows.")
    frame_columns: list[str] = Field(description="The data's columns: one number of a frame each.")


ROW_MODELS: Final[tuple[type[BaseModel], ...]] = (
    *ROWS_BODIES.values(),
    DecodeRowsAnswer,
    GridOfRowsAnswer,
)
