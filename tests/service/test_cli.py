"""The command line: one clear line and an exit code, never a trace."""

import json
import re
import socket
from pathlib import Path

import onnxruntime
import pytest
from typer.testing import CliRunner

from service.auth import KeyRing
from service.cli import app
from service.runtime import sessions
from service.settings import Settings
from tests.service.process import run, serve
from tests.service.tiny_model import read_manifest, write_tiny_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny model's own folder, to be damaged."""
    return write_tiny_model(tmp_path / "models" / "tiny" / "1")


def _tamper(folder: Path) -> None:
    graph = bytearray((folder / "decoder.onnx").read_bytes())
    graph[-1] ^= 1
    (folder / "decoder.onnx").write_bytes(graph)


def test_check_says_what_it_checked(folder: Path) -> None:
    result = CliRunner().invoke(app, ["check", str(folder), "--device", "cpu"])

    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("manifest   ok  tiny version 1, format 1, 2 relevant of 4")
    assert re.fullmatch(r"files      ok  4 files, \d+ bytes, hashes agree", lines[1])
    assert lines[2] == "shapes     ok  on CPUExecutionProvider"
    assert lines[3].startswith("self-test  ok  largest errors: mu ")


def test_check_refuses_a_tampered_file(folder: Path) -> None:
    _tamper(folder)

    result = CliRunner().invoke(app, ["check", str(folder)])

    assert result.exit_code == 1
    assert re.fullmatch(
        r"error: `.*decoder\.onnx` was changed after the export: SHA-256 must be .*\n",
        result.stderr,
    )


@pytest.mark.parametrize("place", ["foo/1", "tiny/7", "no name/1"])
def test_check_refuses_a_folder_that_lies_under_another_name(
    folder: Path, tmp_path: Path, place: str
) -> None:
    moved = tmp_path / place
    moved.parent.mkdir()
    folder.rename(moved)

    result = CliRunner().invoke(app, ["check", str(moved)])

    assert result.exit_code == 1
    assert result.stderr == (
        f"error: `{moved}` must lie in `tiny/1`, as its manifest says; move the folder back or "
        "export under another name\n"
    )


@pytest.mark.parametrize("place", ["tiny/.1", "copied", ".hidden/7"])
def test_check_takes_a_folder_that_no_repository_has(
    folder: Path, tmp_path: Path, place: str
) -> None:
    moved = tmp_path / place
    moved.parent.mkdir(exist_ok=True)
    folder.rename(moved)

    assert CliRunner().invoke(app, ["check", str(moved), "--device", "cpu"]).exit_code == 0


@pytest.mark.parametrize("name", ["01", "9999999999"])
def test_check_refuses_a_number_that_the_service_passes_over(folder: Path, name: str) -> None:
    moved = folder.rename(folder.with_name(name))

    result = CliRunner().invoke(app, ["check", str(moved), "--device", "cpu"])

    assert result.exit_code == 1
    assert "a version is a number from 1 to 999999999 without zeros" in result.stderr


def test_check_knows_the_place_of_the_folder_it_is_in(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = folder.rename(folder.with_name("2"))
    monkeypatch.chdir(moved)

    result = CliRunner().invoke(app, ["check", "."])

    assert result.exit_code == 1
    assert "must lie in `tiny/1`" in result.stderr


def test_check_says_why_it_takes_the_cpu(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "NVIDIA_CONTROL", Path("/"))
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: [sessions.CUDA, sessions.CPU]
    )
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda path, options, **_: real(path, options)
    )

    result = CliRunner(env={"RFVAE_LOG_FORMAT": "json"}).invoke(app, ["check", str(folder)])

    assert result.exit_code == 0
    assert "shapes     ok  on CPUExecutionProvider" in result.stdout
    line = json.loads(result.stderr)
    assert line["event"] == "device_fallback"
    assert line["reason"].startswith("the session must run on CUDA")


def test_key_makes_a_key_and_the_hash_that_lets_it_in() -> None:
    result = CliRunner().invoke(app, ["key"])

    assert result.exit_code == 0
    key, hashed = (line.split()[1] for line in result.stdout.splitlines())
    assert KeyRing([hashed]).knows(key.encode())
    assert Settings(api_key_hashes=(hashed,)).asks_for_keys


def test_settings_lists_every_variable() -> None:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["settings"])

    assert result.exit_code == 0
    for name in Settings.model_fields:
        assert f"RFVAE_{name.upper()}" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["serve", "--port", "70000"], "error: Setting `port`: input should be less than"),
        (["serve", "--device", "tpu"], "error: Setting `device`: input should be 'auto', 'cpu'"),
    ],
)
def test_serve_refuses_a_wrong_option(arguments: list[str], text: str) -> None:
    result = CliRunner().invoke(app, arguments)

    assert result.exit_code == 2
    assert result.stderr.startswith(text)
    assert result.stderr.count("\n") == 1


def test_serve_refuses_a_missing_repository(tmp_path: Path) -> None:
    done = run("serve", "--port", "0", "--models", str(tmp_path / "nowhere"))

    assert done.returncode == 1
    assert re.fullmatch(r"error: .*nowhere` does not exist or is no folder; .*\n", done.stderr)


def test_serve_refuses_a_tampered_file(folder: Path) -> None:
    _tamper(folder)

    done = run("serve", "--port", "0", "--models", str(folder.parents[1]))

    assert done.returncode == 1
    assert re.fullmatch(r"error: `.*decoder\.onnx` was changed after the export: .*\n", done.stderr)


def test_serve_refuses_a_manifest_of_a_later_format(folder: Path) -> None:
    later = {**read_manifest(folder), "format_version": 3}
    (folder / "manifest.json").write_text(json.dumps(later))

    done = run("serve", "--port", "0", "--models", str(folder.parents[1]))

    assert done.returncode == 1
    assert re.fullmatch(r"error: .*has format 3; this service reads up to 2; .*\n", done.stderr)


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="has CUDA"
)
def test_serve_refuses_a_device_that_the_build_lacks(repository: Path) -> None:
    done = run("serve", "--port", "0", "--models", str(repository), "--device", "cuda")

    assert done.returncode == 1
    assert done.stderr.startswith("error: `device` is `cuda`, which needs CUDAExecutionProvider")
    assert done.stderr.count("\n") == 1


def test_serve_refuses_a_port_in_use(repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--port", str(port), "--models", str(repository))

    assert done.returncode == 1
    assert done.stderr == (
        f"error: port {port} on 127.0.0.1 is in use; stop the program that has it, or choose "
        "another with --port\n"
    )


def test_serve_refuses_an_address_of_another_machine(repository: Path) -> None:
    done = run("serve", "--host", "203.0.113.1", "--port", "0", "--models", str(repository))

    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot listen on 203.0.113.1 port 0: ")


def test_serve_refuses_to_listen_openly_without_a_key(repository: Path) -> None:
    done = run("serve", "--host", "0.0.0.0", "--port", "0", "--models", str(repository))

    assert done.returncode == 2
    assert done.stderr == (
        "error: a service that other machines reach must ask for API keys; got the address 0.0.0.0 "
        "and no key; make one with `rfvae-serve key` and put its hash into RFVAE_API_KEY_HASHES, "
        "or say RFVAE_AUTH=off\n"
    )


def test_serve_listens_openly_when_no_key_is_wanted(repository: Path) -> None:
    with serve(repository, "--host", "0.0.0.0", RFVAE_AUTH="off") as server:
        assert "Address  http://localhost:" in server.welcome


def test_serve_refuses_an_unknown_variable(repository: Path) -> None:
    done = run("serve", "--models", str(repository), RFVAE_PROT="1")

    assert done.returncode == 2
    assert done.stderr.startswith("error: `RFVAE_PROT` is not a setting of this service")


def test_serve_says_where_and_what_to_try(repository: Path) -> None:
    with serve(repository) as server:
        lines = server.welcome.splitlines()

    assert "serves `tiny` version 1 (2 relevant of 4 dimensions)" in lines[0]
    assert lines[1].startswith(f"Address  {server.url}")
    assert [line.split()[0] for line in lines[3:]] == ["curl"] * 3


def test_serve_takes_settings_from_the_environment(repository: Path) -> None:
    with serve(repository, RFVAE_LOG_FORMAT="json", RFVAE_LOG_LEVEL="info") as server:
        code, errors = server.end()

    assert code == 0
    lines = [json.loads(line) for line in errors.splitlines()]
    assert {line["model"] for line in lines if line["event"] == "model_ready"} == {"tiny"}
