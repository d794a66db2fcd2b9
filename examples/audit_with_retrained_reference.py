# %% [markdown]
# # Audit with retrained networks as reference
#
# An audit asks what attackers recover after an erasure. A fair zero is a network that never saw
# the forgotten samples. Here three such networks are trained, and the audit compares all of them.
# Only the digits 0 to 3 are used, so that it takes half a minute. The key is fixed, so that the
# page stays the same; leave it out, and it is drawn at random and kept secret.

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
deletion = unspan.erase(model, request, key=bytes(32))
print(deletion)

# %% [markdown]
# ## The references
#
# Three seeds tell how much training varies. Without any, only what the model itself names and what
# is no better than guessing can be judged.

# %%
rest = labels != FORGOTTEN
references = [digits.trained(images[rest], labels[rest], CLASSES, seed) for seed in (1, 2, 3)]

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
    "Twelve attacks: before, after resample with intervals, and the mean of three retrained"
    " networks.",
)

# %%
for one in found.record.attacks:
    if one.verdict is not None:
        print(f"{one.identity.attacker.family}: {one.attack}: {one.verdict}")

# %% [markdown]
# Of each kind of attacker the strongest attack decides. It is not measurable where the retrained
# networks give threes away nearly as much as the original did. How to read a verdict:
# [reading an audit](../../audit.md); the rule: [protocol](../../protocol.md).
