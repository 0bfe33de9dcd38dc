import errno
import hashlib
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from onnx_export.contents import open_service_engine
from onnx_export.errors import ExportError
from onnx_export.export import export_run
from onnx_export.forms import Precision
from onnx_export.inputs import Floats, Samples
from onnx_export.request import Exported, Request
from onnx_export.trained_run import TrainedRun, read_run
from onnx_export.verify import Engine, Reference
from service.models.artifact import (
    ArtifactError,
    Manifest,
    load_golden,
    load_manifest,
    verify_files,
)
from training.data.image_folder import image_files
from training.data.polarity import polarity_of
from training.errors import DataError

FILES = {
    "MODEL_CARD.md",
    "decoder.onnx",
    "encoder.onnx",
    "golden.npz",
    "manifest.json",
    "relevance.png",
    "traversal.png",
}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_export_writes_a_folder_that_the_service_accepts(exported: Exported) -> None:
    manifest = load_manifest(exported.folder)
    verify_files(exported.folder, manifest)
    engine = open_service_engine(exported.folder, manifest)
    result = engine.self_test(load_golden(exported.folder))

    assert max(result.mu, result.logvar, result.image) <= 1e-5
    assert manifest == exported.manifest
    with pytest.raises(DataError, match="holds no images"):
        image_files(exported.folder.parent)  # Below training images, its pictures are none of them.
    assert set(contents(exported.folder)) == FILES
    assert set(manifest.files) == FILES - {"manifest.json"}


def test_export_gives_what_torch_gives(exported: Exported, run: TrainedRun) -> None:
    images = np.random.default_rng(1).integers(0, 256, (5, 1, 32, 32), dtype=np.uint8)
    engine = open_service_engine(exported.folder, exported.manifest)
    mu, logvar = Reference(run.vae).encode(images)

    np.testing.assert_allclose(engine.encode(images)[0], mu, rtol=0, atol=1e-5)
    np.testing.assert_allclose(engine.encode(images)[1], logvar, rtol=0, atol=1e-5)
    np.testing.assert_allclose(engine.decode(mu), Reference(run.vae).decode(mu), rtol=0, atol=1e-5)


def test_export_states_parity_and_the_time_of_the_run(exported: Exported, run: TrainedRun) -> None:
    parity = exported.manifest.parity
    assert 0 < max(parity.mu, parity.logvar, parity.image) <= 1e-5
    assert (parity.batches, parity.tolerance) == ([1, 2, 7, 64], 1e-4)
    assert exported.manifest.created == run.info["updated"]


def test_export_twice_gives_the_same_bytes(
    exported: Exported, run_dir: Path, tmp_path: Path
) -> None:
    again = export_run(read_run(run_dir), Request(tmp_path, names="scale=3"))
    assert contents(again.folder) == contents(exported.folder)


def test_export_writes_graphs_that_stand_alone(exported: Exported) -> None:
    for name in ("encoder", "decoder"):
        model = onnx.load(exported.folder / f"{name}.onnx", load_external_data=False)
        facts = {prop.key: prop.value for prop in model.metadata_props}
        assert json.loads(facts["rfvae.names"]) == ["z0", "z1", "z2", "scale"]
        assert "Random" not in "".join(node.op_type for node in model.graph.node)
        assert {t.data_location for t in model.graph.initializer} == {onnx.TensorProto.DEFAULT}


@pytest.mark.parametrize("name", sorted(FILES - {"manifest.json"}))
def test_export_protects_every_file_against_changes(
    exported: Exported, tmp_path: Path, name: str
) -> None:
    folder = Path(shutil.copytree(exported.folder, tmp_path / "copy"))
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)

    with pytest.raises(ArtifactError, match=f"{name}` was changed after the export"):
        verify_files(folder, load_manifest(folder))


@pytest.mark.usefixtures("traced_before")
@pytest.mark.parametrize("output", ["mu", "logvar", "image"])
def test_export_with_a_mismatch_says_where_and_writes_nothing(
    run: TrainedRun, tmp_path: Path, output: str
) -> None:
    class Wrong:
        """Off by 0.25 in the fourth row."""

        def __init__(self, engine: Engine) -> None:
            self._engine = engine

        def encode(self, images: Samples) -> tuple[Floats, Floats]:
            mu, logvar = self._engine.encode(images)
            return self._spoil("mu", mu), self._spoil("logvar", logvar)

        def decode(self, z: Floats) -> Floats:
            return self._spoil("image", self._engine.decode(z))

        def _spoil(self, name: str, values: Floats) -> Floats:
            if name == output:
                values[3:4] += 0.25
            return values

    def open_wrong(folder: Path, manifest: Manifest) -> Engine:
        return Wrong(open_service_engine(folder, manifest))

    message = f"`{output}`: 0.25 in row 3 of a batch of 7 random inputs"
    with pytest.raises(ExportError, match=re.escape(message)):
        export_run(run, Request(tmp_path / "repository"), open_engine=open_wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("traced_before")
def test_export_never_overwrites_a_version(run: TrainedRun, tmp_path: Path) -> None:
    first = export_run(run, Request(tmp_path, name="shapes"))
    before = contents(first.folder)
    with pytest.raises(ExportError, match="a version is never overwritten"):
        export_run(run, Request(tmp_path, name="shapes", version=1))
    second = export_run(run, Request(tmp_path, name="shapes"))

    assert contents(first.folder) == before
    assert (second.folder.name, second.manifest.version) == ("2", 2)


def test_export_refuses_a_doubtful_run_and_names_every_doubt(
    run: TrainedRun, tmp_path: Path
) -> None:
    info = {**run.info, "status": "interrupted"}
    doubtful = replace(
        run,
        loaded=replace(run.loaded, run_info=info),
        report={**run.report, "relevant_dims": []},
    )
    with pytest.raises(ExportError) as raised:
        export_run(doubtful, Request(tmp_path))

    text = str(raised.value)
    assert text.startswith(f"`{run.path}` should not be exported as it is:\n- it is not finished")
    assert "\n- no dimension is relevant" in text
    assert text.endswith(
        "nothing was written; `--force` exports it all the same and the model card says so"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("traced_before")
def test_export_by_force_says_so_in_the_card(run: TrainedRun, tmp_path: Path) -> None:
    info = {**run.info, "status": "interrupted"}
    doubtful = replace(run, loaded=replace(run.loaded, run_info=info))
    forced = export_run(doubtful, Request(tmp_path, force=True))

    assert len(forced.warnings) == 1
    card = (forced.folder / "MODEL_CARD.md").read_text()
    assert "## Exported with `--force`\n\n- it is not finished" in card


@pytest.mark.usefixtures("traced_before")
def test_export_by_force_goes_without_the_training_images(run: TrainedRun, tmp_path: Path) -> None:
    info = {**run.info, "data": {**run.info["data"], "sha256": "0" * 64}}
    moved = replace(run, loaded=replace(run.loaded, run_info=info))
    with pytest.raises(ExportError, match="the training images are needed to check the graphs"):
        export_run(moved, Request(tmp_path))

    typical = Reference(run.vae).decode(np.full((1, 4), 0.1, np.float32))
    forced = export_run(moved, Request(tmp_path, force=True))
    assert forced.manifest.image is not None
    assert forced.manifest.image.polarity == polarity_of(torch.from_numpy(typical))
    golden = load_golden(forced.folder)
    assert len({image.tobytes() for image in golden.image}) == 4


def test_export_of_broken_weights_needs_force(run_dir: Path, tmp_path: Path) -> None:
    broken = read_run(run_dir)
    with torch.no_grad():
        broken.vae.get_parameter("encoder.0.weight")[0] = float("nan")
    with pytest.raises(ExportError, match="its weights are not finite: 16 of 512 values of"):
        export_run(broken, Request(tmp_path))

    forced = export_run(broken, Request(tmp_path, force=True))
    assert "- its weights are not finite" in (forced.folder / "MODEL_CARD.md").read_text()


def test_export_lists_hashes_of_what_it_wrote(exported: Exported) -> None:
    for name, entry in exported.manifest.files.items():
        content = (exported.folder / name).read_bytes()
        assert entry.sha256 == hashlib.sha256(content).hexdigest()
        assert entry.size_bytes == len(content)


@pytest.mark.usefixtures("traced_before")
@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_export_in_reduced_precision_states_what_it_costs(
    run: TrainedRun, tmp_path: Path, precision: Precision
) -> None:
    reduced = export_run(run, Request(tmp_path, precision=precision))

    assert reduced.reduction is not None
    assert [latent.name for latent in reduced.reduction.loss.latents] == ["z3", "z1"]
    assert reduced.manifest.name == f"oval-dsprites-32-{precision}"
    parity = reduced.manifest.parity
    largest = max(parity.mu, parity.logvar, parity.image)
    assert parity.tolerance == pytest.approx(2 * largest, rel=0.3)
    assert largest > 0
    card = (reduced.folder / "MODEL_CARD.md").read_text()
    assert f"Precision: {precision}. Largest change against float32 over 256 images" in card
    facts = onnx.load(reduced.folder / "decoder.onnx").metadata_props
    assert f"{precision}" in {fact.value for fact in facts if fact.key == "rfvae.precision"}


@pytest.mark.usefixtures("traced_before")
def test_reduced_graphs_are_tested_by_what_each_output_was_found_to_differ(
    run: TrainedRun, tmp_path: Path
) -> None:
    reduced = export_run(run, Request(tmp_path, precision="int8", max_error_percent=50))
    engine = open_service_engine(reduced.folder, reduced.manifest)
    golden = load_golden(reduced.folder)
    engine.self_test(golden)

    with pytest.raises(ArtifactError, match="`image` must be within"):
        engine.self_test(replace(golden, decoded=1 - golden.decoded))


@pytest.mark.usefixtures("traced_before")
def test_export_refuses_a_reduced_precision_that_costs_too_much(
    run: TrainedRun, tmp_path: Path
) -> None:
    request = Request(tmp_path / "repository", precision="int8", max_error_percent=0.0)
    with pytest.raises(ExportError, match="a reduced precision may move values by 0 % of their"):
        export_run(run, request)
    assert list(tmp_path.iterdir()) == []


def test_export_pruned_serves_the_relevant_dimensions_only(run: TrainedRun, tmp_path: Path) -> None:
    pruned = export_run(run, Request(tmp_path, pruned=True, names="scale=3"))
    engine = open_service_engine(pruned.folder, pruned.manifest)
    images = np.random.default_rng(1).integers(0, 256, (2, 1, 32, 32), dtype=np.uint8)

    assert [dim.name for dim in pruned.manifest.dimensions] == ["scale", "z1"]
    assert pruned.manifest.latent_dim == 2
    mu, _ = Reference(run.vae).encode(images)
    np.testing.assert_allclose(engine.encode(images)[0], mu[:, [3, 1]], rtol=0, atol=1e-5)
    assert (
        "Pruned: of 4 latent dimensions only the 2" in (pruned.folder / "MODEL_CARD.md").read_text()
    )


@pytest.mark.usefixtures("traced_before")
def test_export_signs_the_manifest_and_adds_to_triton(run: TrainedRun, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "private.pem").write_bytes(pem)
    request = Request(
        tmp_path / "models", signing_key=tmp_path / "private.pem", triton=tmp_path / "triton"
    )

    folder = export_run(run, request).folder

    signature = (folder / "manifest.json.sig").read_bytes()
    key.public_key().verify(signature, (folder / "manifest.json").read_bytes())
    copied = tmp_path / "triton" / "oval-dsprites-32-decoder" / "1" / "model.onnx"
    assert copied.read_bytes() == (folder / "decoder.onnx").read_bytes()


def test_export_looks_for_the_triton_version_before_it_writes(
    run: TrainedRun, tmp_path: Path
) -> None:
    (tmp_path / "triton" / "oval-dsprites-32-encoder" / "1").mkdir(parents=True)
    with pytest.raises(ExportError, match="a version is never overwritten: "):
        export_run(run, Request(tmp_path / "models", triton=tmp_path / "triton"))
    assert not (tmp_path / "models").exists()


@pytest.mark.usefixtures("traced_before")
def test_export_without_room_for_triton_writes_nothing(
    run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copyfile

    def copyfile(source: Path, target: Path) -> None:
        if source.name == "decoder.onnx":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    with pytest.raises(ExportError, match=r"-decoder` is full: nothing was written"):
        export_run(run, Request(tmp_path / "models", triton=tmp_path / "triton"))

    assert list(tmp_path.iterdir()) == []


def test_export_for_triton_needs_a_folder_of_its_own(run: TrainedRun, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="`--triton` must not be `--to`"):
        export_run(run, Request(tmp_path, triton=tmp_path / "x" / ".."))


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"report": {"format_version": 1}}, "got no `dims`"),
        ({"evaluation": {"step": 2}}, "got no `metrics`"),
        ({"evaluation": {"step": 2, "metrics": {"m": {"paper": {"score": float("nan")}}}}}, "`sc"),
    ],
)
def test_export_of_garbled_reports_says_what_is_missing(
    run: TrainedRun, tmp_path: Path, changes: dict[str, Any], found: str
) -> None:
    with pytest.raises(ExportError, match=f"must be whole: .*{found}.*`rfvae-train report` and"):
        export_run(replace(run, **changes), Request(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("traced_before")
def test_export_of_a_run_that_was_pruned_before_says_so(run: TrainedRun, tmp_path: Path) -> None:
    facts = {
        "run": "full",
        "latent_dim": 9,
        "dims": [3, 1, 0, 2],
        "images": "training",
        "n_images": 2000,
        "share_lost": 0.0123,
    }
    info = {**run.info, "pruned_from": facts}
    pruned = export_run(replace(run, loaded=replace(run.loaded, run_info=info)), Request(tmp_path))

    assert pruned.manifest.name == "oval-dsprites-32-pruned"
    card = (pruned.folder / "MODEL_CARD.md").read_text()
    assert "made by `rfvae-train prune` from the run `full`. Of its 9 latent dimensions" in card
    assert "and `latent_dim = 9`, then `rfvae-train prune`" in card


def test_export_looks_for_the_key_before_it_writes(run: TrainedRun, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="cannot read the key"):
        export_run(run, Request(tmp_path / "models", signing_key=tmp_path / "none.pem"))
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("shape", [(2, 32, 32), (4, 32, 32)])
def test_export_refuses_samples_that_the_service_cannot_read(
    run_dir: Path, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    other = read_run(run_dir)
    other.vae.image_shape = shape
    message = f"this model's samples have the shape {shape}; use it from Python with"
    with pytest.raises(ExportError, match=re.escape(message)):
        export_run(other, Request(tmp_path / "models"))
    assert not (tmp_path / "models").exists()
