"""Sessions run where they were asked to run, or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from service.errors import ArtifactError, DeviceUnavailable
from service.runtime import sessions
from service.runtime.sessions import CPU, CUDA, TENSORRT, open_session, resolve_device
from service.runtime.tensorrt import ProfileShapes
from tests.service.runtime.fake_ort import FakeOrt
from tests.service.tiny_model import write_tiny_model

Install = Callable[..., FakeOrt]


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path) / "encoder.onnx"


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Install:
    """Put a fake ONNX Runtime with these providers, and an NVIDIA driver or none, in place."""

    def put(
        *, available: list[str], starts: list[str], raises: bool = False, driver: bool = True
    ) -> FakeOrt:
        fake = FakeOrt(onnxruntime, available=available, starts=starts, raises=raises)
        control = tmp_path / "nvidiactl"
        if driver:
            control.touch()
        monkeypatch.setattr(sessions, "ort", fake)
        monkeypatch.setattr(sessions, "NVIDIA_CONTROL", control)
        return fake

    return put


@pytest.mark.parametrize("as_bytes", [False, True])
def test_open_session_runs_on_the_cpu(encoder: Path, as_bytes: bool) -> None:
    session = open_session(encoder.read_bytes() if as_bytes else encoder, device="cpu")
    assert session.get_providers() == [CPU]
    mu, _ = session.run(None, {"image": np.zeros((3, 1, 16, 16), np.uint8)})
    assert mu.shape == (3, 4)


def test_open_session_uses_one_quiet_thread_by_default(encoder: Path, install: Install) -> None:
    fake = install(available=[CPU], starts=[CPU])
    open_session(encoder)
    options = fake.asked[0]["options"]
    assert options.intra_op_num_threads == 1
    assert options.inter_op_num_threads == 1
    assert options.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.enable_mem_pattern is False
    assert fake.preloaded == 0


def test_open_session_takes_threads_that_do_not_spin(encoder: Path, install: Install) -> None:
    fake = install(available=[CPU], starts=[CPU])
    open_session(encoder, threads=4)
    options = fake.asked[0]["options"]
    assert options.intra_op_num_threads == 4
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize(
    ("available", "driver", "device"),
    [([CUDA, CPU], True, "cuda"), ([CUDA, CPU], False, "cpu"), ([CPU], True, "cpu")],
)
def test_auto_means_cuda_where_build_and_machine_have_it(
    install: Install, available: list[str], driver: bool, device: str
) -> None:
    install(available=available, starts=available, driver=driver)
    assert resolve_device("auto") == device
    assert resolve_device("cpu") == "cpu"


def test_cuda_searches_by_heuristic_and_loads_its_libraries(
    encoder: Path, install: Install
) -> None:
    fake = install(available=[CUDA, CPU], starts=[CUDA, CPU])
    assert open_session(encoder, device="cuda").get_providers() == [CUDA, CPU]
    options = fake.asked[0]["providers"][CUDA]
    assert options["cudnn_conv_algo_search"] == "HEURISTIC"
    assert options["use_tf32"] == "0"
    assert options["enable_cuda_graph"] == "0"
    assert fake.asked[0]["options"].enable_mem_pattern is True
    assert fake.preloaded == 1


def test_cuda_graph_is_asked_for_without_memory_patterns(encoder: Path, install: Install) -> None:
    fake = install(available=[CUDA, CPU], starts=[CUDA, CPU])
    open_session(encoder, device="cuda", cuda_graph=True)
    assert fake.asked[0]["providers"][CUDA]["enable_cuda_graph"] == "1"
    assert fake.asked[0]["options"].enable_mem_pattern is False


@pytest.mark.parametrize("device", ["cpu", "cuda", "tensorrt"])
def test_no_session_goes_on_with_other_providers_after_an_error(
    encoder: Path, install: Install, device: str
) -> None:
    everything = [TENSORRT, CUDA, CPU]
    fake = install(available=everything, starts=everything)
    open_session(encoder, device=device)
    assert fake.asked[0]["fallback"] is False


def test_tensorrt_keeps_engines_and_knows_its_sizes(
    encoder: Path, install: Install, tmp_path: Path
) -> None:
    everything = [TENSORRT, CUDA, CPU]
    fake = install(available=everything, starts=everything)
    profile = ProfileShapes("image", (1, 16, 16), 32)
    open_session(encoder, device="tensorrt", cache_folder=tmp_path / "cache", profile=profile)
    options = fake.asked[0]["providers"][TENSORRT]
    assert options["trt_engine_cache_enable"] == "1"
    assert options["trt_profile_max_shapes"] == "image:32x1x16x16"
    assert Path(options["trt_engine_cache_path"]).is_dir()
    assert list(fake.asked[0]["providers"]) == everything


def test_a_device_that_the_build_lacks_is_refused(encoder: Path, install: Install) -> None:
    install(available=[CPU], starts=[CPU])
    message = (
        r"`device` is `cuda`, which needs CUDAExecutionProvider; this ONNX Runtime build has "
        r"CPUExecutionProvider; install the extra `gpu` or set `device` to `cpu`"
    )
    with pytest.raises(DeviceUnavailable, match=message):
        open_session(encoder, device="cuda")


def test_a_silent_fall_back_is_refused(encoder: Path, install: Install) -> None:
    install(available=[CUDA, CPU], starts=[CPU])
    message = "must run on CUDAExecutionProvider; active are CPUExecutionProvider; check the driver"
    with pytest.raises(DeviceUnavailable, match=message):
        open_session(encoder, device="cuda")


def test_a_silent_fall_back_is_refused_with_what_the_libraries_said(
    encoder: Path, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = install(available=[CUDA, CPU], starts=[CPU])
    fake.complaint = "Failed to load libcublasLt.so.13: no such file\nPlease follow a page\n"
    message = r"active are CPUExecutionProvider \(Failed to load libcublasLt.so.13: no such file\);"
    with pytest.raises(DeviceUnavailable, match=message):
        open_session(encoder, device="cuda")
    assert capsys.readouterr().out == ""


def test_a_graph_that_no_device_reads_is_no_fault_of_the_device(
    encoder: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = install(available=[CUDA, CPU], starts=[CUDA, CPU])

    class InvalidGraph(Exception):
        """Has the name of ONNX Runtime's error."""

    def fail(*args: object, **options: object) -> None:
        raise InvalidGraph("unknown operator")

    monkeypatch.setattr(fake, "InferenceSession", fail)
    with pytest.raises(ArtifactError, match=r"cannot be opened by ONNX Runtime 1.32.0: unknown op"):
        open_session(encoder, device="cuda")


def test_a_device_that_does_not_start_is_refused_in_one_line(
    encoder: Path, install: Install
) -> None:
    install(available=[CUDA, CPU], starts=[CPU], raises=True)
    with pytest.raises(DeviceUnavailable, match=r"libcudnn.so.9: cannot open shared") as caught:
        open_session(encoder, device="cuda")
    assert "\n" not in caught.value.detail


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x08\x08"])
def test_what_is_no_graph_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "encoder.onnx"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"encoder.onnx` cannot be opened by ONNX Runtime"):
        open_session(path)


def test_a_missing_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"cannot be opened by ONNX Runtime .*exist"):
        open_session(tmp_path / "encoder.onnx")


def test_opening_a_session_lets_other_threads_run() -> None:
    graph = _slow_graph()
    with ThreadPoolExecutor(1) as loader:
        opening = loader.submit(open_session, graph)
        turns = 0
        while not opening.done():
            time.sleep(0.0005)
            turns += 1
    assert opening.result().get_providers() == [CPU]
    assert turns >= 20  # ONNX Runtime before 1.31 gives one or two


def _slow_graph() -> bytes:
    """A graph whose constants take a fifth of a second to fold."""
    size, products = 700, 12
    names = ["weight", *(f"product{number}" for number in range(products))]
    nodes = [
        helper.make_node("MatMul", [before, "weight"], [after]) for before, after in pairwise(names)
    ]
    nodes.append(helper.make_node("Add", ["x", names[-1]], ["y"]))
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size]) for name in "xy"
    )
    weight = numpy_helper.from_array(np.eye(size, dtype=np.float32), "weight")
    graph = helper.make_graph(nodes, "slow", [x], [y], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    serialized: bytes = model.SerializeToString()
    return serialized
