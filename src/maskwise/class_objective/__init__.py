"""What a class-conditional mask is asked for (Dabkowski & Gal 2017): by training, and by a method for one picture."""

from maskwise.class_objective.alternative import Alternative
from maskwise.class_objective.losses import Paper, Reading, Released, Seen

__all__ = ["Alternative", "Paper", "Reading", "Released", "Seen"]
