"""Two processes, micro-batches, float16 and compiled networks train what one plain process trains."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from conftest import end_at, epoch, tiny_net
from safetensors.torch import load_file
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.data import read_data
from maskwise.training import Recipe, train
from maskwise.training.base_recipe import BaseRecipe
from maskwise.training.class_mask import ClassMaskTrainer
from maskwise.training.class_mask_recipe import ClassMaskRecipe
from maskwise.training.classifier_recipe import ClassifierRecipe
from maskwise.training.classifier_training import ClassifierTrainer
from maskwise.training.distributed.processes import all_gather, fabric_of, launch
from maskwise.training.infiller import InfillerRecipe, InfillerTrainer
from maskwise.training.loader import Loader
from maskwise.training.mask import MaskTrainer
from maskwise.training.objectives import Term
from maskwise.training.trainer import Trainer

if TYPE_CHECKING:
    from lightning.fabric import Fabric  # seconds for each process that a test starts

BOTH = {"max_class": Term(weight=0.5, lambda_r=1, tv=0.001), "max_entropy": Term(weight=0.5, lambda_r=5)}
MASKS: dict[str, Any] = {
    "batch_size": 5, "input_size": 32, "fraction": 1.0, "crop_area": (0.5, 1.0), "seed": 3, "epochs": 3,
    "thinning": "L100", "p_history": 0.6, "target_area": 0.4,
}  # fmt: skip
CLASS_MASKS = ClassMaskRecipe(
    batch_size=6, masker_batch_size=4, steps=5, selector_steps=2, warm_up_steps=1, widths=(8, 4), bottlenecks=1,
    input_size=32, blur_size=9, blur_sigma=2.0, skip_gain=0.1,
)  # fmt: skip
RECIPES: dict[str, BaseRecipe] = {
    "casm": Recipe(**MASKS),
    "two steps, infilled": Recipe(**MASKS, classifier_update="two_steps", objectives=BOTH, infill="colour_noise"),
    "gumbel, an encoder of its own": Recipe(**MASKS, gumbel="soft", temperature=0.5, shared=False),
    "fixed, steps of 1": Recipe(**MASKS | {"thinning": "F"}, objectives=BOTH),
    "class mask": CLASS_MASKS,
    "infiller": InfillerRecipe(batch_size=5, input_size=64, perceptual_weight=0.05),
    "classifier": ClassifierRecipe.model_validate({"batch_size": 5, "lr": 0.05, "lr_decay": "none"}),
}
KINDS: dict[type[BaseRecipe], type[Trainer]] = {
    Recipe: MaskTrainer, ClassMaskRecipe: ClassMaskTrainer, InfillerRecipe: InfillerTrainer,
    ClassifierRecipe: ClassifierTrainer,
}  # fmt: skip
STEPS = 5


def trainer_of(recipe: BaseRecipe, fabric: Fabric, kind: torch.dtype = torch.float64) -> Trainer:
    """In float64, so that only what differs in kind shows, and not the order of sums."""
    classifier = Classifier(tiny_net(), input_size=32, name="tiny")
    trainer = KINDS[type(recipe)](classifier, recipe, 5, fabric)
    judge = trainer.live if isinstance(trainer, MaskTrainer) else trainer.classifier
    for part in {*trainer.modules().values(), judge, trainer.classifier}:
        part.to(kind)
    return trainer


def batch(step: int, size: int, side: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(step)
    return torch.rand(size, 3, side, side, generator=g, dtype=torch.float64), torch.randint(5, (size,), generator=g)


def trained(
    recipe: BaseRecipe,
    fabric: Fabric,
    change: Callable[[Trainer], None] = lambda t: None,
    kind: torch.dtype = torch.float64,
) -> dict[str, Any]:
    """Weights and log of some steps on this process's share of each batch."""
    trainer = trainer_of(recipe, fabric, kind)
    change(trainer)
    logs = []
    for step in range(STEPS):
        images, labels = batch(step, recipe.batch_size, recipe.input_size or 32)
        share = slice(fabric.global_rank, None, fabric.world_size)
        logs.append(trainer.step(images[share].to(kind), labels[share]))
    state = trainer.state_dict()["modules"]
    return {"state": state, "logs": logs}


def flat(state: Any) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, Tensor):
            found[path] = value
        elif isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, f"{path}.{key}")

    walk(state, "")
    return found


def assert_same(one: dict[str, Any], other: dict[str, Any], tolerance: float, logged: float | None = None) -> None:
    a, b = flat(one["state"]), flat(other["state"])
    assert a.keys() == b.keys() and len(a) > 4
    for key in a:
        torch.testing.assert_close(a[key], b[key], atol=tolerance, rtol=tolerance, msg=lambda m, k=key: f"{k}: {m}")
    assert len(one["logs"]) == len(other["logs"])
    for left, right in zip(one["logs"], other["logs"], strict=True):
        assert left == pytest.approx(right, abs=logged or tolerance, rel=logged or tolerance)


# ---- two processes --------------------------------------------------------------------------------------------


def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def joined(rank: int, number: int) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(number), "LOCAL_RANK": str(rank)}


def run(rank: int, number: int, work: Callable[[int, Path], None], folder: Path) -> None:
    joined(rank, number)
    work(rank, folder)


def all_recipes(rank: int, folder: Path) -> None:
    fabric = fabric_of("cpu", devices=2)
    launch(fabric)
    found = {name: trained(recipe, fabric) for name, recipe in RECIPES.items()}
    torch.save(found, folder / f"{rank}.pt")


def test_two_processes_are_one(tmp_path: Path) -> None:
    """Batches of 5 in shares of 3 and 2; batch norm and dropout in train mode, draws of every sort.

    In float64 what is left is rounding: batch norm and Adam divide by spreads that can be thousands of times smaller
    than what they are the spread of, so that 1e-16 may grow to 1e-11 over five steps. Losses that are computed in
    float32 on purpose (class masks, infilled pixels) keep 1e-6 in the log.
    """
    mp.spawn(run, args=(port(), all_recipes, tmp_path), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in (0, 1))
    alone = fabric_of("cpu")
    for name, recipe in RECIPES.items():
        assert_same(first[name], second[name], 0)
        assert_same(trained(recipe, alone), first[name], 1e-8, 1e-5)


def test_pool_thinning_and_subset_agree() -> None:
    """They come from generators of the seed alone; each rank's pictures are its share of one order."""
    data = read_data("shapes:n=12,size=40,labels=own")
    loaders = [Loader([data], Recipe(**MASKS), 32, workers=w) for w in (1, 3)]
    whole = epoch(loaders[0], 1)
    for world in (2, 3):
        shares = [epoch(loaders[1], 1, rank=r, world=world) for r in range(world)]
        for step, (images, labels) in enumerate(whole):
            for r in range(world):
                assert torch.equal(shares[r][step][0], images[r::world])
                assert torch.equal(shares[r][step][1], labels[r::world])


# ---- whole runs -------------------------------------------------------------------------------------------------

RUN = Recipe(**MASKS | {"batch_size": 4, "per_class": 3, "pool_size": 2, "epochs": 4})


def whole_run(rank: int, folder: Path) -> None:
    """Half of a run by two processes, into b; all of one into c, whose data has no labels."""
    atexit.register(lambda: (folder / f"at the end of {rank}").write_text(str(dist.is_initialized())))
    tiny = Classifier(tiny_net(), input_size=32, name="tiny")
    train(RUN, folder / "data", classifier=tiny, out=folder / "b", device="cpu", devices=2, callbacks=[end_at(3)])
    train(RUN, folder / "bare", classifier=tiny, out=folder / "c", device="cpu", devices=2, checkpoint_every=2)
    everybody = all_gather(rank)
    assert everybody == [0, 1]
    torch.save(None, folder / f"done-{rank}")


def same_run(one: Path, other: Path) -> None:
    """Float32: sums in another order differ by 1e-7 each; Adam's first steps divide by gradients of that size."""
    a, b = (load_file(path / "masker.safetensors") for path in (one, other))
    assert a.keys() == b.keys()
    for key in a:
        torch.testing.assert_close(a[key], b[key], atol=2e-4, rtol=1e-3)
    logs = [[json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()] for path in (one, other)]
    assert len(logs[0]) == len(logs[1]) >= 4
    for left, right in zip(*logs, strict=True):
        left.pop("seconds_per_step"), right.pop("seconds_per_step")
        assert left == pytest.approx(right, abs=2e-3)


def test_runs_of_two_processes_and_of_one(picture_folder: Path, tmp_path: Path) -> None:
    """Begun by two and ended by one; all by two, with the classifier's own labels; log and files written once.

    Each process has left the others before its interpreter ends: gloo's threads could abort it there.
    """
    shutil.copytree(picture_folder, tmp_path / "data")
    shutil.copytree(picture_folder, tmp_path / "bare")
    (tmp_path / "bare" / "labels.csv").unlink()
    tiny = Classifier(tiny_net(), input_size=32, name="tiny")
    mp.spawn(run, args=(port(), whole_run, tmp_path), nprocs=2)
    assert [(tmp_path / f"at the end of {rank}").read_text() for rank in (0, 1)] == ["False", "False"]
    assert len((tmp_path / "b" / "log.jsonl").read_text().splitlines()) == 3
    (tmp_path / "b" / "masker.safetensors").unlink()
    train(RUN, tmp_path / "data", classifier=tiny, out=tmp_path / "b", device="cpu", resume=True)
    train(RUN, tmp_path / "data", classifier=tiny, out=tmp_path / "a", device="cpu")
    same_run(tmp_path / "a", tmp_path / "b")
    train(RUN, tmp_path / "bare", classifier=tiny, out=tmp_path / "d", device="cpu")
    same_run(tmp_path / "c", tmp_path / "d")
    assert {p.name for p in (tmp_path / "c").iterdir()} == {p.name for p in (tmp_path / "d").iterdir()}


def test_torchrun_and_devices_on_the_command_line(tmp_path: Path) -> None:
    """Both start two processes of the command; one line comes out, and one line of an error."""
    common = [
        "train", "phang/fix_lite0", "--data", "shapes:n=8,size=40", "--steps", "1", "--device", "cpu",
        "--set", "batch_size=2", "--set", "input_size=32",
    ]  # fmt: skip
    env = {k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "RANK", "WORLD_SIZE")}
    env |= {"OMP_NUM_THREADS": "1"}

    def call(*start: str, out: str, more: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *start, *common, "--out", str(tmp_path / out), *more]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)

    done = call("-m", "maskwise", out="a", more=("--devices", "2"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / "a" / "masker.safetensors")]
    refused = call("-m", "maskwise", out="a", more=("--devices", "2"))
    assert refused.returncode == 2 and refused.stderr.count("is not empty") == 1
    launched = call("-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "maskwise", out="b")
    assert launched.returncode == 0, launched.stderr
    assert launched.stdout.split() == [str(tmp_path / "b" / "masker.safetensors")]
    a, b = (load_file(tmp_path / name / "masker.safetensors") for name in "ab")
    assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"precision": "16-mixed"}, "use fp32, bf16, fp16, auto"),
        ({"precision": "fp16"}, "fp16 needs a GPU"),
    ],
)
def test_what_a_cpu_can_not_do(settings: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        fabric_of("cpu", **settings)  # type: ignore[arg-type]


def test_shares_that_are_too_small(picture_folder: Path, tmp_path: Path) -> None:
    tiny = Classifier(tiny_net(), input_size=32, name="tiny")
    with pytest.raises(InputError, match="batch_size 4 is too small for 1 processes with 5 parts"):
        train(RUN, picture_folder, classifier=tiny, out=tmp_path / "a", device="cpu", accumulate=5)


# ---- micro-batches, float16, compiled networks ------------------------------------------------------------------


def without_statistics(parts: int) -> Callable[[Trainer], None]:
    def change(trainer: Trainer) -> None:
        trainer.accumulate = parts
        trainer.masker.decoder.eval()  # type: ignore[attr-defined]

    return change


@pytest.mark.parametrize("name", ["casm", "two steps, infilled", "fixed, steps of 1"])
def test_micro_batches_are_one_batch(name: str) -> None:
    """Parts of 2, 2 and 1 pictures, where no batch norm takes statistics; draws are those of the whole batch."""
    alone = fabric_of("cpu")
    recipe = RECIPES[name].model_copy(update={"batch_norm": "frozen"})
    whole = trained(recipe, alone, without_statistics(1))
    assert_same(whole, trained(recipe, alone, without_statistics(3)), 1e-9, 1e-6)


def test_micro_batches_take_statistics_of_their_own() -> None:
    """The decoder's batch norm in train mode: close, and not the same."""
    alone = fabric_of("cpu")

    def parts(trainer: Trainer) -> None:
        trainer.accumulate = 2

    one, two = (trained(RECIPES["fixed, steps of 1"], alone, change) for change in (lambda t: None, parts))
    assert one["logs"][0]["area"] == pytest.approx(two["logs"][0]["area"], abs=0.05)
    assert one["logs"][0]["area"] != pytest.approx(two["logs"][0]["area"], abs=1e-9)


def test_float16_scales_its_losses_and_leaves_an_overflow_out() -> None:
    """Fabric refuses float16 on a CPU, so its plugin is given by hand."""
    from lightning.fabric import Fabric as WithPlugins
    from lightning.fabric.plugins import MixedPrecision

    fabric = WithPlugins(accelerator="cpu", devices=1, plugins=MixedPrecision("16-mixed", "cpu"))
    classifier = Classifier(tiny_net(), input_size=32, name="tiny")
    trainer = MaskTrainer(classifier, Recipe(**MASKS | {"thinning": "F", "tv_form": "paper"}), 5, fabric)
    scaler = trainer.masker_step.scaler
    assert scaler.is_enabled() and scaler.get_scale() == 2**16
    images, labels = batch(0, 5, 32)
    trainer.step(images.float(), labels)  # 2^16 may be too much for the first of all
    scaler.update(16.0)
    before = [w.clone() for w in trainer.masker_parameters]
    trainer.step(images.float(), labels)
    assert any(not torch.equal(a, b) for a, b in zip(before, trainer.masker_parameters, strict=True))
    scaler.update(2.0**120)
    before = [w.clone() for w in trainer.masker_parameters]
    trainer.step(images.float(), labels)
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.masker_parameters, strict=True)), "infinite gradients"
    assert scaler.get_scale() == 2.0**119
    other = MaskTrainer(classifier, Recipe(**MASKS | {"thinning": "F"}), 5, fabric)
    other.load_state_dict(trainer.state_dict())
    assert other.masker_step.scaler.get_scale() == 2.0**119


def test_compiled_networks_train_the_same() -> None:
    alone = fabric_of("cpu")
    recipe = RECIPES["casm"].model_copy(update={"batch_norm": "frozen"})
    plain, compiled = (trained(recipe, alone, c) for c in (lambda t: None, lambda t: t.compile("aot_eager")))
    assert_same(plain, compiled, 1e-9, 1e-6)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_inductor_trains_the_same() -> None:
    """Two steps of a masker for a fixed classifier: forwards and backwards, as C++ code."""
    images, labels = batch(0, 5, 32)
    trainers = [trainer_of(RECIPES["fixed, steps of 1"], fabric_of("cpu")) for _ in range(2)]
    trainers[1].compile("inductor")
    for _ in range(2):
        logs = [trainer.step(images, labels) for trainer in trainers]
        assert logs[0] == pytest.approx(logs[1], abs=1e-9)
    one, other = ({"state": t.state_dict(), "logs": []} for t in trainers)
    assert_same(one, other, 1e-8)


def test_a_compiler_that_fails_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from maskwise.training.compiling import compiled

    with pytest.raises(InputError, match="no backend 'nonsense'"):
        compiled(lambda x: x, "nonsense")

    def broken(graph: Any, example: Any) -> Any:
        raise RuntimeError("no C++ compiler was found")

    import torch._dynamo as dynamo

    dynamo.register_backend(broken, name="maskwise_broken")  # type: ignore[call-arg]
    with pytest.raises(InputError, match=r"compiling failed .*leave `compiler` out"):
        compiled(lambda x: x.sin() + 1, "maskwise_broken")(torch.rand(3))
