"""Distils classifiers into a small vision transformer, whose stem is the first one's, and measures it.

python scripts/distil_vit.py --data imagenet1000_samples.zip --data nips2017.zip --teacher efficientnet_lite0 \
    --val ilsvrc1275.zip@val --minutes 9 --device cuda --out runs/vit

All pictures are decoded once, squashed, and stay on the device as bytes; crops, flips and blends of two pictures are
drawn there. The student learns the mean of the teachers' probabilities (Hinton et al. 2015; on crops and blends as in
Beyer et al. 2022). The stem is frozen, and the first teacher's: one forward of it serves both.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwise.classifiers import Classifier, load_classifier
from maskwise.classifiers.hybrid_vit import STEM, hybrid_vit
from maskwise.core.devices import device_of
from maskwise.core.files import atomic_write
from maskwise.core.seal import save_sealed
from maskwise.data import DataSet, read_data
from maskwise.images import resize, to_bytes
from maskwise.training.classifier_training import FORMAT

NAME = "vit_tiny_distilled"
WARM = 500  # steps in which the rate rises
AREA = (0.25, 1.0)  # of a crop
ASPECT = 4 / 3


def halved(device: torch.device) -> torch.autocast:
    """bfloat16 on a GPU."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


class Given(nn.Module):
    """In the stem's place while it learns: the features come in as they are."""

    def forward(self, features: Tensor) -> Tensor:
        return features


def decoded(sets: Sequence[DataSet], side: int, device: torch.device) -> Tensor:
    """All pictures (N,3,S,S) uint8, squashed."""
    items = [(data, record) for data in sets for record in data.records]

    def one(item: tuple[DataSet, Any]) -> Tensor:
        return to_bytes(resize(item[0].image(item[1])[None], side)[0])

    with ThreadPoolExecutor() as pool:
        return torch.stack(list(pool.map(one, items))).to(device)


def crops(pictures: Tensor, size: int, draws: torch.Generator) -> Tensor:
    """A random part of each picture (B,3,S,S), flipped half the time: (B,3,size,size) in [0,1]."""
    count, device = len(pictures), pictures.device

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=draws, device=device) * (high - low) + low

    area, aspect = uniform(*AREA), torch.exp(uniform(-math.log(ASPECT), math.log(ASPECT)))
    wide, tall = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    right, down = (1 - wide) * uniform(-1, 1), (1 - tall) * uniform(-1, 1)
    turned = torch.where(uniform(0, 1) < 0.5, -wide, wide)
    zero = torch.zeros_like(wide)
    theta = torch.stack([torch.stack([turned, zero, right], 1), torch.stack([zero, tall, down], 1)], 1)
    grid = F.affine_grid(theta, [count, 3, size, size], align_corners=False)
    return F.grid_sample(pictures.float() / 255, grid, padding_mode="reflection", align_corners=False).clamp(0, 1)


def blended(images: Tensor, draws: torch.Generator, share: float) -> Tensor:
    """A share of the pictures mixed with another one of the batch, by any part (mixup; Zhang et al. 2018)."""
    count, device = len(images), images.device
    part = torch.rand(count, generator=draws, device=device)
    alone = torch.rand(count, generator=draws, device=device) >= share
    part = torch.where(alone, torch.ones_like(part), part)[:, None, None, None]
    return images * part + images[torch.randperm(count, generator=draws, device=device)] * (1 - part)


class Lesson:
    """What is taught: pictures, the stem's features of them, and the teachers' mean probabilities.

    Args:
        teachers: the first one's stem is the student's.
        pictures: (N,3,S,S) uint8.
        size: of a crop.
        batch: crops a step.
    """

    def __init__(self, teachers: Sequence[Classifier], pictures: Tensor, size: int, batch: int, mixed: float) -> None:
        self.teachers, self.pictures, self.size, self.batch, self.mixed = teachers, pictures, size, batch, mixed
        self.features: Tensor | None = None
        first = teachers[0].module
        first.get_submodule(f"blocks.{STEM - 1}").register_forward_hook(self._keep)

    def _keep(self, _: nn.Module, __: Any, output: Tensor) -> None:
        self.features = output

    def step(self, number: int) -> tuple[Tensor, Tensor]:
        """Features (B,C,h,w) and probabilities (B,K), drawn by the step's number alone."""
        draws = torch.Generator(self.pictures.device).manual_seed(number)
        chosen = torch.randint(len(self.pictures), (self.batch,), generator=draws, device=self.pictures.device)
        images = blended(crops(self.pictures[chosen], self.size, draws), draws, self.mixed)
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), halved(images.device):
            said = [teacher.logits(images).float().softmax(1) for teacher in self.teachers]
        assert self.features is not None
        return self.features, torch.stack(said).mean(0)


def rate(done: float, step: int) -> float:
    """Of 1: a rise over the first steps, then a cosine to 0 at the end."""
    return min((step + 1) / WARM, 1.0) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def groups(student: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weights that decay, and biases, norms, token and places, which do not."""
    named = [(name, weight) for name, weight in student.named_parameters() if weight.requires_grad]
    kept = [weight for name, weight in named if weight.ndim < 2 or name in ("cls_token", "pos_embed")]
    rest = [weight for name, weight in named if not (weight.ndim < 2 or name in ("cls_token", "pos_embed"))]
    return [{"params": rest, "weight_decay": decay}, {"params": kept, "weight_decay": 0.0}]


def teach(given: argparse.Namespace, teachers: Sequence[Classifier], out: Path) -> dict[str, Any]:
    """Trains the student, and goes on where a checkpoint is; what it cost. The weights lie in ``out`` afterwards."""
    device = device_of(given.device)
    pictures = decoded([read_data(source) for source in given.data], given.kept, device)
    lesson = Lesson(teachers, pictures, given.size, given.batch, given.mixed)
    torch.manual_seed(given.seed)
    student = hybrid_vit(given.size)
    stem = student.patch_embed.backbone
    theirs = teachers[0].module.state_dict()
    stem.load_state_dict({ours: theirs[name] for ours, name in stem_names(stem, theirs)})
    student.patch_embed.backbone = Given()
    student.to(device).train()
    adam = torch.optim.AdamW(groups(student, given.decay), given.lr, betas=(0.9, 0.98))
    checkpoint, step, spent = out / "checkpoint.pt", 0, 0.0
    if given.resume and checkpoint.is_file():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        student.load_state_dict(state["student"])
        adam.load_state_dict(state["adam"])
        step, spent = state["step"], state["seconds"]
    began, saved = time.monotonic() - spent, time.monotonic()
    with (out / "log.jsonl").open("a", encoding="utf-8") as log:
        while True:
            seconds = time.monotonic() - began
            done = step / given.steps if given.steps else seconds / (60 * given.minutes)
            if done >= 1:
                break
            for group in adam.param_groups:
                group["lr"] = given.lr * rate(done, step)
            features, wanted = lesson.step(step)
            with halved(device):
                logits = student(features)
            loss = F.kl_div(logits.float().log_softmax(1), wanted, reduction="batchmean")
            adam.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            adam.step()
            if step % 50 == 0:
                alike = (logits.argmax(1) == wanted.argmax(1)).float().mean()
                row = {"step": step, "loss": round(float(loss.detach()), 4), "agrees": round(float(alike), 4),
                       "seconds": round(seconds, 1)}  # fmt: skip
                log.write(json.dumps(row) + "\n")
                log.flush()
            step += 1
            if time.monotonic() - saved > 60 * given.checkpoint_minutes:
                saved = time.monotonic()
                state = {"student": student.state_dict(), "adam": adam.state_dict(), "step": step,
                         "seconds": saved - began}  # fmt: skip
                with atomic_write(checkpoint) as temporary:
                    torch.save(state, temporary)
    student.patch_embed.backbone = stem.to(device)
    recipe = {key: value for key, value in vars(given).items() if key not in ("out", "resume", "val", "device")}
    recipe |= {"steps": step, "data": [Path(source).name for source in given.data]}
    header = {"format": FORMAT, "classifier": NAME, "recipe": json.dumps(recipe)}
    kept = student.state_dict()
    tensors = {name: value.half() if value.is_floating_point() else value for name, value in kept.items()}
    with atomic_write(out / "classifier.safetensors") as temporary:
        save_sealed(temporary, tensors, header)
    return {"steps": step, "pictures": len(pictures), "crops_seen": step * given.batch,
            "minutes": round((time.monotonic() - began) / 60, 1), "device": str(device)}  # fmt: skip


def stem_names(stem: nn.Module, theirs: dict[str, Tensor]) -> Iterator[tuple[str, str]]:
    """The stem's names of tensors and the first teacher's, stage by stage."""
    for ours in stem.state_dict():
        part, _, rest = ours.partition(".")
        other = {"conv": "conv_stem", "norm": "bn1"}.get(part) or f"blocks.{part.removeprefix('stage')}"
        assert f"{other}.{rest}" in theirs
        yield ours, f"{other}.{rest}"


def right(classifier: Classifier, sources: Sequence[str], device: torch.device) -> dict[str, float]:
    """By source: the share of whole pictures, squashed, whose likeliest class is their label."""
    found = {}
    for source in sources:
        data = read_data(source)
        labels = torch.tensor([record.label for record in data.records])
        hits = []
        for some in torch.arange(len(labels)).split(50):
            images = torch.cat([resize(data.image(data.records[i])[None], classifier.input_size) for i in some])
            with torch.inference_mode():
                hits.append(classifier.logits(images.to(device)).argmax(1).cpu() == labels[some])
        found[Path(source).name] = round(float(torch.cat(hits).float().mean()), 4)
    return found


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", default=[], help="to learn from, labels unused; may be repeated")
    parser.add_argument("--teacher", action="append", default=[], help="NAME or NAME=WEIGHTS; may be repeated")
    parser.add_argument("--val", action="append", default=[], help="labelled pictures to measure on; may be repeated")
    parser.add_argument("--minutes", type=float, default=None, help="of the clock, instead of --steps")
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=224, help="pixels of a crop's side")
    parser.add_argument("--kept", type=int, default=192, help="pixels of a kept picture's side")
    parser.add_argument("--mixed", type=float, default=0.5, help="share of crops that are blended with another")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--decay", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint-minutes", type=float, default=5)
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out")
    parser.add_argument("--measure", metavar="CLASSIFIER", help="no training: in how many of --val is this one right?")
    given = parser.parse_args(arguments)
    if given.measure:
        measured = right(load_classifier(given.measure).to(device_of(given.device)), given.val, device_of(given.device))
        print(json.dumps(measured))
        return measured
    if not (given.data and given.teacher and given.out):
        parser.error("give --data, --teacher and --out, or --measure")
    if (given.steps is None) == (given.minutes is None):
        parser.error("give --steps or --minutes")
    out = Path(given.out)
    out.mkdir(parents=True, exist_ok=True)
    device = device_of(given.device)
    named = [name.partition("=")[::2] for name in given.teacher]
    teachers = [load_classifier(name, weights or None).to(device) for name, weights in named]
    for teacher in teachers:
        teacher.module.to(memory_format=torch.channels_last)
    report = teach(given, teachers, out)
    if given.val:
        student = load_classifier(NAME, out / "classifier.safetensors").to(device)
        report |= {"right": right(student, given.val, device), "teachers": [
            right(teacher, given.val, device) for teacher in teachers]}  # fmt: skip
    print(json.dumps(report))
    return report


if __name__ == "__main__":
    main()
