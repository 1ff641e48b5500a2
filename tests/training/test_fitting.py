"""A masker in a coffee break: the stop, the split, the report."""

import json
import os
import shutil
import signal
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from conftest import tiny_net
from lightning.fabric import Fabric
from safetensors.torch import load_file
from typer.testing import CliRunner

from maskwise.classifiers import Classifier
from maskwise.cli import app
from maskwise.core.errors import InputError
from maskwise.data import DataSet, read_data
from maskwise.data.picture_list import read_sources
from maskwise.maskers import Masker, load_masker
from maskwise.training import Callback, Recipe, TrainingState
from maskwise.training.fitting import Fitted, _split, fit
from maskwise.training.mask import MaskTrainer
from maskwise.training.plateau import Plateau
from maskwise.training.validation import Validation


def fitted() -> MaskTrainer:
    classifier = Classifier(tiny_net(), input_size=32, name="tiny")
    return MaskTrainer(classifier, Recipe(thinning="F", input_size=32), 5, Fabric(accelerator="cpu", devices=1))


def watched(values: list[float], patience: int) -> tuple[int, int]:
    """At which look the rates are cut, and at which the training ends."""
    left = iter(values)
    plateau, trainer, cut = Plateau(lambda masker: next(left), every=1, patience=patience), fitted(), 0
    state = TrainingState(trainer, Path(), len(values))
    for look in range(1, len(values) + 1):
        trainer.steps = look
        plateau.on_step(state)
        cut = cut or (look if trainer.rate < 1 else 0)
        if state.ended:
            return cut, look
    return cut, 0


def test_the_rates_are_cut_on_the_first_plateau_and_the_second_one_ends_it() -> None:
    """0, -1, -2 is progress; then four looks without; then -3 is progress again; then two without."""
    assert watched([0, -1, -2, -2, -2, -2, -2, -3, -3, -3, -3], patience=4) == (7, 10)


def test_progress_of_a_hundredth_of_the_way_does_not_count() -> None:
    assert watched([0, -10, -10.05, -10.08, -10.09, -10.09, -10.09, -10.09], patience=2) == (4, 5)
    assert watched([0, -1, -2, -3, -4, -5, -6, -7], patience=2) == (0, 0), "as long as it falls, it goes on"


@pytest.fixture
def validation(picture_folder: Path, tiny: Classifier) -> Validation:
    data = read_data(picture_folder)
    return Validation([(data, r) for r in data.records], [r.label or 0 for r in data.records], tiny, 32)


def test_quality_of_masks_that_are_known(validation: Validation, tiny: Classifier) -> None:
    """All kept: masked-in is the clean picture. Nothing kept: masked-out is. Boxes by hand."""
    logits = tiny.logits(validation.images)
    right = 100 * float((logits.argmax(1) == validation.labels).double().mean())
    grey = 100 * float((tiny.logits(tiny.mean.reshape(1, 3, 1, 1).expand(1, 3, 32, 32)).argmax(1) == validation.labels).double().mean())  # fmt: skip  # noqa: E501
    whole = validation.quality(torch.ones(20, 32, 32))
    assert (whole.clean, whole.masked_in, whole.area) == (right, right, 1) and whole.masked_out == pytest.approx(grey)
    nothing = validation.quality(torch.zeros(20, 32, 32))
    assert nothing.masked_out == right and nothing.masked_in == pytest.approx(grey)
    truth = torch.zeros(20, 32, 32)
    truth[:, round(5 / 40 * 32) : 20, round(4 / 48 * 32) : 20] = 1  # boxes.csv: 4,5,30,25 of 48x40
    assert validation.quality(truth).localisation_error == 0
    away = torch.zeros(20, 32, 32)
    away[:, 24:, 24:] = 1
    assert validation.quality(away).localisation_error == 100


def test_the_objective_is_written_from_its_formula(validation: Validation, tiny: Classifier) -> None:
    masks = torch.rand(20, 32, 32, generator=torch.Generator().manual_seed(0))
    hole = tiny.mean.reshape(3, 1, 1)
    total = 0.0
    for image, mask, label in zip(validation.images, masks, validation.labels, strict=True):
        inside = tiny.logits((image * mask + hole * (1 - mask))[None])[0].softmax(0)
        outside = tiny.logits((image * (1 - mask) + hole * mask)[None])[0].softmax(0)
        total += -float(inside[label].log()) + float((outside * outside.log()).sum())
    assert validation.quality(masks).objective == pytest.approx(total / 40, abs=1e-5)


def test_the_square_in_the_middle_is_as_large_as_the_mask(validation: Validation) -> None:
    masks = torch.rand(20, 32, 32) * torch.linspace(0.05, 1, 20)[:, None, None]
    squares = validation.centre(masks)
    assert ((squares.mean((1, 2)).sqrt() - masks.mean((1, 2)).sqrt()).abs() <= 1 / 32 + 1e-6).all()
    assert torch.equal(squares, squares.flip(1)) and torch.equal(squares, squares.flip(2))


def test_looking_leaves_a_masker_in_training_as_it_was(validation: Validation, tiny: Classifier) -> None:
    masker = Masker.build(tiny)
    masker.eval()
    masker.decoder.train()
    before = {k: v.clone() for k, v in masker.state_dict().items()}
    validation.masks(masker)
    assert masker.decoder.training and not masker.encoder.module.training
    assert all(torch.equal(v, before[k]) for k, v in masker.state_dict().items())


def test_fit_trains_and_says_how_good(picture_folder: Path, tmp_path: Path) -> None:
    classifier = Classifier(tiny_net(), input_size=32, name="tiny")
    fitted = fit(
        picture_folder, classifier, out=tmp_path / "fit", teacher="none", max_steps=30, device="cpu",
        overrides=["batch_size=4"],
    )  # fmt: skip
    assert fitted.pictures == (18, 2) and fitted.steps == 30 and fitted.flattened is False
    assert fitted.teacher is None and not fitted.teachers
    assert fitted.masker.localisation_error is not None and 0 < fitted.masker.area < 1
    assert load_masker(fitted.path, classifier)(torch.rand(1, 3, 32, 32))[1].shape == (1, 32, 32)
    with pytest.raises(InputError, match="not empty"):
        fit(picture_folder, classifier, out=tmp_path / "fit", device="cpu")
    with pytest.raises(InputError, match="too few"):
        fit(one_picture(tmp_path, picture_folder), classifier, out=tmp_path / "g", device="cpu")


def one_picture(tmp_path: Path, folder: Path) -> Path:
    (tmp_path / "one" / "images").mkdir(parents=True)
    (tmp_path / "one" / "images" / "a.png").write_bytes((folder / "images" / "00.png").read_bytes())
    return tmp_path / "one"


def test_the_command(picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Classifier(tiny_net(), input_size=32, name="tiny")
    monkeypatch.setattr("maskwise.classifiers.load_classifier", lambda name, weights=None: small)
    call = ["fit", str(picture_folder), "--out", str(tmp_path / "f"), "--max-steps", "2", "--device", "cpu", "--json"]
    result = CliRunner().invoke(app, [*call, "--set", "batch_size=4"])
    assert result.exit_code == 0, result.output
    row = json.loads(result.stdout)
    assert row["steps"] == 2 and Path(row["path"]).is_file() and 0 <= row["masker"]["masked_in"] <= 100
    assert row["teacher"] == min(row["teachers"], key=row["teachers"].get)
    refused = {"--set": ("epochs=-3", "epochs"), "--teacher": ("nobody", "--teacher 'nobody' is unknown")}
    for flag, (wrong, said) in refused.items():
        result = CliRunner().invoke(app, [*call[:3], str(tmp_path / "h"), *call[4:], flag, wrong])
        assert result.exit_code == 2 and said in result.stderr and not (tmp_path / "h").exists()
    for teacher, said in (("grad_cam", "taught by grad_cam (--teacher)"), ("none", "--max-steps")):
        told = [*call[:3], str(tmp_path / teacher), *call[4:-1], "--set", "batch_size=4", "--teacher", teacher]
        result = CliRunner().invoke(app, told)
        assert result.exit_code == 0 and said in result.stdout, result.output


def test_picture_files_and_a_flat_folder(picture_folder: Path, tmp_path: Path) -> None:
    """As the help says: the same pictures, named one by one or by the folder that they lie in."""
    flat = picture_folder / "images"
    for pictures in (flat, sorted(flat.iterdir())):
        fitted = fit(
            pictures, Classifier(tiny_net(), input_size=32), out=tmp_path / f"{len(str(pictures))}", max_steps=1,
            device="cpu", overrides=["batch_size=4"],
        )  # fmt: skip
        assert fitted.pictures == (18, 2)
    sets = read_sources([*sorted(flat.iterdir())[:3], picture_folder])
    assert [len(data) for data in sets] == [20, 3] and sets[1].records[2].id == "02.png"
    assert torch.equal(sets[1].image(sets[1].records[2]), sets[0].image(sets[0].records[2]))
    with pytest.raises(InputError, match="neither a folder nor a zip"):
        read_sources([flat / "none.png"])


def test_a_picture_that_is_held_out_is_not_trained_on_under_another_name(picture_folder: Path, tmp_path: Path) -> None:
    """The numbers of held-out pictures would be those of trained ones."""
    (tmp_path / "copies").mkdir()
    for path in sorted((picture_folder / "images").iterdir()):
        shutil.copy(path, tmp_path / "copies" / f"copy of {path.name}")
    sets = read_sources([picture_folder, tmp_path / "copies"])
    with pytest.warns(UserWarning, match=r"[34] of 40 pictures are the same as some that are held out"):
        kept, held_out = _split(sets, 0)

    def names(some: Sequence[DataSet]) -> set[str]:
        return {record.id.removeprefix("copy of ") for data in some for record in data.records}

    assert sum(map(len, held_out)) == 4 and not names(kept) & names(held_out) and len(names(kept)) >= 16
    assert sum(map(len, kept)) == 2 * len(names(kept))
    one = sorted((tmp_path / "copies").iterdir())[0]
    shutil.copy(one, tmp_path / "again.png")
    with pytest.warns(UserWarning, match="is said of trained ones"):
        parts = _split(read_sources([one, tmp_path / "again.png"]), 0)
    assert [sum(map(len, part)) for part in parts] == [1, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [sum(map(len, part)) for part in _split(read_sources("shapes:n=20,size=32"), 0)] == [18, 2]


class Stop(Callback):
    """Ctrl-C at a step."""

    def __init__(self, step: int) -> None:
        self.at = step

    def on_step(self, state: TrainingState) -> None:
        if state.step == self.at:
            os.kill(os.getpid(), signal.SIGINT)


def test_interrupted_the_best_so_far_is_there_and_resume_goes_on(picture_folder: Path, tmp_path: Path) -> None:
    def run(out: str, *callbacks: Callback, resume: bool = False) -> Fitted:
        return fit(
            picture_folder, Classifier(tiny_net(), input_size=32, name="tiny"), out=tmp_path / out, teacher="none",
            max_steps=60, device="cpu", overrides=["batch_size=4"], callbacks=callbacks, resume=resume,
        )  # fmt: skip

    with pytest.raises(KeyboardInterrupt, match=r"after step 10, which is saved"):
        run("b", Stop(10))
    assert not (tmp_path / "b" / "masker.safetensors").exists(), "nothing was looked at yet"
    with pytest.raises(KeyboardInterrupt, match=r"after step 40: .* is the best so far \(step 25\)"):
        run("b", Stop(40), resume=True)
    load_masker(tmp_path / "b" / "masker.safetensors", Classifier(tiny_net(), input_size=32, name="tiny"))
    whole, resumed = run("a"), run("b", resume=True)
    assert whole.path.read_bytes() == resumed.path.read_bytes()
    assert whole.masker == resumed.masker and whole.steps == resumed.steps == 60


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_fit_that_has_ended_stays_ended(
    interrupted: bool, picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resumed after its end, or after a signal in its last step, it takes no step more and writes the same file."""
    look = Plateau.look

    def planned(self: Plateau, state: TrainingState) -> None:
        self.objective = lambda masker: float(state.step == 25)
        look(self, state)

    monkeypatch.setattr(Plateau, "look", planned)

    def run(out: str, *callbacks: Callback, resume: bool = False) -> Fitted:
        return fit(
            picture_folder, Classifier(tiny_net(), input_size=32, name="tiny"), out=tmp_path / out, teacher="none",
            max_steps=400, device="cpu", overrides=["batch_size=4"], callbacks=callbacks, resume=resume, page=False,
        )  # fmt: skip

    whole = run("a")
    before, log = whole.path.read_bytes(), (tmp_path / "a" / "log.jsonl").read_bytes()
    assert whole.flattened and whole.steps == 200, "the rates are cut at 150, and it ends at 200"
    if interrupted:
        with pytest.raises(KeyboardInterrupt, match="after step 200"):
            run("b", Stop(200))
    again = run("b" if interrupted else "a", resume=True)
    assert (again.steps, again.flattened, again.masker) == (whole.steps, True, whole.masker)
    assert again.path.read_bytes() == before
    assert interrupted or (tmp_path / "a" / "log.jsonl").read_bytes() == log


def test_the_best_look_is_what_is_written(
    picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objectives of three looks are given by hand: the decoder of the second one is in the file."""
    given, kept = iter([1.0, 0.0, 2.0]), dict[int, torch.Tensor]()
    look = Plateau.look

    def planned(self: Plateau, state: TrainingState) -> None:
        self.objective = lambda masker: next(given)
        look(self, state)
        assert isinstance(state.trainer, MaskTrainer)
        kept[state.step] = state.trainer.masker.decoder.head.weight.detach().clone()

    monkeypatch.setattr(Plateau, "look", planned)
    classifier = Classifier(tiny_net(), input_size=32, name="tiny")
    fitted = fit(
        picture_folder, classifier, out=tmp_path / "a", teacher="none", max_steps=75, device="cpu",
        overrides=["batch_size=4"],
    )  # fmt: skip
    stored = load_file(fitted.path)["decoder.head.weight"]
    assert sorted(kept) == [25, 50, 75]
    assert torch.equal(stored, kept[50]) and not torch.equal(stored, kept[75])


def test_no_subject_is_both_trained_on_and_held_out(picture_folder: Path, tmp_path: Path) -> None:
    """A patient's other pictures among those trained on would make the held-out ones too easy."""
    names = sorted(file.name for file in (picture_folder / "images").iterdir())
    rows = [f"{name},P{i // 4}" for i, name in enumerate(names)]
    (picture_folder / "subjects.csv").write_text("\n".join(["file,subject", *rows]) + "\n")
    for seed in range(5):
        kept, held_out = (
            {r.subject for d in part for r in d.records} for part in _split([read_data(picture_folder)], seed)
        )
        assert len(held_out) == 1 and len(kept) == 4 and not kept & held_out
    (picture_folder / "subjects.csv").write_text("\n".join(["file,subject", *(f"{name},P" for name in names)]) + "\n")
    with pytest.warns(UserWarning, match="all pictures are of one subject"):
        _, left_out = _split([read_data(picture_folder)], 0)
    assert sum(map(len, left_out)) == 2
