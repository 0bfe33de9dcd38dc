from dataclasses import replace
from pathlib import Path

import pytest

import service
from onnx_export.card import model_card
from onnx_export.request import Exported
from onnx_export.trained_run import TrainedRun
from service.models.artifact import Manifest

BUNDLED = Path(service.__file__).parent / "bundled"


@pytest.fixture(scope="module")
def card(exported: Exported) -> str:
    return (exported.folder / "MODEL_CARD.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "line",
    [
        "# oval-dsprites-32, version 1",
        "| command | `rfvae-train run config.toml --out RUN`, with the settings below |",
        "| seed | 1 |",
        "| steps | 2 |",
        "| data | oval-dsprites-32 (procedural), 245,760 images |",
        "| 3 | scale | yes | 0.900 | 6.000 | -2.00 … 2.00 | 0.5000 |",
        "- **scale**: moves 3 pixels up",
        "Rule: Relevant is what moves.",
        "- dimension 1 counts as relevant in spite of its looks",
        "| Metric II (one factor varied) | 95.4 % (94.0 % to 97.0 %) | 95.0 % (93.0 % to 97.0 %) |",
        "![Latent traversals, most relevant dimension first](traversal.png)",
        "latent_dim = 4",
    ],
)
def test_card_states(card: str, line: str) -> None:
    assert any(found.startswith(line) for found in card.splitlines())


def test_card_says_how_long_it_took(card: str) -> None:
    assert "| time taken | 0 s on `cpu` |" in card or " s on `cpu` |" in card


def test_card_lists_relevant_dimensions_first(card: str) -> None:
    rows = [line.split(" | ")[0] for line in card.splitlines() if "… 2.00" in line]
    assert rows == ["| 3", "| 1", "| 0", "| 2"]


def test_card_of_drawn_images_asks_nobody_to_keep_them(card: str) -> None:
    assert "golden.npz" not in card


def card_of_data(name: str, run: TrainedRun, manifest: Manifest) -> str:
    data = run.config.data.model_copy(update={"name": name})
    config = run.config.model_copy(update={"data": data})
    other = replace(run, loaded=replace(run.loaded, config=config))
    return model_card(other, manifest, pictures=[])


@pytest.mark.parametrize("name", ["oval-dsprites", "color-oval-dsprites"])
def test_card_explains_the_half_turn_of_an_ellipse(
    run: TrainedRun, exported: Exported, name: str
) -> None:
    text = card_of_data(name, run, exported.manifest)
    assert "- An ellipse looks the same after half a turn." in text
    assert "those about half a turn apart look alike" in text
    assert "twice" not in text


@pytest.mark.parametrize("name", ["dsprites", "color-dsprites", "noisy-dsprites"])
def test_card_explains_the_turns_of_each_shape(
    run: TrainedRun, exported: Exported, name: str
) -> None:
    text = card_of_data(name, run, exported.manifest)
    assert (
        "- A square looks the same after a quarter turn, an ellipse after half a turn, a heart "
        "after a whole one only." in text
    )


@pytest.mark.parametrize("folder", sorted(BUNDLED.iterdir()), ids=lambda folder: folder.name)
def test_bundled_card_has_the_limits_of_its_data(
    run: TrainedRun, exported: Exported, folder: Path
) -> None:
    def limits(text: str) -> str:
        return text.partition("## Limits")[2].partition("## Settings")[0]

    bundled = (folder / "1" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert limits(bundled) == limits(card_of_data(folder.name, run, exported.manifest))


def test_card_says_what_a_sweep_was_measured_to_do(card: str) -> None:
    assert "## Sweeps\n\n| swept | read back | turns back by | moves most beside it |" in card


def test_card_of_other_data_does_not_speak_of_ellipses(run: TrainedRun, exported: Exported) -> None:
    assert "ellipse" not in card_of_data("clocks", run, exported.manifest)


def test_card_shows_only_pictures_that_are_there(run: TrainedRun, exported: Exported) -> None:
    text = model_card(run, exported.manifest, pictures=["relevance.png"], warnings=[])
    assert "(relevance.png)" in text
    assert "(traversal.png)" not in text


def test_card_repeats_what_force_overruled(run: TrainedRun, exported: Exported) -> None:
    text = model_card(run, exported.manifest, pictures=[], warnings=["it is not finished"])
    assert "## Exported with `--force`\n\n- it is not finished" in text


def test_card_gives_hours_and_minutes(run: TrainedRun, exported: Exported) -> None:
    training = exported.manifest.training.model_copy(update={"seconds": 4 * 3600 + 125})
    manifest = exported.manifest.model_copy(update={"training": training})
    assert "| time taken | 4 h 2 min on `cpu` |" in model_card(
        run, manifest, pictures=[], warnings=[]
    )
