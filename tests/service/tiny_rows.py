"""Writes a complete, valid folder of a tiny model of rows of numbers.

encoder: mu = (row - offset) / scale · W with a fixed random W, logvar = mu · 0.1 - 2
decoder: row = z · V · scale + offset
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.service.tiny_model import (
    IR_VERSION,
    OPSET,
    TinyWeights,
    manifest_fields,
    write_manifest,
)

COLUMNS = ["height", "weight", "age"]
OFFSET, SCALE = [170.5, 70.0, 40.0], [10.0, 0.1, 12.0]
LATENT_DIM = 4
Floats = npt.NDArray[np.float32]


def write_tiny_rows(root: Path, *, name: str = "rows") -> Path:
    """Write the model as `root`/NAME/1 and return `root`."""
    folder = root / name / "1"
    folder.mkdir(parents=True)
    weights = RowWeights()
    onnx.save(weights.encoder(), folder / "encoder.onnx")
    onnx.save(weights.decoder(), folder / "decoder.onnx")
    np.savez(folder / "golden.npz", **weights.golden())
    (folder / "MODEL_CARD.md").write_text(f"# {name} 1\n\nA model for tests.\n")
    manifest = manifest_fields(
        TinyWeights((1, 2, 2), LATENT_DIM, 0), relevant_dims=(2, 0), name=name, version=1
    )
    del manifest["image"]
    manifest |= {"format_version": 2, "likelihood": "gaussian", "likelihood_scale": 0.3}
    manifest["vector"] = {"columns": COLUMNS, "offset": OFFSET, "scale": SCALE}
    write_manifest(folder, manifest)
    return root


class RowWeights:
    """The weights, the two graphs made of them, and the same sums in numpy."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.encode_weight = rng.standard_normal((len(COLUMNS), LATENT_DIM)).astype(np.float32)
        self.decode_weight = rng.standard_normal((LATENT_DIM, len(COLUMNS))).astype(np.float32)
        self.offset, self.scale = np.float32(OFFSET), np.float32(SCALE)

    def encode(self, rows: Floats) -> tuple[Floats, Floats]:
        """mu and logvar, float32 (batch, latent_dim)."""
        mu = (rows - self.offset) / self.scale @ self.encode_weight
        return mu, mu * np.float32(0.1) - np.float32(2)

    def decode(self, z: Floats) -> Floats:
        """float32 (batch, n_columns), in the data's own units."""
        return z @ self.decode_weight * self.scale + self.offset

    def golden(self) -> dict[str, npt.NDArray[Any]]:
        rng = np.random.default_rng(1)
        rows = (rng.standard_normal((4, len(COLUMNS))) * SCALE + OFFSET).astype(np.float32)
        z = rng.standard_normal((4, LATENT_DIM)).astype(np.float32)
        mu, logvar = self.encode(rows)
        return {"image": rows, "mu": mu, "logvar": logvar, "z": z, "decoded": self.decode(z)}

    def encoder(self) -> onnx.ModelProto:
        nodes = [
            helper.make_node("Sub", ["row", "offset"], ["centered"]),
            helper.make_node("Div", ["centered", "scale"], ["scaled"]),
            helper.make_node("MatMul", ["scaled", "weight"], ["mu"]),  # (batch, latent_dim)
            helper.make_node("Mul", ["mu", "slope"], ["sloped"]),
            helper.make_node("Sub", ["sloped", "two"], ["logvar"]),
        ]
        constants = {
            "offset": self.offset,
            "scale": self.scale,
            "weight": self.encode_weight,
            "slope": np.float32(0.1),
            "two": np.float32(2),
        }
        outputs = [_value("mu", LATENT_DIM), _value("logvar", LATENT_DIM)]
        return _model(nodes, _value("row", len(COLUMNS)), outputs, constants)

    def decoder(self) -> onnx.ModelProto:
        nodes = [
            helper.make_node("MatMul", ["z", "weight"], ["scaled"]),  # (batch, n_columns)
            helper.make_node("Mul", ["scaled", "scale"], ["centered"]),
            helper.make_node("Add", ["centered", "offset"], ["row"]),
        ]
        constants = {"weight": self.decode_weight, "scale": self.scale, "offset": self.offset}
        outputs = [_value("row", len(COLUMNS))]
        return _model(nodes, _value("z", LATENT_DIM), outputs, constants)


def _value(name: str, length: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", length])


def _model(
    nodes: list[onnx.NodeProto],
    given: onnx.ValueInfoProto,
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, Any],
) -> onnx.ModelProto:
    initializers = [
        numpy_helper.from_array(np.asarray(array), key) for key, array in constants.items()
    ]
    graph = helper.make_graph(nodes, "rows", [given], outputs, initializers)
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
