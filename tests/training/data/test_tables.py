"""Tables of numbers as vectors, and as factors of images."""

import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch

from training.config import DataConfig
from training.data import ImageSource, open_images
from training.data.standardization import Standardization
from training.data.tables import read_factor_table
from training.errors import DataError

VALUES = np.random.default_rng(2).normal(5, 3, (20, 3))
EVERY = torch.arange(20)


def write(path: Path) -> Path:
    if path.suffix == ".csv":
        lines = ["a,b,c", *(",".join(map(repr, row)) for row in VALUES.tolist())]
        path.write_text("\n".join(lines))
    elif path.suffix == ".parquet":
        table = pyarrow.table({name: VALUES[:, k] for k, name in enumerate("abc")})
        pyarrow.parquet.write_table(table, path)
    elif path.suffix == ".npz":
        np.savez(path, rows=VALUES, other=VALUES[:3])
    else:
        np.save(path, VALUES)
    return path


def opened(path: Path, **changes: object) -> ImageSource:
    return open_images(DataConfig(**({"name": "vectors", "path": path} | changes)))


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.npy", "t.npz"])
def test_vectors_are_the_rows_of_the_table(tmp_path: Path, name: str) -> None:
    source = opened(write(tmp_path / name), key="rows" if name == "t.npz" else None)
    assert (source.n_images, source.image_shape, source.name) == (20, (3,), "t")
    torch.testing.assert_close(source.images(EVERY), torch.from_numpy(VALUES).float())


def test_vectors_standardized_say_how(tmp_path: Path) -> None:
    source = opened(write(tmp_path / "t.csv"), standardize=True)
    rows = source.images(EVERY).double()
    torch.testing.assert_close(rows.mean(dim=0), torch.zeros(3).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(rows.std(dim=0, correction=0), torch.ones(3).double())
    np.testing.assert_allclose(source.standardization.restored(rows), VALUES, atol=1e-5)


def test_rows_that_are_held_out_do_not_decide_how_vectors_are_standardized(tmp_path: Path) -> None:
    source = opened(write(tmp_path / "t.csv"), standardize=True, holdout=0.25)
    assert source.n_images == 15
    rows = source.images(torch.arange(15)).double()
    torch.testing.assert_close(rows.mean(dim=0), torch.zeros(3).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(rows.std(dim=0, correction=0), torch.ones(3).double())


def test_vectors_take_chosen_columns_in_order(tmp_path: Path) -> None:
    source = opened(write(tmp_path / "t.parquet"), columns=("c", "a"))
    np.testing.assert_allclose(source.images(EVERY).numpy(), VALUES[:, [2, 0]], rtol=1e-6)
    with pytest.raises(DataError, match="has no column `z`: it has a, b, c"):
        opened(tmp_path / "t.parquet", columns=("z",))


def test_index_that_pandas_wrote_is_no_column(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    described = json.dumps({"index_columns": ["__index_level_0__"], "columns": []})
    table = pyarrow.table({"a": VALUES[:, 0], "__index_level_0__": range(20)})
    pyarrow.parquet.write_table(table.replace_schema_metadata({"pandas": described}), path)
    source = opened(path)
    assert source.standardization.columns == ("a",)
    np.testing.assert_allclose(source.images(EVERY).numpy(), VALUES[:, :1], rtol=1e-6)


def test_parquet_without_columns_is_refused(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="has no columns: a table of vectors has one for each"):
        opened(tmp_path / "t.parquet")


def test_numbers_without_a_standard_deviation_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,-1e200\n2,1e200\n")
    with pytest.raises(DataError, match=r"column `b` holds 1e\+200; mend it, or choose other"):
        opened(path, standardize=True)


def test_csv_without_a_header_numbers_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("1,2\n3,4\n")
    assert opened(path, columns=("c1",)).images(torch.tensor([1])).tolist() == [[4]]


def test_csv_with_counted_columns_has_a_header(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("0,1,2\n3,4,5\n6,7,8\n")
    assert opened(path, columns=("2",)).images(torch.arange(2)).tolist() == [[5], [8]]
    path.write_text("0,1\n3,4\n")  # as likely a row
    assert opened(path, columns=("c1",)).images(torch.arange(2)).tolist() == [[1], [4]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,id\n1,x\n", "has text, or nothing, in row 1, column `id`; fill it in, or choose"),
        ("a,b\n1,2\n3,inf\n", "has inf in row 2, column `b`"),
        ("a,b\n1,2\n3\n", "has 1 cells in line 3, not 2"),
        ("1,nan,3\n4,5,6\n", "has text, or nothing, in row 1, column `c1`"),
        ("a,b\n1,1_000\n", "has text, or nothing, in row 1, column `b`"),
        ("1,1_000\n3,x\n", "has text, or nothing, in row 1, column `1_000`"),
        ("", "is empty"),
        ("a;b\n1,5;2\n", "separated by commas, and decimals by points: .* has ';' between its"),
        ("a\tb\n1\t2\n", r"has '\\t' between its columns; write it anew"),
    ],
)
def test_csv_with_bad_cells_is_explained(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        opened(path)


def test_vectors_of_other_files_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.zeros((3, 4, 4)))
    (tmp_path / "t.parquet").write_bytes(b"not a table")
    (tmp_path / "t.xlsx").write_bytes(b"a sheet")
    for name, text in (
        ("t.npy", r"holds float64 of shape \(3, 4, 4\)"),
        ("t.parquet", "cannot be read as Parquet"),
        ("t.xlsx", r"vectors are read from \.csv, \.npy"),
        ("t.none", "is missing"),
    ):
        with pytest.raises(DataError, match=text):
            opened(tmp_path / name)


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    np.save(tmp_path / "set.npy", np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8))
    return tmp_path / "set.npy"


def with_factors(images: Path, text: str) -> ImageSource:
    path = images.with_name("factors.csv")
    path.write_text(text)
    return open_images(DataConfig(name="images", path=images, size=8, factors=path))


def test_factors_of_images_are_read_beside_them(digits: Path) -> None:
    factors = with_factors(digits, "angle,kind\n0.5,cat\n0.1,dog\n0.5,dog\n0.9,ant\n").factors
    assert factors is not None
    assert factors.factor_names == ("angle", "kind")
    assert factors.factors_of(torch.arange(4)).tolist() == [[1, 1], [0, 2], [1, 2], [2, 0]]
    assert factors.values_at(torch.tensor([3])).tolist() == [[0.9, 0]]


def test_factors_of_a_folder_whose_column_of_names_is_called_otherwise_are_refused(
    tmp_path: Path,
) -> None:
    table = tmp_path / "factors.csv"
    names = ["scan_1.png", "scan_2.png"]
    for rows in ("image,age\nscan_2.png,3\nscan_1.png,4\n", "id,age\nscan_2,3\nscan_1,4\n"):
        table.write_text(rows)
        with pytest.raises(DataError, match=r"a column that names the images is called `file`"):
            read_factor_table(table, n_images=2, file_names=names)
    table.write_text("age\n3\n4\n")
    found = read_factor_table(table, n_images=2, file_names=["1.png", "3.png"])
    assert found.factor_names == ("age",)


def test_factors_need_a_row_an_image(digits: Path) -> None:
    with pytest.raises(DataError, match="has 1 rows for 4 images"):
        with_factors(digits, "angle\n1\n")


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        (["10", "2", "", "3"], "nothing for image 3 in column `angle`"),
        (["10", "NA", "1", "3"], "`NA` for image 2 in column"),
        (["10", "2", "1", "nan"], "`nan` for image 4 in column"),
        (["inf", "2", "1", "3"], "`inf` for image 1 in column"),
        (["10", "2", "1_000", "3"], "`1_000` for image 3 in column"),
        (["cat", "dog", " ", "dog"], "nothing for image 3 in column"),
    ],
)
def test_factor_that_is_not_known_for_an_image_is_refused(
    digits: Path, cells: list[str], told: str
) -> None:
    rows = "\n".join(f"{cell},1" for cell in cells)
    with pytest.raises(DataError, match=f"all numbers or all words: .* has {told}"):
        with_factors(digits, f"angle,kind\n{rows}\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,a\n1,2\n1,2\n1,2\n1,2\n", "names of their own: .* has `a` twice"),
        ("a,\n1,2\n1,2\n1,2\n1,2\n", "has a column without a name"),
        ("file\n1\n2\n3\n4\n", "has `file` only"),
    ],
)
def test_factors_need_names_of_their_own(digits: Path, text: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        with_factors(digits, text)


def test_factors_by_file_need_one_row_a_file(tmp_path: Path) -> None:
    path = tmp_path / "factors.csv"
    path.write_text("file,angle\nb.png,2\na.png,1\n")
    read = read_factor_table(path, n_images=2, file_names=["a.png", "b.png"])
    assert read.values[:, 0].tolist() == [1, 2]
    path.write_text("file,angle\nb.png,2\na.png,1\nb.png,7\n")
    with pytest.raises(DataError, match=r"one row of factors: .* has `b\.png` twice"):
        read_factor_table(path, n_images=2, file_names=["a.png", "b.png"])


def test_read_factor_table_names_its_own_setting_for_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"`data\.factors` must name a file: .* is missing"):
        read_factor_table(tmp_path / "none.csv", n_images=3)


@pytest.mark.parametrize("n", [9, 70, 999])
@pytest.mark.parametrize("value", [0.1, 37.2, 1999.5, 0.0])
def test_standardization_only_shifts_a_constant_column(n: int, value: float) -> None:
    values = np.stack([np.full(n, value), np.arange(n, dtype=float)], axis=1)
    found = Standardization.of_values(("dose", "age"), values)
    assert found.scale[0] == 1
    assert found.offset[0] == pytest.approx(value)
    assert found.scale[1] == pytest.approx(values[:, 1].std())
