"""Classifiers: any network behind one small interface."""

from maskwise.classifiers.classifier import Classifier, learning_copy, still_copy, widened
from maskwise.classifiers.detector_score import DetectorScore
from maskwise.classifiers.loading import classifiers, load_classifier
from maskwise.classifiers.prototype_classifier import PrototypeClassifier
from maskwise.classifiers.region_score import RegionScore
from maskwise.classifiers.similarity_score import SimilarityScore
from maskwise.classifiers.text_classifier import TextClassifier
from maskwise.core.registry import discover

discover(__name__, __path__)  # importing a file registers the classifiers in it

__all__ = [
    "Classifier",
    "DetectorScore",
    "PrototypeClassifier",
    "RegionScore",
    "SimilarityScore",
    "TextClassifier",
    "classifiers",
    "learning_copy",
    "load_classifier",
    "still_copy",
    "widened",
]
