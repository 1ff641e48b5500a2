"""Integrated gradients by captum, signed and summed over the colours."""

from captum.attr import IntegratedGradients
from pictures import arguments, pictures, save

import maskwise as mw

given = arguments(__doc__)
classifier = mw.load_classifier(given.classifier)
method = IntegratedGradients(classifier.module.eval())
for name, picture, top in pictures(given, classifier):
    found = method.attribute(picture, target=top, n_steps=16, internal_batch_size=16)
    save(given, name, found.sum(1)[0].detach().numpy())
