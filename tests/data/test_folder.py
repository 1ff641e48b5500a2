"""Folders of one's own: every file that may lie beside images/, and every way in which one may be wrong."""

import os
import re
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from data.making import mask, picture, text
from PIL import Image

from maskwise.core.errors import InputError
from maskwise.data import read_data
from maskwise.data.unmatched import by_picture
from maskwise.labels import Labels


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of 8x6 pictures; the first has everything."""
    picture(tmp_path / "images" / "cat" / "a.png")
    picture(tmp_path / "images" / "dog" / "b.jpg", 4, 4)
    text(tmp_path / "labels.csv", "file,label", "cat/a.png,281")
    text(tmp_path / "boxes.csv", "file,x0,y0,x1,y1", "cat/a.png,1,2,5,6", "cat/a.png,0,0,8,0.5")
    mask(tmp_path / "masks" / "cat" / "a.png", [[0] * 8] * 3 + [[0, 1, 255, 0, 0, 0, 0, 0]] * 3)
    mask(tmp_path / "ignore" / "cat" / "a.png", [[0] * 8] * 5 + [[9] * 8])
    return tmp_path


def test_everything_a_folder_can_hold(root: Path) -> None:
    data = read_data(root)
    assert (len(data), data.classes) == (2, ("cat", "dog"))
    first, second = data.records
    assert (first.id, first.label, first.category, first.has_boxes, first.has_mask) == ("cat/a.png", 281, 0, True, True)
    assert (second.id, second.label, second.category, second.has_boxes, second.has_mask) == (
        "dog/b.jpg", None, 1, False, False,
    )  # fmt: skip
    sample = data[0]
    assert sample.image.shape == (3, 6, 8) and sample.image[0, 0, 0] == pytest.approx(100 / 255)
    assert sample.boxes.tolist() == [[1, 2, 5, 6], [0, 0, 8, 0.5]] and sample.boxes.dtype == torch.float64
    assert sample.mask.int().tolist() == [[0] * 8] * 3 + [[0, 1, 1, 0, 0, 0, 0, 0]] * 3
    assert sample.ignore.int().tolist() == [[0] * 8] * 5 + [[1, 0, 0, 1, 1, 1, 1, 1]], "foreground is not ignored"
    assert data[1].boxes.shape == (0, 4) and data[1].mask is None and data[1].ignore is None


def test_only_pictures_are_listed(root: Path) -> None:
    """Not what systems leave behind, such as macOS's ._ files, nor other files."""
    picture(root / "images" / "dog" / "._b.jpg")
    text(root / "images" / "dog" / "notes.txt", "x")
    assert len(read_data(root)) == 2


def test_own_labels(root: Path) -> None:
    assert [r.label for r in read_data(f"{root}@labels=own").records] == [0, 1]
    flat = root / "flat"
    picture(flat / "images" / "a.png")
    with pytest.raises(InputError, match="no classes of its own"):
        read_data(f"{flat}@labels=own")


def test_class_folders_named_by_wordnet_ids_are_labels(tmp_path: Path) -> None:
    for wnid in ("n01440764", "n02102040"):
        picture(tmp_path / "images" / wnid / "a.png")
    assert [(r.label, r.category) for r in read_data(tmp_path).records] == [(0, 0), (217, 1)]


@pytest.mark.parametrize(
    ("third", "said"),
    [
        (
            "background",
            "2 of 3 class folders are WordNet ids, and 1 other not (background): folders give no picture its",
        ),
        ("n00000001", "3 of 3 class folders are WordNet ids, of which 1 no class of ImageNet-1k (n00000001): their"),
    ],
)
def test_class_folders_some_of_which_are_no_wordnet_ids_of_imagenet_are_said(
    third: str, said: str, tmp_path: Path
) -> None:
    folders = ("n01440764", "n02102040", third)
    for name in folders:
        picture(tmp_path / "images" / name / "a.png")
    with pytest.warns(UserWarning, match=re.escape(said)):
        read_data(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_data(f"{tmp_path}@labels=own")  # nobody asks for ImageNet's
        text(tmp_path / "labels.csv", "file,label", *(f"{name}/a.png,{i}" for i, name in enumerate(sorted(folders))))
        assert [record.label for record in read_data(tmp_path).records] == [0, 1, 2]


def test_truth_turns_with_an_exif_orientation(tmp_path: Path) -> None:
    """Stored 8x6 and to be shown turned clockwise: 6x8, and what was at the left is at the top."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "images" / "a.jpg", exif=exif)
    text(tmp_path / "boxes.csv", "file,x0,y0,x1,y1", "a.jpg,0,0,2,1")
    mask(tmp_path / "masks" / "a.png", [[1] * 2 + [0] * 6] + [[0] * 8] * 5)
    sample = read_data(tmp_path)[0]
    assert sample.image.shape == (3, 8, 6)
    assert sample.boxes.tolist() == [[5, 0, 6, 2]]
    assert sample.mask.nonzero().tolist() == [[0, 5], [1, 5]]


def test_listing_opens_no_picture(root: Path) -> None:
    for file in ("a.png", "b.jpg"):
        for path in root.rglob(file):
            path.write_bytes(b"not a picture")
    data = read_data(root)
    assert len(data) == 2
    with pytest.raises(InputError, match=r"cat.a\.png: not a picture"):
        data.image(data.records[0])


@pytest.mark.parametrize(
    ("table", "line", "match"),
    [
        ("boxes.csv", "cat/a.png,a,1,2,3", r"boxes\.csv: line 2: the box of 'cat/a\.png' is not four numbers"),
        ("boxes.csv", "cat/a.png,nan,1,2,3", "is not four numbers"),
        ("boxes.csv", "cat/a.png,5,1,5,3", "the box 5,1,5,3 of 'cat/a.png' is empty"),
        ("boxes.csv", "cat/a.png,5,1", "line 2 has fewer fields"),
        ("boxes.csv", "images/cat/a.png,1,1,2,2", "no picture of images/; paths begin there"),
        ("labels.csv", "cat/a.png,dog", "is 'dog', which is not a class index"),
        ("labels.csv", "cat/a.png,-1", "not a class index"),
        ("labels.csv", "cat/a.png,1.5", "not a class index"),
    ],
)
def test_broken_tables(root: Path, table: str, line: str, match: str) -> None:
    header = {"boxes.csv": "file,x0,y0,x1,y1", "labels.csv": "file,label"}[table]
    text(root / table, header, line)
    with pytest.raises(InputError, match=match):
        read_data(root)


def test_tables_of_another_kind(root: Path) -> None:
    text(root / "boxes.csv", "file,x0", "cat/a.png,1")
    with pytest.raises(InputError, match="needs the columns file, x0, y0, x1, y1"):
        read_data(root)
    (root / "boxes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        read_data(root)


def test_truth_that_does_not_fit(root: Path) -> None:
    text(root / "boxes.csv", "file,x0,y0,x1,y1", "cat/a.png,1,2,12,6")
    with pytest.raises(InputError, match=r"a\.png: the box 1,2,12,6 is not within the picture, 8x6"):
        read_data(root)[0]
    text(root / "boxes.csv", "file,x0,y0,x1,y1", "cat/a.png,1,2,9,6")
    assert read_data(root)[0].boxes.tolist() == [[1, 2, 8, 6]], "one pixel over the border is cut off"
    mask(root / "masks" / "cat" / "a.png", [[0] * 4] * 4)
    with pytest.raises(InputError, match=r"masks.cat.a\.png: mask and picture differ in size \(4x4 and 8x6"):
        read_data(root)[0]
    (root / "masks" / "cat" / "a.png").write_bytes(b"no")
    with pytest.raises(InputError, match="not a mask picture"):
        read_data(root)[0]


def test_places_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a folder nor a zip"):
        read_data(tmp_path / "none")
    with pytest.raises(InputError, match="no folder images/"):
        read_data(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(InputError, match="holds no pictures"):
        read_data(tmp_path)
    picture(tmp_path / "images" / "a.png")
    with pytest.raises(InputError, match="split 'train'; it has no splits"):
        read_data(f"{tmp_path}@train")


@pytest.mark.parametrize(
    "lines",
    [
        ("file;x0;y0;x1;y1", "a.png;1,5;2;5;6", ""),  # a spreadsheet's, where the comma is decimal
        ("file\tx0\ty0\tx1\ty1", "a.png\t1.5\t2\t5\t6"),
        ("File, X0 ,Y0,X1,Y1", "a.png, 1.5, 2.0 ,5,6.0"),
        ("file,x0,y0,x1,y1,note", "", ",,,,,", "a.png,1.5,2,5,6,", " , , ,,,"),
        ("y1,x1,y0,x0,file", "6,5,2,1.5,a.png"),
        ("file,x0,y0,x1,y1", "a.png,1.5,2,5,6,,,"),
        ("\ufefffile,x0,y0,x1,y1\r", "a.png,1.5,2,5,6\r"),
    ],
)
def test_tables_as_programs_write_them(lines: tuple[str, ...], tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    text(tmp_path / "boxes.csv", *lines)
    assert read_data(tmp_path)[0].boxes.tolist() == [[1.5, 2, 5, 6]]


def test_a_comma_that_may_part_thousands_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    text(tmp_path / "boxes.csv", "file,x0,y0,x1,y1", 'a.png,0,0,"1,200",6')
    with pytest.raises(InputError, match="line 2: the box of 'a.png' is not four numbers"):
        read_data(tmp_path)


def test_labels_with_gaps_become_floats_in_other_programs(tmp_path: Path) -> None:
    for name in "abc":
        picture(tmp_path / "images" / f"{name}.png")
    text(tmp_path / "labels.csv", "file,label", "a.png,3.0", "b.png,", "c.png,12")
    assert [record.label for record in read_data(tmp_path).records] == [3, None, 12]


@pytest.mark.parametrize(
    ("table", "lines", "match"),
    [
        (
            "labels.csv",
            ("file,label", "a.png,3", "", "a.png,4"),
            r"labels\.csv: line 2 and line 4 give 'a.png' two labels",
        ),
        ("labels.csv", ("file,label", "x", "y"), "line 2 has fewer fields"),
        ("labels.csv", ("file,label", "a,b.png,3"), "line 2 has more fields than the header; .* ',' needs quotes"),
        ("labels.csv", ("file,label", "", "a.png,dog"), "labels.csv: line 3: the label of 'a.png' is 'dog'"),
        ("labels.csv", ("file,label", f"a.png,{'9' * 100_000}"), "the label of 'a.png' is '9+…', which is not a class"),
        ("labels.csv", ("file,label,Label", "a.png,1,2"), "labels.csv: has the column 'label' twice; keep one"),
        ("boxes.csv", ("file,x0,y0,x1,y1, x1", "a.png,1,2,3,4,5"), "boxes.csv: has the column 'x1' twice"),
        ("labels.csv", ("name,class", "a.png,1"), "needs the columns file, label; it has name, class"),
        ("boxes.csv", ("file,x0,y0,x1,y1", ",,,,", "a.png,1,2,x,4"), r"boxes\.csv: line 3: the box of 'a.png' is not"),
        (
            "boxes.csv",
            ("file,x0,y0,x1,y1", "A.PNG,1,2,3,4"),
            r"names 'A.PNG' \(did you mean a.png\?\) but no picture of",
        ),
    ],
)
def test_what_is_refused_names_file_and_line(table: str, lines: tuple[str, ...], match: str, tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    text(tmp_path / table, *lines)
    with pytest.raises(InputError, match=match) as caught:
        read_data(tmp_path)
    assert len(str(caught.value).replace(str(tmp_path), "")) < 300


def test_one_label_said_twice_is_one(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    text(tmp_path / "labels.csv", "file,label", "a.png,3", "a.png,3.0")
    assert read_data(tmp_path).records[0].label == 3


def test_names_that_fit_no_picture_are_counted_and_named(tmp_path: Path) -> None:
    for name in ("a", "b", "cat/c"):
        picture(tmp_path / "images" / f"{name}.png")
    header, box = "file,x0,y0,x1,y1", ",1,2,3,4"
    text(tmp_path / "boxes.csv", header, f"a.png{box}", f"B.PNG{box}", f"B.PNG{box}")
    with pytest.warns(
        UserWarning, match=r"^1 of 2 names in .*boxes\.csv fits no picture: B\.PNG \(did you mean b\.png\?\)$"
    ):
        assert [record.has_boxes for record in read_data(tmp_path).records] == [True, False, False]
    text(
        tmp_path / "boxes.csv",
        header,
        f"a.png{box}",
        *(f"{n}{box}" for n in ("images\\b.png", "c.jpg", "x.y", "1", "2")),
    )
    told = [r"5 of 6 names in .* fit no picture: images.b\.png \(did you mean b\.png\?\)",
            r"c\.jpg \(did you mean cat/c\.png\?\)", r"x\.y", "and 2 more$"]  # fmt: skip
    with pytest.warns(UserWarning, match=", ".join(told)):
        read_data(tmp_path)


@pytest.mark.parametrize(("files", "tables"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_accents_may_be_written_as_one_sign_or_two(files: str, tables: str, tmp_path: Path) -> None:
    """macOS names files with two, spreadsheets write one; a name that is there as it is written is meant."""
    name, said = (unicodedata.normalize(form, "caf\N{LATIN SMALL LETTER E WITH ACUTE}") for form in (files, tables))
    picture(tmp_path / "images" / f"{name}.png")
    picture(tmp_path / "images" / "b.png")
    text(tmp_path / "labels.csv", "file,label", f"{said}.png,3", "b.png,4")
    text(tmp_path / "boxes.csv", "file,x0,y0,x1,y1", f"{said}.png,1,2,3,4")
    text(tmp_path / "subjects.csv", "file,subject", f"{said}.png,one", "b.png,two")
    text(tmp_path / "findings.csv", "file,mass", f"{said}.png,1", "b.png,0")
    mask(tmp_path / "masks" / f"{said}.png", [[1] * 8] * 6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = read_data(tmp_path)
    (other,) = [record for record in data.records if record.id == "b.png"]
    (ours,) = [record for record in data.records if record.id == f"{name}.png"]
    assert (ours.label, ours.subject, ours.has_boxes, ours.has_mask) == (3, "one", True, True)
    assert (other.label, other.subject, other.has_boxes, other.has_mask) == (4, "two", False, False)
    assert data[data.records.index(ours)].mask.all()
    shows = [data.shows(record, 0, Labels(("mass",))) for record in (ours, other)]
    assert shows == [True, False]
    picture(tmp_path / "images" / f"{said}.png")
    text(tmp_path / "labels.csv", "file,label", f"{said}.png,5", f"{name}.png,6", "b.png,4")
    labels = {record.id: record.label for record in read_data(tmp_path).records}
    assert labels == {f"{said}.png": 5, f"{name}.png": 6, "b.png": 4}


def test_of_two_ways_to_write_a_name_the_picture_s_own_is_meant() -> None:
    ones = [f"{letter}\N{LATIN SMALL LETTER E WITH ACUTE}.png" for letter in "abcdefgh"]
    twos = [unicodedata.normalize("NFD", name) for name in ones]
    assert by_picture({ones[0]: 1, twos[0]: 2}, [ones[0]]) == {ones[0]: 1, twos[0]: 2}
    both = {name: place for place, name in enumerate(ones)} | {"none.png": 9}
    assert by_picture(both, [*ones, *twos]) == both
    joined = "\N{LATIN SMALL LIGATURE FI}"  # which is another letter than f and i
    assert by_picture({f"{joined}{ones[0]}": 1}, [f"{joined}{twos[0]}"]) == {f"{joined}{twos[0]}": 1}
    assert by_picture({f"fi{ones[0]}": 1}, [f"{joined}{twos[0]}"]) == {f"fi{ones[0]}": 1}


def test_all_names_fit(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    picture(tmp_path / "images" / "a.jpg")
    text(tmp_path / "labels.csv", "file,label", "a.jpg,3")
    mask(tmp_path / "masks" / "a.png", [[0] * 8] * 6)
    assert read_data(tmp_path)[0].label == 3
    assert not recwarn.list


@pytest.mark.parametrize("suffix", ["png", "tif", "TIFF", "bmp", "gif"])
def test_masks_of_every_exact_format(suffix: str, tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.jpg")
    mask(tmp_path / "masks" / f"a.{suffix}", [[0] * 8] * 5 + [[1] * 8])
    assert read_data(tmp_path)[0].mask.int().tolist() == [[0] * 8] * 5 + [[1] * 8]


def test_masks_that_can_not_be_used_are_said(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / "images" / f"{name}.png")
    mask(tmp_path / "masks" / "a.jpg", [[0] * 8] * 6)
    with pytest.warns(UserWarning, match=r"^1 mask in .*masks not read \(a\.jpg\): .* make them anew as PNG"):
        assert not any(record.has_mask for record in read_data(tmp_path).records)
    mask(tmp_path / "masks" / "a.png", [[0] * 8] * 6)
    mask(tmp_path / "masks" / "b_mask.png", [[0] * 8] * 6)
    with pytest.warns(UserWarning, match=r"1 of 2 names in .*masks fits no picture: b_mask") as told:
        assert [record.masks for record in read_data(tmp_path).records] == [("masks/a.png",), ()]
    assert len(told) == 1, "a PNG beside the JPEG is the mask"
    mask(tmp_path / "masks" / "a.tif", [[0] * 8] * 6)
    with pytest.raises(InputError, match=r"masks.a\.\w+ and a\.\w+: are two masks of one picture; keep one"):
        read_data(tmp_path)


def test_one_mask_of_two_pictures_is_said(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    for name in ("a.jpg", "a.png", "b.png", "c.jpg", "c.png"):
        picture(tmp_path / "images" / name)
    for name in "ab":
        mask(tmp_path / "masks" / f"{name}.png", [[1] * 8] * 6)
    read_data(tmp_path)
    [told] = recwarn.list
    assert "masks: 1 mask taken for two pictures of one name (a.jpg and a.png)" in str(told.message)


def test_a_mask_of_fractions_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    (tmp_path / "masks").mkdir()
    for values, fits in ((np.eye(6, 8), True), (np.eye(6, 8) / 2, False)):
        Image.fromarray(values.astype(np.float32)).save(tmp_path / "masks" / "a.tif")
        if fits:
            assert read_data(tmp_path)[0].mask.sum() == 6
        else:
            with pytest.raises(InputError, match="a mask holds whole numbers"):
                read_data(tmp_path)[0]


def test_a_telephones_pictures_in_a_data_set_are_said(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    (tmp_path / "images" / "b.heic").touch()
    with pytest.warns(UserWarning, match=r": 1 HEIC picture left out \(b\.heic\): save it as JPEG"):
        assert len(read_data(tmp_path)) == 1


def test_results_beside_pictures_are_none_of_them(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "explained" / "a" / "overlay.png")
    picture(tmp_path / "images.png" / "b.png")  # a folder
    for name in ("map.npy", "result.json"):
        (tmp_path / "explained" / "a" / name).touch()
    assert [record.id for record in read_data(tmp_path).records] == ["a.png"]


def test_without_images_what_lies_deeper_is_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the folder of all files is refused at once, whatever the links in /proc do."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    picture(tmp_path / "deep" / "er" / "b.png")
    (tmp_path / "deep" / "circle").symlink_to(tmp_path / "deep")
    looked: list[str] = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: looked.append(str(folder)) or scan(folder))
    with pytest.raises(InputError, match="has no folder images/, and no pictures of its own"):
        read_data(str(tmp_path))
    picture(tmp_path / "a.png")
    assert [record.id for record in read_data(str(tmp_path)).records] == ["a.png"]
    assert looked and not [folder for folder in looked if "deep" in folder]


INSIDE = np.zeros((6, 8), np.uint8)
INSIDE[1:3, 2:5] = 1


def with_palette(*colours: tuple[int, int, int], used: int = 2) -> Image.Image:
    """The object is the last entry in use, where three are used but for a corner, and the background entry 0."""
    values = INSIDE * (len(colours) - 1)
    if used == 3:
        values[1, 2] = 1
    image = Image.fromarray(values)
    image.putpalette([value for colour in colours for value in colour])
    return image


def with_alpha(background: tuple[int, int, int, int], inside: tuple[int, int, int, int]) -> Image.Image:
    return Image.fromarray(np.where(INSIDE[..., None] > 0, np.uint8(inside), np.uint8(background)))


@pytest.mark.parametrize(
    ("made", "match"),
    [
        (
            Image.fromarray(255 * INSIDE).convert("RGB").quantize(2),
            "entry 0 of its palette.*is not black, and entry 1 is",
        ),
        (with_palette((0, 0, 0), (255, 255, 255)), None),
        (with_palette((9, 9, 9), (200, 0, 0), (0, 200, 0)), None),
        (with_palette((9, 9, 9), (0, 0, 0), (0, 200, 0)), None),  # no pixel is black
        (with_palette((9, 9, 9), (0, 0, 0), (0, 200, 0), used=3), None),  # a map of classes, in colours of its own
        (with_alpha((255, 255, 255, 0), (255, 255, 255, 255)), "transparency says another thing"),
        (with_alpha((0, 0, 0, 0), (0, 0, 0, 255)), "transparency says another thing"),
        (with_alpha((0, 0, 0, 0), (200, 0, 0, 128)), None),
        (with_alpha((0, 0, 0, 255), (200, 0, 0, 255)), None),
    ],
)
def test_masks_whose_colours_or_transparency_say_the_opposite_of_their_values(
    made: Image.Image, match: str | None, tmp_path: Path
) -> None:
    picture(tmp_path / "images" / "a.png")
    (tmp_path / "masks").mkdir()
    made.save(tmp_path / "masks" / "a.png")
    if match is None:
        assert torch.equal(read_data(tmp_path)[0].mask, torch.from_numpy(INSIDE > 0))
    else:
        with pytest.raises(InputError, match=match):
            read_data(tmp_path)[0]
