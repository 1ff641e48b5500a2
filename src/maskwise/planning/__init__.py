"""What a training or an evaluation will cost: FLOPs and bytes counted, throughput measured on this machine."""

from maskwise.planning.evaluation import EvaluationPlan, plan_evaluation
from maskwise.planning.training import TrainingPlan, plan_training

__all__ = ["EvaluationPlan", "TrainingPlan", "plan_evaluation", "plan_training"]
