"""Few-shot at the papers' scale: as many steps as one pass over all pictures, whatever the subset, at one rate."""

from maskwise.studies import SCALES, studies
from maskwise.studies.jobs import Train


def test_every_cell_learns_to_its_end() -> None:
    full = SCALES["full"]
    cells = [cell for cell in studies.get("phang-fewshot").cells(full) if not cell.part]
    assert len(cells) == 24
    for cell in cells:
        assert isinstance(cell.job, Train)
        recipe = cell.job.settings(full)
        assert recipe.total_steps(1) == recipe.total_steps(10_000) == 1_281_167 // recipe.batch_size
        factors = {recipe.learning_rate_factor(step, 1) for step in (0, 20, 5_000, 17_000)}
        assert factors == {1.0}, cell.row
