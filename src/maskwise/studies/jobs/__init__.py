"""What a cell of a study does: train and measure, explain and measure, ask a panel, run a check."""

from maskwise.studies.estimate import Number
from maskwise.studies.jobs.base import Job, JobCost, Numbers
from maskwise.studies.jobs.checks import CheckJob
from maskwise.studies.jobs.explain import Explain
from maskwise.studies.jobs.leak import LEAK_COLUMN, Leak
from maskwise.studies.jobs.masker import Train
from maskwise.studies.jobs.on_masks import OnMasks
from maskwise.studies.jobs.panel import PanelJob
from maskwise.studies.jobs.unseen import TrainOnSome

__all__ = [
    "LEAK_COLUMN",
    "CheckJob",
    "Explain",
    "Job",
    "JobCost",
    "Leak",
    "Number",
    "Numbers",
    "OnMasks",
    "PanelJob",
    "Train",
    "TrainOnSome",
]
