# %% [markdown]
# # Look at the features
#
# Where do the features of a forgotten class go? A map by t-SNE shows the test images of four
# networks: the original, after ESC, after resample, and trained without the class. Each digit is
# drawn as itself; the forgotten eight is large and orange.

# %%
import torch
from matplotlib import pyplot
from sklearn.manifold import TSNE

import unspan
from examples import digits
from examples.pictures import MANY, ORANGE, show

FORGOTTEN = 8
data = digits.data()
images, labels = digits.tensors(data["train"])
test_images, test_labels = digits.tensors(data["test"])
model = digits.trained(images, labels)

request = unspan.Request.by_class(data["train"], FORGOTTEN)
others = labels != FORGOTTEN
models = {
    "original": model,
    "esc": unspan.erase(model, request, unspan.ESC()).model,
    "resample": unspan.erase(model, request).model,
    "retrained": digits.trained(images[others], labels[others], seed=1),
}

# %% [markdown]
# ## A number first
#
# Distances in such a map mean little. So count in the real feature space: how many eights have
# another eight as their nearest neighbour?

# %%
eights = test_labels == FORGOTTEN
near = {}
for name, net in models.items():
    features = unspan.features(net, test_images)
    distances = torch.cdist(features, features).fill_diagonal_(torch.inf)
    near[name] = float(eights[distances.argmin(1)][eights].float().mean())
    print(f"{name:10} {near[name]:4.0%} of {int(eights.sum())} eights lie beside another eight")

# %% [markdown]
# ## The map

# %%
figure, grid = pyplot.subplots(2, 2, figsize=(5.4, 5.2), layout="constrained")
for axes, (name, net) in zip(grid.flat, models.items(), strict=True):
    points = TSNE(init="pca", random_state=0).fit_transform(unspan.features(net, test_images))
    for digit in range(10):
        x, y = points[test_labels == digit].T.round(2)
        forgotten = digit == FORGOTTEN
        axes.scatter(
            x,
            y,
            s=80 if forgotten else 34,
            marker=f"${digit}$",
            color=ORANGE if forgotten else MANY[digit % len(MANY)],
            alpha=1 if forgotten else 0.8,
            linewidths=0,
        )
    axes.set_title(f"{name}: {near[name]:.0%} beside an eight", fontsize=10)
    axes.axis("off")
show(
    figure,
    "look-at-features",
    "Four maps of test images. Eights form one group in the original, after ESC and in the"
    " retrained network; after resample they are scattered among the other digits.",
)

# %% [markdown]
# ESC moves the group of eights as a whole, so it stays a group. Resample spreads it over the
# groups of other digits. Retraining leaves a group too: digits that look alike get features that
# are alike, whether a network was told their name or not.
