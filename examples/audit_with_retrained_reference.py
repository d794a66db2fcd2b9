# %% [markdown]
# # Audit with retrained networks as reference
#
# An audit asks what attackers recover after an erasure. A fair zero is a network that never saw
# the forgotten samples. Here two such networks are trained, and the audit compares all of them.
# Only the digits 0 to 3 are used, so that it takes half a minute.

# %%
import tempfile
import textwrap
from pathlib import Path

from matplotlib import pyplot
from torch.utils.data import TensorDataset

import unspan
from examples import digits
from examples.pictures import BLUE, GREEN, GREY, show

FORGOTTEN, CLASSES = 3, 4
splits = {}
for name, split in digits.data().items():
    images, labels = digits.tensors(split)
    splits[name] = TensorDataset(images[labels < CLASSES], labels[labels < CLASSES])
images, labels = splits["train"].tensors
model = digits.trained(images, labels, CLASSES)

request = unspan.Request.by_class(splits["train"], FORGOTTEN).with_test(splits["test"])
deletion = unspan.erase(model, request)
print(deletion)

# %% [markdown]
# ## The references
#
# Two seeds tell a little about how much training varies; take three or more where that is
# affordable. Without any, random weights stand in, and the audit says that this is weak.

# %%
rest = labels != FORGOTTEN
references = [digits.trained(images[rest], labels[rest], CLASSES, seed) for seed in (1, 2)]

# %% [markdown]
# ## The audit
#
# `found.save("audit/")` writes the report as HTML and Markdown.

# %%
with tempfile.TemporaryDirectory() as cache:
    found = unspan.audit(
        model, deletion, request, references=references, cache=Path(cache), pictures=False
    )
print(textwrap.fill(str(found), 88))

# %% [markdown]
# ## Attacks one by one
#
# The record holds each attack: before, after with its interval, and the reference.

# %%
attacks = [one for one in found.record.attacks if one.unit == "share"][:12]
n = attacks[0].n
figure, axes = pyplot.subplots(figsize=(5.4, 4.4), layout="constrained")
for place, one in enumerate(attacks):
    interval = [100 * one.erased_low, 100 * one.erased_high]
    axes.plot(interval, [-place] * 2, color=BLUE, linewidth=2)
for key, marker, colour, label in (
    ("original", "s", GREY, "before"),
    ("erased", "o", BLUE, "after, 95 % interval"),
    ("reference", "D", GREEN, "retrained (mean)"),
):
    values = [100 * getattr(one, key) for one in attacks]
    axes.plot(values, [-i for i in range(len(attacks))], marker, color=colour, label=label)
names = [one.attack.replace(" (converged)", "") for one in attacks]
axes.set_yticks([-place for place in range(len(attacks))], names)
axes.set_xlim(-2, 102)
axes.set_xlabel(f"threes recognised, % (n = {n})")
figure.legend(loc="outside upper center", ncols=3)
show(
    figure,
    "audit-with-reference",
    "Twelve attacks: before, after resample with intervals, and the mean of two retrained"
    " networks.",
)

# %%
for one in attacks:
    print(f"{one.attack:40} {one.verdict}")

# %% [markdown]
# Many attacks are not measurable: the references read threes nearly as well as the original did,
# so these attacks cannot tell what was erased. The others decide. How to read a verdict:
# [reading an audit](../../audit.md); the rule: [protocol](../../protocol.md).
