"""What an audit's criteria `spurious` and `background` find in networks at which nothing was planted.

    python examples/audit/clean_networks.py spurious --data imagenette224.zip --pictures twins/pictures \\
      --birds cub10.zip --more ilsvrc1275.zip
    python examples/audit/clean_networks.py background --data imagenette224.zip --twin twins/clean.safetensors

The first is what the bound of `spurious` was chosen on: ``efficientnet_lite0`` held to the ten classes of imagenette,
its last layer taught on ten birds, and all of it on pictures of many classes. The second asks what a network tells by
the background, with and without an object, and whether the hole that the object leaves gives it away.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file
from shortcut_twins import CLASSES, SIDE, features_of, labelled, network, taught
from torch import Tensor, nn

import maskwise as mw
from maskwise.audit.rows import Answers, Beside, SmallMaps, object_cover
from maskwise.audit.spurious import spurious_section
from maskwise.audit.subject import Audited, AuditPlan
from maskwise.audit.wilson import wilson
from maskwise.blending import masked_in, masked_out
from maskwise.data import DataSet, read_data
from maskwise.evaluation import Contender, Settings
from maskwise.evaluation.run import measure
from maskwise.infill import infiller

GROWN = SIDE // 10  # pixels on each side of a box


def held_to_ten(data: DataSet) -> mw.Classifier:
    """The packaged classifier with the rows of the data's ten classes alone."""
    full = mw.load_classifier("efficientnet_lite0")
    rows = torch.tensor(sorted({record.label for record in data.records if record.label is not None}))
    old, new = full.module.classifier, nn.Linear(full.module.classifier.in_features, CLASSES)
    with torch.no_grad():
        new.weight.copy_(old.weight[rows])
        new.bias.copy_(old.bias[rows])
    full.module.classifier = new
    return mw.Classifier(
        full.module, mean=full.mean.tolist(), std=full.std.tolist(), input_size=SIDE,
        name="ten", labels=[str(i) for i in range(CLASSES)],
    )  # fmt: skip


def of_birds(source: str) -> tuple[mw.Classifier, DataSet]:
    """A last layer taught on the training pictures, and those to audit it on."""
    train = read_data(f"{source}@train")
    samples = [train[i].resized(SIDE) for i in range(len(train))]
    kinds = torch.tensor([sample.category if sample.label is None else sample.label for sample in samples])
    empty = network()
    features = features_of(empty, [sample.image for sample in samples])
    return taught(empty, features, kinds.unique(return_inverse=True)[1]), read_data(f"{source}@test")


def carried(
    classifier: mw.Classifier, data: DataSet, out: Path, method: str, seed: int, limit: int | None = None
) -> None:
    """Prints what `spurious` says, with no other part of an audit."""
    made, plan = mw.explainer(method, classifier), AuditPlan(seed=seed, limit=limit)
    questions = {"answers": Answers(), "maps": SmallMaps(), "beside": Beside()}
    settings = Settings("squash", "predicted", limit, plan.batch)
    measured = measure([Contender.of(method, made)], classifier, [data], questions, settings, out)
    section = spurious_section(Audited(classifier, made, method, [data], measured, plan, out))
    for line in (section.says[0], section.criteria[0].figure):
        print("  " + line, flush=True)


def spurious(said: argparse.Namespace) -> None:
    if "ten" in said.only:
        test = read_data(f"{said.data}@test")
        for seed in (0, 1):
            print(f"ten classes, seed {seed}", flush=True)
            carried(held_to_ten(test), read_data(said.pictures), said.out / "ten", "grad_cam", seed)
    if "birds" in said.only:
        print("birds", flush=True)
        carried(*of_birds(said.birds), said.out / "birds", "grad_cam", 0)
    if "many" in said.only:
        print("many classes", flush=True)
        packaged = mw.load_classifier("efficientnet_lite0")
        carried(packaged, read_data(f"{said.more}@val"), said.out / "many", "distilled", 0, 250)


@torch.no_grad()
def background(said: argparse.Namespace) -> None:
    test, truth = labelled(read_data(f"{said.data}@test"))
    images = torch.stack([sample.image for sample in test])
    there, grown = (covers([sample.boxes for sample in test], by) for by in (0, GROWN))
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(1))

    def partner(place: int, turn: int, same: bool) -> int:
        turned = [int(j) for j in order.roll(-turn) if int(j) != place]
        return next(j for j in turned if bool(truth[j] == truth[place]) is same)

    other, same = (torch.tensor([partner(i, i, alike) for i in range(len(test))]) for alike in (False, True))
    hidden = refilled(images, there)
    asked = {
        "whole": images, "object alone": refilled(images, 1 - there), "object hidden": hidden,
        "object hidden, boxes grown": refilled(images, grown),
        "only the hole is its own": refilled(hidden[other], there),
        "on another class's background": masked_in(images, there, hidden[other]),
        "on its own class's background": masked_in(images, there, hidden[same]),
    }  # fmt: skip
    twin, packaged = network(), held_to_ten(read_data(f"{said.data}@test"))
    twin.module.load_state_dict(load_file(said.twin))
    for name, classifier, size in (("twin", twin, SIDE), ("packaged, ten classes", packaged, 224)):
        print(name, flush=True)
        for what, pictures in asked.items():
            sized = [nn.functional.interpolate(part, size=size, mode="bilinear") for part in pictures.split(25)]
            answers = torch.cat([classifier.module(classifier.normalise(part)).argmax(1) for part in sized])
            right, follows = (wilson(int((answers == of).sum()), len(test)) for of in (truth, truth[other]))
            line = f"  {what}: {right.times(100).text(0, '%')}"
            print(line + (f", as the background {follows.times(100).text(0, '%')}" if "another" in what else ""))


def covers(boxes: list[Tensor], grow: int) -> Tensor:
    """(N,S,S) of 0 and 1: boxes grown by pixels on each side."""
    moved = [(own + own.new_tensor([-grow, -grow, grow, grow])).clamp(0, SIDE) for own in boxes]
    return (object_cover(torch.zeros(len(boxes), SIDE, SIDE), moved, None) > 0.5).float()


def refilled(images: Tensor, holes: Tensor) -> Tensor:
    """Images whose holes are inpainted."""
    paint, colour = infiller("telea"), torch.full((3,), 0.5)
    parts = [
        masked_out(part, hole, paint(part, hole, colour))
        for part, hole in zip(images.split(25), holes.split(25), strict=True)
    ]
    return torch.cat(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("spurious", "background"))
    parser.add_argument("--data", required=True, help="imagenette224.zip")
    parser.add_argument("--pictures", default="twins/pictures", help="those of the twins, with labels 0 to 9")
    parser.add_argument("--birds", default="cub10.zip")
    parser.add_argument("--more", default="ilsvrc1275.zip")
    parser.add_argument("--twin", default="twins/clean.safetensors")
    parser.add_argument("--only", nargs="+", default=["ten", "birds", "many"], help="networks of the first question")
    parser.add_argument("--out", type=Path, default=Path("clean-networks"))
    said = parser.parse_args()
    {"spurious": spurious, "background": background}[said.what](said)


if __name__ == "__main__":
    main()
