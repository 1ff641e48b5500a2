# %% [markdown]
# # Masks in ten minutes
#
# Which pixels does a classifier use? This notebook asks one, brings another one along, compares methods, and trains a
# masker, all on a CPU and without a network. `python docs/notebooks/convert.py
# tutorial.ipynb` makes the notebook, and `--page` this page with its outputs.

# %%
import torch
from torch import nn

import maskwise as mw
from maskwise.images import packaged_pictures

classifier = mw.load_classifier("efficientnet_lite0")
images = mw.load_images(packaged_pictures()[:2], size=224)
maps = mw.explainer("distilled", classifier)(images)
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
# ## Bring your own pictures and your own classifier
#
# Discs of three colours on noise, written as files: `images/`, one folder a class. The network that tells the colours
# apart is any network from normalised images to scores; its layers are found by running it.

# %%
import tempfile
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from PIL import Image

COLOURS = {"blue": (60, 80, 230), "green": (50, 200, 70), "red": (220, 50, 50)}
draws = np.random.default_rng(0)


def scene(colour):
    """A picture (64,64,3) with one disc, and the disc's box."""
    picture = draws.integers(0, 256, (16, 16, 3)).repeat(4, 0).repeat(4, 1)
    (x, y), r = draws.integers(16, 48, 2), draws.integers(8, 16)
    rows, columns = np.mgrid[:64, :64]
    picture[(columns - x) ** 2 + (rows - y) ** 2 < r * r] = COLOURS[colour]
    return picture.astype(np.uint8), [x - r, y - r, x + r, y + r]


folder = Path(tempfile.mkdtemp())
for number in range(240):
    colour = list(COLOURS)[number % 3]
    (folder / "images" / colour).mkdir(parents=True, exist_ok=True)
    Image.fromarray(scene(colour)[0]).save(folder / "images" / colour / f"{number}.png")

# %%
torch.manual_seed(0)


def block(inputs, outputs):
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2))


pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
network = nn.Sequential(block(3, 16), block(16, 32), block(32, 64), pool, nn.Linear(64, 3))
files = sorted(folder.rglob("*.png"))
pictures, labels = mw.load_images(files), torch.tensor([list(COLOURS).index(f.parent.name) for f in files])
adam = torch.optim.Adam(network.parameters(), 1e-2)
for _ in range(100):
    some = torch.randint(len(pictures), (32,))
    loss = F.cross_entropy(network(pictures[some]), labels[some])
    adam.zero_grad()
    loss.backward()
    adam.step()

mine = mw.Classifier(network, mean=(0, 0, 0), std=(1, 1, 1), labels=list(COLOURS), input_size=64, name="mine")
print(f"{float((mine.logits(pictures).argmax(1) == labels).float().mean()):.0%} right")

# %% [markdown]
# ## Train a masker
#
# Algorithm 1 of CASM: the masker hides what the classifier needs, the classifier goes on learning from what is left,
# and older classifiers judge now and then. Nobody tells it where the discs are. The recipe's settings are changed by
# name, as `--set` does on the command line; a masker for ImageNet's classes wants thousands of pictures and some
# minutes (`maskwise train casm_lite0 --data DATA`).

# %%
settings = [
    "taps=null", "decoder=added", "width=64", "input_size=64", "steps=70", "per_class=null", "crop_area=[0.8, 1.0]",
    "masker_lr=0.003", "objectives.max_entropy.lambda_r=1", "target_area=0.2",
]  # fmt: skip
path = mw.train("casm_lite0", folder, classifier=mine, out=folder / "run", overrides=settings)
masker = mw.explainer("casm", mine, masker=path)

# %%
scenes = [scene(colour) for colour in COLOURS for _ in range(20)]
unseen = torch.stack([torch.from_numpy(picture).permute(2, 0, 1) / 255 for picture, _ in scenes])
truth = torch.tensor([box for _, box in scenes])
mw.show(unseen[::20], {"casm": masker(unseen[::20]), "grad_cam": mw.explainer("grad_cam", mine)(unseen[::20])})

# %% [markdown]
# ## Measure it
#
# Localisation error: how many boxes overlap the truth by half or less.

# %%
error = {}
for name, explainer in {"casm": masker, "grad_cam": mw.explainer("grad_cam", mine)}.items():
    le = mw.metric("le")
    le.update(explainer(unseen), boxes=[box[None] for box in truth])
    error[name] = float(le.compute())
    print(f"{name:10} {error[name]:5.1f} %")
