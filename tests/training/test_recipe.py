from pathlib import Path

import pytest

from maskwise.core.errors import InputError
from maskwise.training import recipes


@pytest.mark.parametrize("name", recipes.names())
def test_every_packaged_recipe_survives_its_own_file(name: str, tmp_path: Path) -> None:
    recipe = recipes.load(name)
    (tmp_path / "again.yaml").write_text(recipes.dump(recipe))
    assert recipes.load(tmp_path / "again.yaml") == recipe


def test_the_rows_of_table_2() -> None:
    """Strategy and lambda_r of the released presets (FIX/L/FL/L100/L1000, entropy and classification)."""
    names = [name for name in recipes.names() if name.startswith("casm")]
    loaded = {name: recipes.load(name) for name in names}
    rows = {n: (r.thinning, next(iter(r.objectives.values())).lambda_r, r.p_history) for n, r in loaded.items()}
    assert rows["casm"] == ("L100", 10, 0.5)
    assert rows["casm_baseline"] == ("F", 2.5, 0)
    assert rows["casm_l"] == ("L", 14, 0)
    assert rows["casm_fl"] == ("FL", 7.5, 0.5)
    assert rows["casm_l1000"] == ("L1000", 10, 0.5)
    assert rows["casm_c"] == ("L100", 17, 0.5)
    assert list(loaded["casm_c"].objectives) == ["min_class"] and list(loaded["casm"].objectives) == ["max_entropy"]
    assert not recipes.load("casm_unshared").shared


def test_overrides_take_yaml_values() -> None:
    recipe = recipes.load("casm", ["epochs=3", "target_area=0.4", "crop_area=[0.5, 1]"])
    assert (recipe.epochs, recipe.target_area, recipe.crop_area) == (3, 0.4, (0.5, 1.0))


@pytest.mark.parametrize("override", ["epochs", "epochs=-1", "epoch=3", "thinning=L7", "epochs=[", "crop_area=2"])
def test_a_bad_override_is_one_clear_line(override: str) -> None:
    with pytest.raises(InputError) as caught:
        recipes.load("casm", [override])
    assert "\n" not in str(caught.value)


def test_unknown_recipe_and_broken_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no recipe 'casn'"):
        recipes.load("casn")
    (tmp_path / "list.yaml").write_text("- 1\n- 2\n")
    with pytest.raises(InputError, match="key: value"):
        recipes.load(tmp_path / "list.yaml")
