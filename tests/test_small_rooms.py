"""Labels, blending, infillers, files and the registry."""

import ast
from pathlib import Path

import pytest
import torch

import maskwise
from maskwise.blending import masked_in, masked_out
from maskwise.core import registry as registries
from maskwise.core.errors import InputError
from maskwise.core.files import atomic_folder, atomic_write
from maskwise.core.registry import Registry
from maskwise.infill import infiller
from maskwise.labels import Labels, imagenet_labels


def test_imagenet_classes_by_index_name_and_wordnet_id() -> None:
    labels = imagenet_labels()
    assert len(labels) == 1000
    assert labels.resolve("tench") == labels.resolve(0) == labels.resolve("0") == labels.resolve("n01440764") == 0
    assert labels.resolve("Egyptian cat") == labels.resolve("egyptian CAT") == labels.resolve("n02124075") == 285
    assert labels.name(999) == "toilet tissue"


def test_unknown_and_ambiguous_classes() -> None:
    with pytest.raises(InputError, match="egyptian cat"):
        imagenet_labels().resolve("egiptian cat")
    with pytest.raises(InputError, match="0…999"):
        imagenet_labels().resolve(1000)
    with pytest.raises(InputError, match="give the index"):
        Labels(("crane", "crane")).resolve("crane")


def test_mean_fill_is_masking_the_normalised_picture() -> None:
    images, maps = torch.rand(2, 3, 5, 5), torch.rand(2, 5, 5)
    mean, std = torch.tensor([0.4, 0.5, 0.6]).reshape(1, 3, 1, 1), torch.tensor([0.2, 0.3, 0.1]).reshape(1, 3, 1, 1)
    kept = (masked_in(images, maps, mean) - mean) / std
    assert torch.allclose(kept, maps[:, None] * (images - mean) / std, atol=1e-6)
    assert torch.allclose(masked_in(images, maps, mean) + masked_out(images, maps, mean), images + mean, atol=1e-6)


def test_telea_fills_the_hole_and_nothing_else() -> None:
    images = torch.rand(2, 3, 20, 20) * 0.1 + 0.5
    holes = torch.zeros(2, 20, 20)
    holes[:, 5:9, 6:12] = 1
    images[0, :, 5:9, 6:12] = 0
    filled = infiller("telea")(images, holes, torch.zeros(3))
    hole = holes.bool()[:, None].expand_as(images)
    assert torch.equal(filled[~hole], images[~hole])
    assert filled[hole].min() > 0.4 and filled[hole].max() < 0.7, "painted from its surroundings"


def test_a_failed_write_leaves_nothing_and_keeps_the_old(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    for text in ("old", "new"):
        with atomic_folder(tmp_path / "f") as temporary:
            (temporary / text).touch()
    assert [p.name for p in tmp_path.rglob("*")] == ["f", "new"]
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "f") as temporary:
        raise ZeroDivisionError
    assert [p.name for p in tmp_path.rglob("*")] == ["f", "new"]


def test_a_file_in_the_way_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="can't write"), atomic_write(tmp_path / "file" / "a.txt"):
        pass


def test_the_registry_offers_close_names() -> None:
    registry: Registry[int] = Registry("thing")
    registry.register("grad_cam")(1)
    with pytest.raises(InputError, match="did you mean grad_cam"):
        registry.get("gradcam")
    with pytest.raises(KeyError, match="twice"):
        registry.register("grad_cam")(2)
    for number in range(9):
        registry.register(f"grad_cam_{number}")(number)
    with pytest.raises(InputError) as error:
        registry.get("grad_cam_")
    assert str(error.value).count("grad_cam_") - 1 <= 3 and str(error.value).count(" or ") == 2
    with pytest.raises(InputError, match=r"there is grad_cam, grad_cam_0, grad_cam_1 and 7 more$"):
        registry.get("x")


def test_no_refusal_offers_more_than_three_names() -> None:
    """``difflib`` is asked for three at most, by everybody who asks it; what it gives unasked is three."""
    house = Path(maskwise.__file__).parent
    asked = 0
    for path in house.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "get_close_matches":
                asked += 1
                given = next((k.value for k in node.keywords if k.arg == "n"), node.args[2] if node.args[2:] else None)
                most = registries.MOST if isinstance(given, ast.Name) and given.id == "MOST" else given
                most = most.value if isinstance(most, ast.Constant) else 3 if most is None else most
                assert isinstance(most, int) and most <= 3, path
    assert asked >= 5
