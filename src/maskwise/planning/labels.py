"""What a teacher's maps cost, which are made once, before the first step."""

from __future__ import annotations

import torch

from maskwise.explainers.doubts import handed_on
from maskwise.planning.counting import counted
from maskwise.planning.phases import SAMPLE
from maskwise.training.distil import DistilTrainer
from maskwise.training.teacher import Teacher
from maskwise.training.trainer import Trainer


def label_flops(trainer: Trainer) -> float:
    """FLOPs of the teacher's maps of one picture; 0 where nobody teaches."""
    if not isinstance(trainer, DistilTrainer):
        return 0.0
    network = trainer.classifier
    teacher = Teacher(network, trainer.recipe.teacher)
    pictures = list(torch.rand(SAMPLE, network.channels, *network.size))
    asked = [range(trainer.maps_along)] * SAMPLE
    with handed_on():  # what may be wrong with a map of noise is nobody's news
        for method in teacher.explainers.values():  # once, however many pictures follow
            method.ask_once(pictures[0][None])
        return counted(lambda: teacher.of_several(pictures, asked), network.module).of_one(SAMPLE).flops
