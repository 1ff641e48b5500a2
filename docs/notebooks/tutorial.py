# %% [markdown]
# # Masks in ten minutes
#
# Which pixels does a classifier use? This notebook asks one, brings another one along, compares methods, and trains a
# masker, all on a CPU and without a network. `python docs/notebooks/convert.py` makes the notebook of this script.

# %%
import torch
from torch import nn

import maskwise as mw
from maskwise.images import packaged_pictures

classifier = mw.load_classifier("efficientnet_lite0")
images = mw.load_images(packaged_pictures()[:2], size=224)
maps = mw.explainer("casm", classifier)(images)
mw.show(images, maps)

# %% [markdown]
# A map is in [0,1] and has the picture's size; from it come boxes. An explainer is any callable
# `(images, targets=None) -> maps`.

# %%
print(tuple(maps.shape), mw.boxes(maps).tolist())

# %% [markdown]
# ## Methods side by side

# %%
names = ["grad_cam", "layer_cam", "gradient"]
answers = {name: mw.explainer(name, classifier)(images) for name in names}
answers["grad_cam + SESS"] = mw.SESS(mw.explainer("grad_cam", classifier), scales=3, prefilter=0.5)(images)
mw.show(images, answers)

# %% [markdown]
# How much of the class's probability comes back with the most salient pixels?

# %%
insertion = mw.metric("insertion", classifier, step=0.1)
for name, found in answers.items():
    insertion.reset()
    insertion.update(found, images=images)
    print(f"{name:16} {float(insertion.compute()):5.1f} %")

# %% [markdown]
# ## Bring your own classifier
#
# Any network from normalised images to scores; its layers are found by running it.

# %%
torch.manual_seed(0)
network = nn.Sequential(
    nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
    nn.Flatten(), nn.Linear(32, 3),
)
mine = mw.Classifier(network, labels=["red", "green", "blue"], input_size=64, name="mine")
found = mw.explainer("grad_cam", mine)(images, targets="green")
mw.show(images, found)

# %% [markdown]
# ## Train a masker
#
# A masker learns to mask what a pool of classifiers needs. A real training takes minutes on a CPU and more pictures:
# `maskwise train casm_lite0 --data DATA`. How it goes, and every setting, is in the page on training.

# %%
from maskwise.training import recipes

recipe = recipes.load("casm")
print(recipe.title)
