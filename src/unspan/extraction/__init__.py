"""Find where the penultimate features of a model live, read them, and place an eraser there.

Hooks that stay in a model are placed by `placing` only. A `FeatureLayer` names three things:

- the *head*: the last linear layer, whose input are the features (none in an embedding model);
- where features are *read*: the head's input, or the output of a named module or of the model;
- the *site*: the most upstream module whose output can be mapped instead, exactly. A candidate
  passes when a random linear map applied to its output appears unchanged at the features:
  everything in between (pooling, choosing a token, dropout) then commutes with every linear map.
  Placing the eraser there covers whoever removes the head, hooks a later layer, or asks for the
  unpooled map.
"""

from unspan.extraction.equal_modules import EqualModules
from unspan.extraction.feature_layer import FeatureLayer, Pool
from unspan.extraction.finding import find_feature_layer
from unspan.extraction.layout import arranged

# the hooks too: models that were pickled when this was one file name them here
from unspan.extraction.placing import (
    CHILD,
    ERASED,
    RECORD,
    _erase_input,  # noqa: F401
    _erase_output,  # noqa: F401
    _guard_head,  # noqa: F401
    attach,
    detach,
)
from unspan.extraction.reading import (
    describe,
    eval_mode,
    forward,
    head_parameters,
    input_like,
    logits_of,
    pooled,
    read,
    relative_difference,
    scores_at,
    unwrap,
)
from unspan.extraction.remembered import remembered_feature_layer
from unspan.extraction.returned import shown, tensors_in
from unspan.extraction.sites import is_own_weight

__all__ = [
    "CHILD",
    "ERASED",
    "RECORD",
    "EqualModules",
    "Pool",
    "FeatureLayer",
    "arranged",
    "attach",
    "describe",
    "detach",
    "eval_mode",
    "find_feature_layer",
    "forward",
    "head_parameters",
    "input_like",
    "is_own_weight",
    "logits_of",
    "pooled",
    "read",
    "relative_difference",
    "remembered_feature_layer",
    "scores_at",
    "shown",
    "tensors_in",
    "unwrap",
]
