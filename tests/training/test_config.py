"""Configuration: what is read, what is refused, and with which words."""

import os
from pathlib import Path

import pytest

from training.config import Config
from training.config_file import config_sha256, config_toml, load_config, parse_config
from training.errors import ConfigError
from training.schedules import is_always_zero, schedule_value

CONFIGS = Path(__file__).parents[2] / "training" / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_config_loads_and_names_its_command(path: Path) -> None:
    assert load_config(path).run.steps > 0
    assert f"rfvae-train run training/configs/{path.name} --out" in path.read_text()


def test_defaults_are_the_authors_constants_for_oval_dsprites() -> None:
    paper = load_config(CONFIGS / "oval-dsprites-paper.toml")
    assert paper == Config()


@pytest.mark.parametrize("data_path", ['a "b".npz', "\\d ☃\t漢字", "😀/é.npy", "\x7f\x01"])
def test_config_toml_reads_back_to_an_equal_config(tmp_path: Path, data_path: str) -> None:
    schedules = {"objective": {"tc_weight": [[0, 1], [10, 2.5]]}, "data": {"path": data_path}}
    config = parse_config(schedules, origin="test")
    path = tmp_path / "config.toml"
    path.write_bytes(config_toml(config).encode())
    assert load_config(path) == config


def test_path_that_is_no_utf_8_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"a path is a name in UTF-8: got b'M\\xfcll'; rename"):
        parse_config({"data": {"path": os.fsdecode(b"M\xfcll")}}, origin="test")


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("objective.tc_wieght=1", "unknown key `objective.tc_wieght`; did you mean `tc_weight`?"),
        ("objectiv.tc_weight=1", "unknown key `objectiv`; did you mean `objective`?"),
        ("run.zzz=1", "unknown key `run.zzz`; valid keys: seed, steps, batch_size, log_every"),
        ("run.steps=0", "`run.steps`: input should be greater than 0: got 0"),
        ("run.steps=true", "`run.steps`: true and false are for settings that are on or off: got"),
        ("objective.tc_weight=false", "got False; give the value itself"),
        ("optimizer.learning_rate=[[0, true]]", "got [[0, True]]; give the value itself"),
        ("relevance.initial=[0.5, 0.5, 0.5, true]", "got [0.5, 0.5, 0.5, True]"),
        ("run.device=tpu", "`run.device`: input should be 'auto', 'cpu' or 'cuda': got 'tpu'"),
        ("objective.tc_weight=nan", "`objective.tc_weight`: input should be a finite number"),
        ("objective.tc_weight=[[5, 1], [5, 2]]", "with rising steps"),
        ("objective.tc_weight=-1", "`objective.tc_weight`: a weight or a rate must be 0 or more"),
        ("optimizer.learning_rate=[[0, 1], [9, -2]]", "must be 0 or more: got -2"),
        ("objective.tc_weight=[1, 2]", "[step, value] points with rising steps, for example"),
        ("objective.tc_weight=[]", "a schedule is a number or [step, value] points"),
        ("relevance.initial=1", "a learned relevance starts strictly between 0 and 1"),
        ("relevance.initial=[0.5, 0.5]", "one per dimension: got 2 values"),
        ("steps=5", "an override is `section.key=value`: got `steps=5`"),
        ("run.steps", "an override is `section.key=value`: got `run.steps`"),
    ],
)
def test_load_config_explains_a_bad_override(config_file: Path, override: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(config_file, [override])
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_load_config_says_a_thing_once(config_file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(config_file, ["optimizer.learning_rate=nan"])
    assert str(caught.value).count("optimizer.learning_rate") == 1


def test_load_config_applies_overrides_of_every_type(config_file: Path) -> None:
    config = load_config(
        config_file,
        [
            "run.steps=7",
            "data.path=/some/file.npz",
            "relevance.mode=fixed",
            "relevance.initial=[1, 1, 0, 0]",
            "objective.tc_weight=[[0, 40], [4000, 10]]",
            "discriminator.second_batch=false",
        ],
    )
    assert config.run.steps == 7
    assert config.data.path == Path("/some/file.npz")
    assert config.relevance.initial == (1, 1, 0, 0)
    assert config.objective.tc_weight == ((0, 40), (4000, 10))
    assert config.discriminator.second_batch is False


def test_load_config_says_that_a_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*No such file"):
        load_config(tmp_path / "none.toml")


def test_load_config_says_that_a_file_is_not_toml(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("[run\nsteps = 1")
    with pytest.raises(ConfigError, match="is not valid TOML"):
        load_config(path)


def test_config_sha256_ignores_order_and_sees_values() -> None:
    one = parse_config({"run": {"steps": 5, "seed": 2}, "data": {"size": 32}}, origin="test")
    same = parse_config({"data": {"size": 32}, "run": {"seed": 2, "steps": 5}}, origin="test")
    other = parse_config({"data": {"size": 32}, "run": {"seed": 3, "steps": 5}}, origin="test")
    assert config_sha256(one) == config_sha256(same) != config_sha256(other)


@pytest.mark.parametrize(
    ("step", "value"), [(0, 40), (4000, 40), (10_000, 25), (16_000, 10), (10**9, 10)]
)
def test_schedule_value_is_linear_between_points_and_constant_outside(
    step: int, value: float
) -> None:
    assert schedule_value(((1000, 40), (4000, 40), (16_000, 10)), step) == pytest.approx(value)


def test_schedule_value_of_a_number_is_that_number() -> None:
    assert schedule_value(2.5, 10**6) == 2.5


def test_is_always_zero_needs_every_point_at_zero() -> None:
    assert is_always_zero(0.0)
    assert is_always_zero(((0, 0), (5, 0)))
    assert not is_always_zero(((0, 0), (5, 1)))
