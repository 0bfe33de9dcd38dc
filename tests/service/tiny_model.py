"""Writes a complete, valid model folder with tiny ONNX graphs, for every test of the service.

encoder: mu = pixels / 255 · W + b with a fixed random W, logvar = mu · 0.1 - 2
decoder: image = sigmoid(z · V + c), so that every latent changes the picture
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
Floats = npt.NDArray[np.float32]
Shape = tuple[int, int, int]


def write_tiny_model(  # noqa: PLR0913 (a test names only what differs)
    folder: Path,
    *,
    channels: int = 1,
    size: int = 16,
    latent_dim: int = 4,
    relevant_dims: tuple[int, ...] = (2, 0),
    name: str = "tiny",
    version: int = 1,
    seed: int = 0,
    polarity: str = "light_on_dark",
    likelihood: str = "bernoulli",
) -> Path:
    """Write encoder.onnx, decoder.onnx, golden.npz, MODEL_CARD.md and manifest.json into `folder`.

    `folder` is the version's own folder (REPOSITORY/NAME/VERSION); it is made. Two calls with the
    same arguments write the same bytes; another `seed` gives another model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = TinyWeights((channels, size, size), latent_dim, seed)
    onnx.save(weights.encoder(), folder / "encoder.onnx")
    onnx.save(weights.decoder(), folder / "decoder.onnx")
    np.savez(folder / "golden.npz", **weights.golden())
    (folder / "MODEL_CARD.md").write_text(f"# {name} {version}\n\nA model for tests.\n")
    manifest = manifest_fields(weights, relevant_dims=relevant_dims, name=name, version=version)
    manifest["image"]["polarity"] = polarity
    manifest["likelihood"] = likelihood
    write_manifest(folder, manifest)
    return folder


def write_tiny_repository(root: Path, **options: Any) -> Path:
    """Write one tiny model as `root`/NAME/VERSION and return `root`."""
    name, version = options.get("name", "tiny"), options.get("version", 1)
    write_tiny_model(root / str(name) / str(version), **options)
    return root


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write `manifest.json` with the hashes of the files as they now are."""
    names = ("encoder.onnx", "decoder.onnx", "golden.npz", "MODEL_CARD.md")
    manifest["files"] = {name: _file_entry(folder / name) for name in names}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest as plain JSON, to be changed by a test and written again."""
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return manifest


class TinyWeights:
    """The weights, the two graphs made of them, and the same sums in numpy."""

    def __init__(self, shape: Shape, latent_dim: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        n_pixels = int(np.prod(shape))
        self.shape, self.latent_dim = shape, latent_dim
        self.encode_weight = _normal(rng, (n_pixels, latent_dim), 4 / n_pixels**0.5)
        self.encode_bias = _normal(rng, (latent_dim,), 0.1)
        self.decode_weight = _normal(rng, (latent_dim, n_pixels), 1.0)
        self.decode_bias = _normal(rng, (n_pixels,), 1.0)

    def encode(self, image: npt.NDArray[np.uint8]) -> tuple[Floats, Floats]:
        """mu and logvar, float32 (batch, latent_dim)."""
        pixels = image.reshape(len(image), -1).astype(np.float32) / np.float32(255)
        mu = pixels @ self.encode_weight + self.encode_bias
        return mu, mu * np.float32(0.1) - np.float32(2)

    def decode(self, z: Floats) -> Floats:
        """float32 (batch, channels, height, width) in [0, 1]."""
        logits = z @ self.decode_weight + self.decode_bias
        return (1 / (1 + np.exp(-logits))).reshape(len(z), *self.shape).astype(np.float32)

    def golden(self, n: int = 4) -> dict[str, npt.NDArray[Any]]:
        rng = np.random.default_rng(1)
        image = rng.integers(0, 256, (n, *self.shape), dtype=np.uint8)
        z = _normal(rng, (n, self.latent_dim), 1.0)
        mu, logvar = self.encode(image)
        return {"image": image, "mu": mu, "logvar": logvar, "z": z, "decoded": self.decode(z)}

    def encoder(self) -> onnx.ModelProto:
        nodes = [
            helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["float"], ["flat"]),  # (batch, n_pixels)
            helper.make_node("Div", ["flat", "full"], ["pixels"]),
            helper.make_node("Gemm", ["pixels", "weight", "bias"], ["mu"]),  # (batch, latent_dim)
            helper.make_node("Mul", ["mu", "slope"], ["scaled"]),
            helper.make_node("Sub", ["scaled", "offset"], ["logvar"]),
        ]
        constants = {
            "full": np.float32(255),
            "weight": self.encode_weight,
            "bias": self.encode_bias,
            "slope": np.float32(0.1),
            "offset": np.float32(2),
        }
        image = _value("image", TensorProto.UINT8, self.shape)
        outputs = [_value(name, TensorProto.FLOAT, (self.latent_dim,)) for name in ("mu", "logvar")]
        return _model("encoder", nodes, [image], outputs, constants)

    def decoder(self) -> onnx.ModelProto:
        nodes = [
            helper.make_node("Gemm", ["z", "weight", "bias"], ["logits"]),  # (batch, n_pixels)
            helper.make_node("Sigmoid", ["logits"], ["flat"]),
            helper.make_node("Reshape", ["flat", "shape"], ["image"]),  # (batch, *shape)
        ]
        constants = {
            "weight": self.decode_weight,
            "bias": self.decode_bias,
            "shape": np.array([-1, *self.shape], np.int64),
        }
        z = _value("z", TensorProto.FLOAT, (self.latent_dim,))
        image = _value("image", TensorProto.FLOAT, self.shape)
        return _model("decoder", nodes, [z], [image], constants)


def manifest_fields(
    weights: TinyWeights, *, relevant_dims: tuple[int, ...], name: str, version: int
) -> dict[str, Any]:
    """A manifest without `files`."""
    channels, height, width = weights.shape
    names = dict(zip(relevant_dims, ("x position", "scale", "y position"), strict=False))
    return {
        "format_version": 1,
        "name": name,
        "version": version,
        "created": "2026-01-02T03:04:05Z",
        "training": _training_facts(),
        "image": {
            "channels": channels,
            "height": height,
            "width": width,
            "polarity": "light_on_dark",
        },
        "likelihood": "bernoulli",
        "latent_dim": weights.latent_dim,
        "dimensions": [
            _dimension(dim, names.get(dim, f"z{dim}"), dim in relevant_dims)
            for dim in range(weights.latent_dim)
        ],
        "relevant_dims": list(relevant_dims),
        "relevance_rule": "relevance above 0.5 and mean KL above 0.1 nats",
        "elbo_quantiles": _quantiles(-300.0, 50.0),
        "scores": {"factor_vae_score": 1.0},
        "opset": OPSET,
        "parity": {
            "mu": 1e-6,
            "logvar": 1e-6,
            "image": 1e-6,
            "batches": [1, 2],
            "tolerance": 1e-4,
        },
    }


def _dimension(dim: int, name: str, relevant: bool) -> dict[str, Any]:
    return {
        "dim": dim,
        "name": name,
        "relevance": round(0.99 - 0.01 * dim, 2) if relevant else 0.02,
        "relevant": relevant,
        "mean_kl": 3.5 if relevant else 0.01,
        "mu_mean": 0.25 * dim,
        "mu_std": 1.5 if relevant else 0.05,
        "mu_quantiles": _quantiles(0.25 * dim, 1.0),
        "decoder_sensitivity": 0.8 if relevant else 0.001,
        "changes": ["grows 2.0 times as large"] if relevant else [],
    }


def _training_facts() -> dict[str, Any]:
    return {
        "objective": "rf-vae",
        "config": {"model": {"latent_dim": 4}},
        "config_sha256": "a" * 64,
        "data_name": "noise",
        "data_source": "procedural",
        "data_sha256": "b" * 64,
        "n_images": 1000,
        "seed": 0,
        "steps": 10,
        "seconds": 1.5,
        "code_version": "0.1.0",
        "torch_version": "2.13.0",
    }


def _quantiles(center: float, spread: float) -> dict[str, float]:
    offsets = {"p1": -2.3, "p5": -1.6, "p25": -0.7, "p50": 0.0, "p75": 0.7, "p95": 1.6, "p99": 2.3}
    return {key: center + offset * spread for key, offset in offsets.items()}


def _normal(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> Floats:
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def _value(name: str, kind: int, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, ["batch", *shape])


def _model(
    name: str,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, Any],
) -> onnx.ModelProto:
    initializers = [
        numpy_helper.from_array(np.asarray(array), key) for key, array in constants.items()
    ]
    graph = helper.make_graph(nodes, name, inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def _file_entry(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
