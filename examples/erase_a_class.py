# %% [markdown]
# # Erase a class, and attack what is left
#
# A small network reads handwritten digits. The eight is erased twice: with `esc`, which sees only
# eights, and with `resample`, which also sees the other digits. Then an attacker trains probes on
# the features. A network that was trained without eights is the reference.

# %%
import torch
from matplotlib import pyplot

import unspan
from examples import digits
from examples.pictures import GREY, INK, ORANGE, show
from unspan.metrics.linear import fit_linear
from unspan.metrics.score import share_interval

FORGOTTEN = 8
data = digits.data()
images, labels = digits.tensors(data["train"])
test_images, test_labels = digits.tensors(data["test"])
model = digits.trained(images, labels)

# %% [markdown]
# ## Erase
#
# `erase` returns a new model and leaves `model` as it is. A guard checks what the other digits
# lose. ESC costs them more on most other digits of this small network; the guard then refuses.

# %%
request = unspan.Request.by_class(data["train"], FORGOTTEN)
others = labels != FORGOTTEN
models = {
    "original": model,
    "esc": unspan.erase(model, request, unspan.ESC()).model,
    "resample": unspan.erase(model, request).model,  # the default method
    "retrained": digits.trained(images[others], labels[others], seed=1),
}

# %% [markdown]
# ## Attack
#
# The attacker has features and labels of all training images, eights included. He fits a linear
# probe to convergence and is judged on test images of eights that neither side has seen.

# %%
eights = test_labels == FORGOTTEN
n = int(eights.sum())
own, probe, kept = {}, {}, {}
for name, net in models.items():
    with torch.no_grad():
        answers = net(test_images).argmax(1)
    attack = fit_linear(unspan.features(net, images), labels, classes=10)
    assert attack.converged
    read = attack.predict(unspan.features(net, test_images))
    own[name] = int((answers[eights] == FORGOTTEN).sum())
    probe[name] = int((read[eights] == FORGOTTEN).sum())
    kept[name] = float((answers == test_labels)[~eights].float().mean())

print(f"{n} test eights  own answer  linear probe  accuracy on other digits")
for name in models:
    print(f"{name:15} {own[name]:10} {probe[name]:13} {kept[name]:25.1%}")

# %% [markdown]
# ## Look
#
# The lines are exact 95 % intervals. They are wide, since the test set holds few eights.

# %%
figure, axes = pyplot.subplots(figsize=(5.0, 3.0), layout="constrained")
for shift, counts, colour, label in (
    (0.18, own, GREY, "the model's own answer"),
    (-0.18, probe, ORANGE, "linear probe on its features"),
):
    for place, name in enumerate(models):
        low, high = share_interval(counts[name], n)
        axes.barh(shift - place, 100 * counts[name] / n, 0.34, color=colour, label=label)
        axes.plot([100 * low, 100 * high], [shift - place] * 2, color=INK, linewidth=1.2)
        label = None
axes.set_yticks([-place for place in range(len(models))], list(models))
axes.set_xlim(0, 100)
axes.set_xlabel(f"test eights that are recognised, % (n = {n})")
figure.legend(loc="outside upper center", ncols=2)
show(
    figure,
    "erase-a-class",
    "Bars: the own answer and a linear probe, for the original, ESC, resample and retraining.",
)

# %% [markdown]
# After ESC the model no longer says eight, and the probe still reads it. After resample this probe
# does not recover it. The retrained network never saw an eight, and its features still separate
# them. So resample hides more than retraining does, which is a trace of its own. Other attacks:
# the [audit](audit_with_retrained_reference.md), and the [threat model](../../threat-model.md).
