"""`rfvae-train run --data`: what is found in a folder or a file, what is chosen, who wins."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from training.auto import choose_config
from training.config_file import load_config, parse_config
from training.data import open_images
from training.errors import ConfigError, DataError
from training.recipe import FROZEN, SMALL_SET_STEPS, STEPS, WAIT, default_steps, recipe
from training.schedules import schedule_value

ROOT = Path(__file__).parents[2]
MakeFolder = Callable[..., Path]


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """A folder of pictures: `make_folder([(height, width)], color=…, paper=…)`."""

    def make(sides: list[tuple[int, int]], *, color: bool = False, paper: int = 255) -> Path:
        rng = np.random.default_rng(4)
        folder = tmp_path / "pictures"
        folder.mkdir()
        for k, (height, width) in enumerate(sides * 4):
            pixels = np.full((height, width, 3), paper, np.uint8)
            pixels[height // 3 : -height // 3, width // 3 : -width // 3] = 255 - paper
            if color:
                pixels[height // 2] = rng.integers(0, 256, 3)
            Image.fromarray(pixels).save(folder / f"{k}.png")
        return folder

    return make


@pytest.mark.parametrize(
    ("sides", "size"),
    [
        ([(8, 8)], 32),
        ([(28, 28)], 28),
        ([(100, 100)], 100),
        ([(128, 128)], 128),
        ([(300, 300)], 64),
        ([(60, 40), (90, 70)], 64),
        ([(30, 40)], 32),
    ],
)
def test_choose_config_takes_a_size_that_fits(
    make_folder: MakeFolder, sides: list[tuple[int, int]], size: int
) -> None:
    assert choose_config(make_folder(sides), {}).config.data.size == size


@pytest.mark.parametrize(
    ("color", "paper", "words"),
    [
        (False, 255, "gray, dark on light, black and white"),
        (False, 0, "gray, light on dark, black and white"),
        (True, 255, "color, dark on light"),
    ],
)
def test_choose_config_finds_channels_and_polarity(
    make_folder: MakeFolder, color: bool, paper: int, words: str
) -> None:
    choice = choose_config(make_folder([(40, 40)], color=color, paper=paper), {})
    assert choice.config.data.channels == (3 if color else 1)
    assert words in choice.lines[0]


def test_choose_config_holds_out_a_part_and_says_so(make_folder: MakeFolder) -> None:
    choice = choose_config(make_folder([(40, 40)] * 10), {})
    assert choice.config.data.holdout == 0.1
    assert open_images(choice.config.data).n_images == 36
    assert choice.lines[1].startswith("held out: 10% of the images")


def test_choose_config_points_to_folders_that_may_belong_together(
    make_folder: MakeFolder,
) -> None:
    folder = make_folder([(40, 40)] * 10)
    for number, path in enumerate(sorted(folder.iterdir())):
        (folder / f"patient-{number % 10}").mkdir(exist_ok=True)
        path.rename(folder / f"patient-{number % 10}" / path.name)

    apart = choose_config(folder, {})
    together = choose_config(folder, {"data": {"holdout_by": "folder"}})

    assert apart.lines[2].startswith("the images lie in 10 folders: where those of one belong")
    assert together.lines[1].startswith("held out: 10% of the images, in whole folders, which")
    assert not any("lie in" in line for line in together.lines)
    assert open_images(together.config.data).n_images == 36


def test_choose_config_lets_explicit_settings_win(make_folder: MakeFolder) -> None:
    explicit = {
        "data": {"size": 48, "channels": 3, "holdout": 0},
        "run": {"steps": 500},
        "objective": {"tc_weight": 7},
    }
    choice = choose_config(make_folder([(40, 40)]), explicit)
    config = choice.config
    assert (config.data.size, config.data.channels, config.data.holdout) == (48, 3, 0)
    assert (config.run.steps, config.objective.tc_weight) == (500, 7)
    assert config.relevance.frozen_steps == round(FROZEN * 500)  # chosen for those steps
    assert "data.size" in choice.lines[-1]
    assert not any(line.startswith("held out") for line in choice.lines)


def test_choose_config_repeats_the_settings_of_a_run_on_other_images(
    make_folder: MakeFolder,
) -> None:
    folder = make_folder([(40, 40)])
    explicit = {"data": {"name": "images", "path": "where/the/others/were", "size": 48}}
    choice = choose_config(folder, explicit)
    assert choice.config.data.path == folder
    assert choice.config.data.size == 48
    assert choice.lines[-1] == "as you set it: data.name, data.size"


def test_choose_config_says_how_long_the_gate_may_wait(make_folder: MakeFolder) -> None:
    choice = choose_config(make_folder([(40, 40)]), {})
    gate = choice.config.relevance
    expected = f"at step {gate.frozen_steps:,}, or up to {gate.wait_steps:,} later"
    assert any(expected in line for line in choice.lines)


@pytest.mark.parametrize(
    ("explicit", "text"),
    [
        ({"run": {"stepz": 1}}, "unknown key `run.stepz`; did you mean `steps`?"),
        ({"run": {"steps": "many"}}, "`run.steps`: input should be a valid integer"),
        ({"runs": {}}, "unknown key `runs`; did you mean `run`?"),
        ({"data": {"size": 0}}, "`data.size`: input should be greater than 0"),
        ({"data": "pictures"}, "`data`: "),
        ({"run": 5}, "`run`: "),
    ],
)
def test_choose_config_explains_a_bad_setting(
    make_folder: MakeFolder, explicit: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        choose_config(make_folder([(40, 40)]), explicit)
    assert text in str(caught.value)


@pytest.mark.parametrize("flat", [True, False], ids=["rows of pixels", "images"])
def test_choose_config_reads_digits_from_an_array(tmp_path: Path, flat: bool) -> None:
    digits = load_digits()
    path = tmp_path / "digits.npy"
    np.save(path, digits.data if flat else digits.images)
    config = choose_config(path, {}).config
    assert (config.data.name, config.data.size, config.data.channels) == ("images", 32, 1)
    assert config.objective.likelihood == "bernoulli"


def test_choose_config_takes_numbers_below_zero_for_vectors(tmp_path: Path) -> None:
    path = tmp_path / "neurons.npy"
    np.save(path, np.random.default_rng(0).normal(size=(50, 16)))
    choice = choose_config(path, {})
    assert (choice.config.data.name, choice.config.data.standardize) == ("vectors", True)
    assert choice.config.objective.likelihood == "gaussian"
    assert choice.lines[0].startswith("found 45 rows of 16 numbers")
    assert "each column brought to mean 0" in choice.lines[0]
    assert "images" not in " ".join(choice.lines)
    kept = choose_config(path, {"data": {"standardize": False}})
    assert kept.lines[0] == "found 45 rows of 16 numbers to train on, as they are"


def test_choose_config_takes_small_rows_of_pixels_for_images_where_it_is_told(
    tmp_path: Path,
) -> None:
    path = tmp_path / "tiny.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (50, 49), dtype=np.uint8))
    config = choose_config(path, {"data": {"name": "images"}}).config
    assert (config.data.size, config.data.standardize) == (32, False)


def test_choose_config_reads_a_table(tmp_path: Path) -> None:
    path = tmp_path / "wine.csv"
    path.write_text("a,b,c\n" + "1,2,3\n4,5,7\n" * 10)
    assert choose_config(path, {}).config.data.name == "vectors"


@pytest.mark.parametrize("steps", [500, 500.0, "500"])
def test_choose_config_stretches_its_schedules_to_the_steps_however_written(
    make_folder: MakeFolder, steps: object
) -> None:
    config = choose_config(make_folder([(32, 32)]), {"run": {"steps": steps}}).config
    assert config.run.steps == 500
    assert config.relevance.frozen_steps < 500


def test_choose_config_says_that_the_form_is_not_kept(make_folder: MakeFolder) -> None:
    lines = choose_config(make_folder([(20, 60), (60, 30)]), {}).lines
    assert "their height is 0.33 to 2 times their width, and they become square: pad" in lines[1]


def test_choose_config_of_square_images_has_nothing_to_say_of_form(
    make_folder: MakeFolder,
) -> None:
    assert not any("height" in line for line in choose_config(make_folder([(40, 40)]), {}).lines)


def test_choose_config_says_why_no_picture_can_be_read(tmp_path: Path) -> None:
    for name in "ab":
        Image.fromarray(np.full((20, 20), 99.5, np.float32)).save(tmp_path / f"{name}.tif")
    with pytest.raises(DataError, match=r"such as `a.tif`: its values are 99.5 to 99.5: scale"):
        choose_config(tmp_path, {})


def test_choose_config_says_that_nothing_is_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--data must name a folder of images or a file: .*none"):
        choose_config(tmp_path / "none", {})
    with pytest.raises(DataError, match="holds no images"):
        choose_config(tmp_path, {})
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"got the image `.*a\.png`; give its folder"):
        choose_config(tmp_path / "a.png", {})
    with pytest.raises(DataError, match=r"none of a sample of 1 images .* save them anew"):
        choose_config(tmp_path, {})


@pytest.mark.parametrize("n", [1, 2])
def test_choose_config_needs_two_images_to_learn_from(make_folder: MakeFolder, n: int) -> None:
    folder = make_folder([(40, 40)])
    for path in sorted(folder.iterdir())[n:]:
        path.unlink()
    with pytest.raises(DataError) as caught:
        choose_config(folder, {})
    assert str(caught.value) == (
        f"there must be 2 images or rows to learn from: `pictures` has {n - 1}, with "
        "`data.holdout` = 0.1; give more, or hold out none"
    )


def test_choose_config_leaves_text_to_the_reader_that_refuses_it(tmp_path: Path) -> None:
    np.save(tmp_path / "text.npy", np.full((70, 64), "abc"))
    with pytest.raises(DataError, match=r"must be numbers: .* holds <U3"):
        choose_config(tmp_path / "text.npy", {})


def test_recipe_is_the_same_shape_at_any_length() -> None:
    short, long = (recipe(steps=n, image_shape=(1, 64, 64)) for n in (1000, 20_000))
    for key in ("kl_weight_max", "tc_weight", "sparsity_weight", "entropy_weight"):
        for share in (0.0, 0.1, 0.3, 0.6, 1.0):
            values = [
                schedule_value(tuple(map(tuple, tables["objective"][key])), round(share * n))
                for tables, n in ((short, 1000), (long, 20_000))
            ]
            assert values[0] == pytest.approx(values[1], rel=0.05, abs=0.1)


@pytest.mark.parametrize(
    ("data", "channels"), [("color-oval-dsprites", 3), ("oval-dsprites", 1), ("scenes-3d", 3)]
)
def test_recipe_is_what_rows_of_the_results_show(data: str, channels: int) -> None:
    row = load_config(ROOT / f"training/configs/{data}-recipe.toml")
    tables = recipe(steps=STEPS, image_shape=(channels, 64, 64))
    tables["data"] = {"name": data, "size": 64}
    tables["run"] |= {"seed": 1, "threads": 1}

    assert parse_config(tables, origin="the recipe") == row


def test_recipe_makes_schedules_that_rise_even_for_very_few_steps() -> None:
    for steps in (1, 3, 10):
        points = recipe(steps=steps, image_shape=(1, 64, 64))["objective"]["kl_weight_max"]
        assert [step for step, _ in points] == sorted({step for step, _ in points})


def test_recipe_ends_its_schedules_even_if_the_gate_waits_longest() -> None:
    tables = recipe(steps=10_000, image_shape=(1, 64, 64))
    schedules = [
        value
        for section in tables.values()
        for value in section.values()
        if isinstance(value, list)
    ]

    assert len(schedules) == 9
    assert max(points[-1][0] for points in schedules) <= 10_000 * (1 - WAIT)


def test_recipe_scales_its_weights_with_the_pixels() -> None:
    large, small = (
        recipe(steps=1000, image_shape=(1, side, side))["objective"]["tc_weight"][0][1]
        for side in (64, 32)
    )
    assert large == 4 * small


def test_default_steps_are_fewer_for_a_small_set() -> None:
    assert (default_steps(100), default_steps(10**6)) == (SMALL_SET_STEPS, STEPS)
