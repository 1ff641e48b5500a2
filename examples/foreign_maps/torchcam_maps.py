"""Layer-CAM by torchcam, at the layer's own resolution: maps need not have the picture's size."""

from pictures import arguments, pictures, save
from torchcam.methods import LayerCAM

import maskwise as mw

given = arguments(__doc__)
classifier = mw.load_classifier(given.classifier)
layer = mw.explainer("grad_cam", classifier).layer
with LayerCAM(classifier.module.eval(), target_layer=layer) as method:
    for name, picture, top in pictures(given, classifier):
        scores = classifier.module(picture.requires_grad_(True))
        save(given, name, method(top, scores)[0][0].detach().numpy())
