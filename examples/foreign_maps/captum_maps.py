"""Input x gradient by captum, signed and summed over the colours."""

from captum.attr import InputXGradient
from pictures import arguments, pictures, save

import maskwise as mw

given = arguments(__doc__)
classifier = mw.load_classifier(given.classifier)
method = InputXGradient(classifier.module.eval())
for name, picture, top in pictures(given, classifier):
    found = method.attribute(picture.requires_grad_(True), target=top)
    save(given, name, found.sum(1)[0].detach().numpy())
