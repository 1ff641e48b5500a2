"""Classifiers: any network behind one small interface."""

from maskwise.classifiers.cifar import cifar_resnet18 as _registers_itself  # noqa: F401
from maskwise.classifiers.classifier import Classifier, still_copy
from maskwise.classifiers.loading import classifiers, load_classifier

__all__ = ["Classifier", "classifiers", "load_classifier", "still_copy"]
