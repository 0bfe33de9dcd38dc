"""The forms in which a model can be exported; light enough for the command line to import first."""

from typing import Literal

Precision = Literal["float32", "float16", "int8"]
Target = Literal["cpu", "gpu"]
MAX_ERROR_PERCENT = 5.0
