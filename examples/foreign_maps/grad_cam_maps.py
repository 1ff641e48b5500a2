"""Grad-CAM++ by pytorch-grad-cam, of the classifier's deepest layer with a grid."""

from pictures import arguments, pictures, save
from pytorch_grad_cam import GradCAMPlusPlus
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

import maskwise as mw

given = arguments(__doc__)
classifier = mw.load_classifier(given.classifier)
layer = classifier.module.get_submodule(mw.explainer("grad_cam", classifier).layer)
with GradCAMPlusPlus(model=classifier.module.eval(), target_layers=[layer]) as method:
    for name, picture, top in pictures(given, classifier):
        save(given, name, method(picture.requires_grad_(True), targets=[ClassifierOutputTarget(top)])[0])
