"""A few inputs with the answers that torch gave: what the service tests itself with at start."""

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_export.inputs import CheckInputs
from onnx_export.verify import Engine

N_GOLDEN = 4
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can hold


def golden_arrays(reference: Engine, inputs: CheckInputs) -> dict[str, NDArray[Any]]:
    """Encode a few images and decode what comes out."""
    step = len(inputs.images) // N_GOLDEN
    image = np.ascontiguousarray(inputs.images[::step][:N_GOLDEN])
    mu, logvar = reference.encode(image)
    z = mu if inputs.latents is None else inputs.latents[:N_GOLDEN]
    return {"image": image, "mu": mu, "logvar": logvar, "z": z, "decoded": reference.decode(z)}


def npz_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Like `np.savez` with a fixed date in every entry: the same arrays give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _EPOCH), entry.getvalue())
    return buffer.getvalue()
