"""Held-out images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from training.config import DataConfig
from training.data import held_out_part, open_images
from training.data.parts import split_groups, split_indices
from training.errors import DataError


def test_split_indices_covers_all_images_once() -> None:
    kept, held = split_indices(1000, 0.1)
    assert (len(kept), len(held)) == (900, 100)
    assert torch.equal(torch.cat([kept, held]).sort().values, torch.arange(1000))
    assert all(
        torch.equal(a, b) for a, b in zip(split_indices(1000, 0.1), (kept, held), strict=True)
    )


def test_split_indices_holds_out_one_of_few_and_none_of_nothing_asked() -> None:
    assert len(split_indices(5, 0.01)[1]) == 1
    assert len(split_indices(5, 0.0)[1]) == 0


@pytest.mark.parametrize("holdout", [0.05, 0.1, 0.3, 0.6])
def test_split_groups_holds_out_whole_groups_up_to_the_share(holdout: float) -> None:
    sizes = np.random.default_rng(0).integers(1, 9, 60)
    groups = [f"patient-{number}" for number, size in enumerate(sizes) for _ in range(size)]

    kept, held = (rows.tolist() for rows in split_groups(groups, holdout))

    assert sorted(kept + held) == list(range(len(groups)))
    assert (kept, held) == (sorted(kept), sorted(held))
    assert not {groups[row] for row in kept} & {groups[row] for row in held}
    assert holdout * len(groups) - 9 < len(held) <= holdout * len(groups)


def test_split_groups_holds_out_the_smallest_of_large_groups() -> None:
    kept, held = split_groups(["a"] * 5 + ["b"] * 2 + ["c"] * 5, 0.1)

    assert held.tolist() == [5, 6]
    assert len(kept) == 10


def _write_scans(folder: Path, patients: int) -> DataConfig:
    """Three scans a patient, two of them in a folder of their own, all with the patient's level."""
    for patient in range(patients):
        (folder / f"p{patient}" / "later").mkdir(parents=True)
        for number, name in enumerate(("a.png", "later/a.png", "later/b.png")):
            scan = np.full((8, 8), 100 + patient, np.uint8)
            scan[number, number] = 255
            Image.fromarray(scan).save(folder / f"p{patient}" / name)
    return DataConfig(name="images", path=folder, size=8, holdout=0.2, holdout_by="folder")


def test_scans_of_a_patient_stay_together(tmp_path: Path) -> None:
    config = _write_scans(tmp_path, patients=10)

    train = open_images(config)
    held_out = held_out_part(train, config)

    assert held_out is not None
    assert (train.n_images, held_out.n_images) == (24, 6)
    seen, unseen = (
        {float(image.median()) for image in source.images(torch.arange(source.n_images))}
        for source in (train, held_out)
    )
    assert (len(seen), len(unseen)) == (8, 2)
    assert not seen & unseen


@pytest.mark.parametrize(
    ("given", "cure"),
    [
        ("wrap/images/p0/later", "give the folder above"),
        ("wrap", "give the folder that holds them, `{0}/wrap/images`"),
        ("one", "sort those in `{0}/one/images` into folders"),
    ],
)
def test_holding_out_the_only_folder_is_refused(tmp_path: Path, given: str, cure: str) -> None:
    config = _write_scans(tmp_path / "wrap" / "images", patients=2)
    (tmp_path / "one" / "images").mkdir(parents=True)
    Image.new("L", (8, 8), 200).save(tmp_path / "one" / "images" / "a.png")
    only = config.model_copy(update={"path": tmp_path / given})

    with pytest.raises(DataError, match=r"needs 2 folders in .* are in the same one") as caught:
        open_images(only)
    assert f"same one; {cure.format(tmp_path)}, or hold out by image" in str(caught.value)


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    np.save(tmp_path / "set.npy", np.arange(40)[:, None, None] / 40 + np.zeros((40, 8, 8)))
    lines = "\n".join(["number", *map(str, range(40))])
    (tmp_path / "factors.csv").write_text(lines)
    return DataConfig(
        name="images",
        path=tmp_path / "set.npy",
        size=8,
        holdout=0.25,
        factors=tmp_path / "factors.csv",
    )


def test_an_array_has_no_folders_to_hold_out(config: DataConfig) -> None:
    with pytest.raises(DataError, match=r"must be read: .* got `data.holdout_by` = folder"):
        open_images(config.model_copy(update={"holdout_by": "folder"}))


def test_training_and_held_out_images_are_apart(config: DataConfig) -> None:
    train = open_images(config)
    held_out = held_out_part(train, config)
    assert held_out is not None
    assert (train.n_images, held_out.n_images) == (30, 10)
    assert train.sha256() == held_out.sha256()
    seen, unseen = (
        {round(40 * float(image.mean())) for image in source.images(torch.arange(source.n_images))}
        for source in (train, held_out)
    )
    assert seen | unseen == set(range(40))
    assert not seen & unseen


def test_factors_of_a_part_stay_with_their_images(config: DataConfig) -> None:
    held_out = held_out_part(open_images(config), config)
    assert held_out is not None
    assert held_out.factors is not None
    every = torch.arange(held_out.n_images)
    numbers = held_out.factors.values_at(every)[:, 0]
    torch.testing.assert_close(held_out.images(every).mean(dim=(1, 2, 3)), numbers.float() / 40)


def test_nothing_is_held_out_by_default() -> None:
    assert held_out_part(open_images(DataConfig()), DataConfig()) is None
