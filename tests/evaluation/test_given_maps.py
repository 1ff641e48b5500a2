"""Maps from folders: whose they are, what their values become, and that an edited one has no old rows."""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_net
from torch import Tensor

import maskwise as mw
from maskwise.checks.map_store import map_key
from maskwise.checks.subject import Subject
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.data import DataSet, read_data
from maskwise.evaluation import Contender, Leaderboard, Settings, leaderboard, measure
from maskwise.evaluation.given_maps import GivenMaps
from maskwise.evaluation.map_names import match_names
from maskwise.measures import metric
from maskwise.report.leaderboard import leaderboard_part
from maskwise.report.page_compared import write_compared

COUNT = 6


@pytest.fixture
def judge() -> Classifier:
    return Classifier(tiny_net(classes=8), input_size=32, name="tiny")


@pytest.fixture
def data() -> DataSet:
    return read_data(f"shapes:n={COUNT},size=40,labels=own")


@pytest.fixture
def folder(tmp_path: Path, data: DataSet) -> Path:
    """The brightness of each picture, as somebody else would write it."""
    for sample in data:
        path = tmp_path / "theirs" / f"{sample.id}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, sample.image.mean(0).numpy())
    return tmp_path / "theirs"


def brightness(images: Tensor, targets: Tensor) -> Tensor:
    return images.mean(1)


def compared(made: dict[str, Any], data: DataSet, judge: Classifier, **options: Any) -> Leaderboard:
    return mw.compare(made, data, judge, ["area", "le", "deletion"], **options)


@pytest.mark.parametrize("resize", ["squash", "none", "crop"])
def test_a_folder_gives_the_numbers_of_the_function_that_wrote_it(
    judge: Classifier, data: DataSet, folder: Path, resize: Any
) -> None:
    board = compared({"theirs": str(folder), "ours": brightness}, data, judge, resize=resize)
    for name in ("area", "le", "deletion"):
        assert board.cell("theirs", name).value == pytest.approx(board.cell("ours", name).value, abs=0.2)
    if resize == "none":  # nothing is resized, so nothing differs
        assert all(board.cell("theirs", name).value == board.cell("ours", name).value for name in ("area", "le"))
    stamp = board.protocol["methods"]["theirs"]
    assert stamp["files"] == COUNT and stamp["scale"] == "unit" and len(stamp["maps"]) == 16
    line = next(line for line in board.lines if line.method == "theirs")
    assert np.isnan(line.milliseconds) and board.plain()["rows"][0]["milliseconds"] is None


def test_small_maps_are_resized_bilinearly_without_aligned_corners(data: DataSet, tmp_path: Path) -> None:
    small = np.random.default_rng(0).random((7, 5)).astype(np.float32)
    np.save(tmp_path / "a.npy", small)
    maps = GivenMaps(tmp_path).checked({"a": tmp_path / "a.npy"})
    found = maps(torch.zeros(1, 3, 40, 30), None, ids=["a"])
    expected = F.interpolate(torch.from_numpy(small)[None, None], (40, 30), mode="bilinear", align_corners=False)[0]
    assert torch.allclose(found, expected, atol=1e-6)


class TestNames:
    ids = ("train/n01/dog.jpg", "train/n02/dog.jpg", "train/n02/cat.v2.jpg", "é.png")

    @pytest.mark.parametrize(
        ("name", "whose"),
        [
            ("train/n01/dog.npy", 0), ("train/n01/dog.jpg.npy", 0), ("n02/dog.npz", 1), ("n02/dog.jpg.png", 1),
            ("cat.v2.npy", 2), ("cat.v2.jpg.npy", 2), ("e\u0301.npy", 3),
        ],
    )  # fmt: skip
    def test_a_map_is_found_by_path_or_by_its_last_parts(self, name: str, whose: int) -> None:
        assert match_names([name], self.ids).files == {self.ids[whose]: name}

    def test_what_is_unclear_twice_or_nobody_s(self) -> None:
        found = match_names(["dog.npy", "og.npy", "n01/dog.npy", "n01/dog.png", "cat.npy"], self.ids)
        assert found.unclear == ["dog.npy"] and found.superfluous == ["og.npy", "cat.npy"]
        assert found.twice == {self.ids[0]: ["n01/dog.npy", "n01/dog.png"]}

    def test_a_whole_path_goes_before_a_part(self) -> None:
        assert match_names(["dog.npy"], ["dog.jpg", "x/dog.jpg"]).files == {"dog.jpg": "dog.npy"}


class TestValues:
    def maps(self, folder: Path, *arrays: np.ndarray, scale: Any = "auto") -> tuple[GivenMaps, list[np.ndarray]]:
        for i, array in enumerate(arrays):
            np.save(folder / f"{i}.npy", array)
        files = {str(i): folder / f"{i}.npy" for i in range(len(arrays))}
        maps = GivenMaps(folder, scale).checked(files)
        height, width = arrays[0].shape
        return maps, list(maps(torch.zeros(len(arrays), 3, height, width), None, ids=list(files)).numpy())

    def test_shares_are_taken_as_they_are(self, tmp_path: Path) -> None:
        low, high = np.array([[0.0, 0.02]]), np.array([[0.1, 0.8]])
        maps, found = self.maps(tmp_path, low, high)
        assert maps.values is not None and maps.values.scale == "unit"
        np.testing.assert_allclose(found, [low, high], rtol=1e-6)

    def test_one_beyond_one_stretches_all_of_them(self, tmp_path: Path) -> None:
        maps, found = self.maps(tmp_path, np.array([[0.0, 0.5, 0.2]]), np.array([[1.0, 3.0, 2.0]]))
        np.testing.assert_allclose(found, [[[0, 1, 0.4]], [[0, 1, 0.5]]], rtol=1e-6)
        assert maps.doubts("theirs") == []

    def test_values_that_are_all_tiny_are_stretched(self, tmp_path: Path) -> None:
        _, found = self.maps(tmp_path, np.array([[0.0, 2e-4, 1e-4]]))
        np.testing.assert_allclose(found, [[[0, 1, 0.5]]], rtol=1e-6)

    @pytest.mark.parametrize(
        ("scale", "expected"), [("auto", [0, 1, 1 / 3]), ("relu", [0, 1, 0]), ("abs", [0.5, 1, 0])]
    )
    def test_negative_values(self, tmp_path: Path, scale: str, expected: list[float]) -> None:
        maps, found = self.maps(tmp_path, np.array([[-1.0, 2.0, 0.0]]), scale=scale)
        np.testing.assert_allclose(found[0][0], expected, rtol=1e-6)
        assert len(maps.doubts("theirs")) == (scale == "auto")

    def test_integers_are_shares_of_their_largest_value_unless_they_are_masks(self, tmp_path: Path) -> None:
        _, found = self.maps(tmp_path, np.array([[0, 51, 255]], np.uint8), np.array([[0, 1, 1]], np.uint8))
        np.testing.assert_allclose(found, [[[0, 0.2, 1]], [[0, 1 / 255, 1 / 255]]], rtol=1e-6)
        _, found = self.maps(tmp_path, np.array([[0, 1, 1]], np.uint8), np.array([[1, 1, 1]], np.uint8))
        np.testing.assert_allclose(found, [[[0, 1, 1]], [[1, 1, 1]]])

    def test_one_of_two_is_no_mask(self, tmp_path: Path) -> None:
        _, found = self.maps(tmp_path, np.array([[0, 1, 2]], np.uint8), scale="unit")
        np.testing.assert_allclose(found, [[[0, 1 / 255, 2 / 255]]], rtol=1e-6)

    def test_a_flat_map_is_zeros_where_maps_are_stretched(self, tmp_path: Path) -> None:
        _, found = self.maps(tmp_path, np.array([[7.0, 7.0]]))
        assert not found[0].any()

    def test_a_range_beyond_float32(self, tmp_path: Path) -> None:
        _, found = self.maps(tmp_path, np.array([[-3e38, 3e38, 0.0]]))
        np.testing.assert_allclose(found, [[[0, 1, 0.5]]], rtol=1e-6)

    def test_scales_that_make_no_sense(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="values go from -1 to 2, and scale='unit' takes"):
            self.maps(tmp_path, np.array([[-1.0, 2.0]]), scale="unit")
        with pytest.raises(InputError, match="scale is auto or unit"):
            GivenMaps(tmp_path, "log")  # type: ignore[arg-type]


class TestContent:
    def area(self, made: Any, data: DataSet, judge: Classifier, out: Path) -> tuple[float, int]:
        contender = Contender.of("it", GivenMaps(made) if isinstance(made, Path) else made)
        found = measure([contender], judge, [data], {"area": metric("area")}, Settings("none"), out)
        return float(next(v for k, v in found.statistics.items() if k[2] == "area").mean()), found.seen["it"]

    @pytest.mark.parametrize("read_by", ["folder", "function"])
    def test_an_edited_file_has_no_old_row_and_the_others_keep_theirs(
        self, judge: Classifier, data: DataSet, folder: Path, tmp_path: Path, read_by: str
    ) -> None:
        def function(images: Tensor, targets: Tensor, ids: list[str]) -> Tensor:
            return torch.stack([torch.from_numpy(np.load(folder / f"{one}.npy")) for one in ids])

        made = folder if read_by == "folder" else function
        before = self.area(made, data, judge, tmp_path / "out")
        assert before[1] == COUNT
        assert self.area(made, data, judge, tmp_path / "out") == (before[0], 0)
        path = folder / f"{data.records[2].id}.npy"
        old, stamp = np.load(path), path.stat()
        np.save(path, 1 - old)
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # an edit that no clock shows
        after, again = self.area(made, data, judge, tmp_path / "out")
        assert again == 1
        assert after - before[0] == pytest.approx(float((1 - 2 * old).mean()) / COUNT, abs=1e-5)

    def test_more_maps_cost_only_what_is_new(
        self, judge: Classifier, data: DataSet, folder: Path, tmp_path: Path
    ) -> None:
        with pytest.warns(UserWarning, match="it: 2 of 6 maps in .* fit no picture: shapes/0/4.npy, shapes/0/5.npy"):
            assert self.area(folder, data.subset(range(4)), judge, tmp_path / "out")[1] == 4
        assert self.area(folder, data, judge, tmp_path / "out")[1] == 2

    def test_a_check_keeps_no_maps_that_may_come_from_anywhere(self, judge: Classifier, folder: Path) -> None:
        def function(images: Tensor, targets: Tensor, ids: list[str] | None = None) -> Tensor:
            return images.mean(1)

        images = torch.zeros(1, 3, 32, 32)
        assert map_key(Subject.of(function, judge), images) != map_key(Subject.of(function, judge), images)
        with pytest.raises(InputError, match="which files can't give"):
            Subject.of(GivenMaps(folder), judge)

    def test_ids_are_those_of_the_pictures(self, judge: Classifier, data: DataSet) -> None:
        asked: list[str] = []

        def function(images: Tensor, targets: Tensor, ids: list[str]) -> Tensor:
            assert len(ids) == len(images)
            asked.extend(ids)
            return images.mean(1)

        mw.compare({"mine": function}, data, judge, ["area"], batch=4)
        assert asked == [record.id for record in data.records]


class TestWhatIsMissing:
    def test_refused_or_left_out_for_all(self, judge: Classifier, data: DataSet, folder: Path) -> None:
        gone = [data.records[i].id for i in (1, 3, 4, 5)]
        for one in gone:
            (folder / f"{one}.npy").unlink()
        with pytest.raises(InputError) as said:
            compared({"theirs": folder, "ours": brightness}, data, judge)
        for words in ("theirs: 4 of 6 pictures have no map", ", ".join(gone[:3]), "and 1 more", "`missing=skip`"):
            assert words in str(said.value)
        board = compared({"theirs": folder, "ours": brightness}, data, judge, missing="skip", resize="none")
        alone = compared({"ours": brightness}, data.subset([0, 2]), judge, resize="none")
        assert board.cell("ours", "area").value == alone.cell("ours", "area").value
        assert board.cell("theirs", "area") == board.cell("ours", "area")
        said_so = "4 pictures left out for all methods: no map in theirs"
        assert any(said_so in line for line in board.warnings)
        assert list(board.protocol["without_maps"].values()) == [said_so]

    def test_a_limit_asks_for_those_it_takes(self, judge: Classifier, data: DataSet, folder: Path) -> None:
        for i in (1, 3, 5):
            (folder / f"{data.records[i].id}.npy").unlink()
        board = mw.compare({"theirs": folder}, data, judge, ["area"], limit=3)
        assert board.lines[0].pictures == 3

    def test_the_page_shows_pictures_that_were_measured(
        self, judge: Classifier, data: DataSet, folder: Path, tmp_path: Path
    ) -> None:
        (folder / f"{data.records[2].id}.npy").unlink()
        settings = Settings(limit=4)  # of six: 0, 1, 3 and 4; and of six the page's three would be 0, 2 and 4
        found = measure([Contender.of("it", GivenMaps(folder))], judge, [data], {"area": metric("area")}, settings)
        part = leaderboard_part(leaderboard(found))
        write_compared(found.contenders, judge, found.sets, settings, tmp_path, part, pictures=3)
        assert (tmp_path / "report.html").is_file()

    def test_the_page_says_no_class_of_a_file_and_colours_all_that_are_best(
        self, judge: Classifier, data: DataSet, folder: Path, tmp_path: Path
    ) -> None:
        """The folder holds what the function gives: both are best."""
        contenders = [
            Contender.of("theirs", GivenMaps(folder)), Contender.of("ours", brightness),
            Contender.of("worse", lambda images, targets: 0 * brightness(images, targets)),
        ]  # fmt: skip
        settings = Settings(resize="none")
        found = measure(contenders, judge, [data], {name: metric(name) for name in ("le", "f1", "area")}, settings)
        board = leaderboard(found)
        lines = {line.method: line for line in board.lines}
        assert [board.is_best(lines[name], "f1") for name in lines] == [True, True, False]
        assert not any(board.is_best(line, "area") for line in board.lines), "of which no side is better"
        write_compared(found.contenders, judge, found.sets, settings, tmp_path, leaderboard_part(board), pictures=2)
        page = (tmp_path / "report.html").read_text()
        rows = {name: re.search(f'<th scope="row">{name}</th>(.*?)</tr>', page, re.S)[1] for name in lines}
        coloured = {name: re.findall(r'data-name="(\w+) [^"]*" class="best"', row) for name, row in rows.items()}
        assert coloured["theirs"] == coloured["ours"] and "f1" in coloured["ours"] and "f1" not in coloured["worse"]
        cards = json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[0])
        said = {answer["method"]: answer["target"] for card in cards["cards"] for answer in card["answers"]}
        assert said["theirs"] is None and said["ours"] == said["worse"] is not None

    def test_superfluous_ones_are_counted_and_named(self, judge: Classifier, data: DataSet, folder: Path) -> None:
        for name in "abcd":
            np.save(folder / f"{name}x.npy", np.zeros((2, 2)))
        with pytest.warns(UserWarning, match=r"4 of 10 maps in .* fit no picture: ax.npy, bx.npy, cx.npy and 1 more"):
            mw.compare({"theirs": folder}, data, judge, ["area"])

    def test_results_of_explain_are_told_how_they_become_maps(
        self, judge: Classifier, data: DataSet, tmp_path: Path
    ) -> None:
        (tmp_path / "explained" / "0").mkdir(parents=True)
        np.save(tmp_path / "explained" / "0" / "map.npy", np.eye(4))
        (tmp_path / "explained" / "0" / "result.json").write_text("{}")
        with pytest.raises(InputError, match=r"explained: holds what `maskwise explain` wrote.*copy each map.npy"):
            mw.compare({"theirs": tmp_path / "explained"}, data, judge, ["area"])

    @pytest.mark.parametrize(
        ("make", "words"),
        [
            ({"x.npy": np.zeros((2, 2))}, "none of 1 map in"),
            ({}, "holds no maps"),
            ({"shapes/0/0.npy": np.zeros((2, 2)), "0.png.npy": np.zeros((2, 2))}, "no map in"),
        ],
    )
    def test_folders_that_are_of_no_use(
        self, judge: Classifier, data: DataSet, tmp_path: Path, make: dict[str, np.ndarray], words: str
    ) -> None:
        (tmp_path / "m").mkdir()
        for name, array in make.items():
            (tmp_path / "m" / name).parent.mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / "m" / name, array)
        with pytest.raises(InputError, match=words), pytest.warns() if len(make) > 1 else contextlib.nullcontext():
            mw.compare({"theirs": tmp_path / "m"}, data, judge, ["area"])
        with pytest.raises(InputError, match="no such folder"):
            mw.compare({"theirs": tmp_path / "none"}, data, judge, ["area"])
        (tmp_path / "one.npy").touch()
        with pytest.raises(InputError, match="is a file; maps come in a folder"):
            mw.compare({"theirs": tmp_path / "one.npy"}, data, judge, ["area"])

    def test_all_faults_in_one_line(self, judge: Classifier, data: DataSet, folder: Path) -> None:
        ids = [record.id for record in data.records]
        for i in range(4):
            np.save(folder / f"{ids[i]}.npy", np.full((4, 4), np.nan))
        np.save(folder / f"{ids[4]}.npy", np.zeros((3, 4, 4)))
        with pytest.raises(InputError) as said:
            mw.compare({"theirs": folder}, data, judge, ["area"])
        first = ", ".join(f"{one}.npy" for one in ids[:3])
        assert f"5 of 6 maps can't be used: 4 hold NaN or infinity ({first} and 1 more); 1 have the shape" in str(
            said.value
        )

    def test_two_maps_of_one_picture(self, judge: Classifier, data: DataSet, folder: Path) -> None:
        np.savez(folder / f"{data.records[0].id}.npz", np.zeros((4, 4)))
        with pytest.raises(InputError, match="1 picture with several maps"):
            mw.compare({"theirs": folder}, data, judge, ["area"])

    def test_swapped_sides_and_maps_that_are_not_cropped(self, judge: Classifier, tmp_path: Path) -> None:
        path = tmp_path / "a.npy"
        np.save(path, np.random.default_rng(0).random((30, 40)))
        maps = GivenMaps(tmp_path).checked({"a": path})
        with pytest.raises(InputError, match=r"is 30x40 and its picture 40x30 \(rows x columns\): transpose"):
            maps(torch.zeros(1, 3, 40, 30), None, ids=["a"])
        with pytest.raises(InputError, match="1 are not square"):
            GivenMaps(tmp_path).checked({"a": path}, square=True)

    def test_a_link_out_of_the_folder(self, judge: Classifier, data: DataSet, folder: Path, tmp_path: Path) -> None:
        np.save(tmp_path / "secret.npy", np.zeros((2, 2)))
        path = folder / f"{PurePosixPath(data.records[0].id)}.npy"
        path.unlink()
        path.symlink_to(tmp_path / "secret.npy")
        with pytest.raises(InputError, match="is a link out of the folder"):
            mw.compare({"theirs": folder}, data, judge, ["area"])
