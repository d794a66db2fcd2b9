"""What the retain set looks like to a model: moments and quantiles of its features, no samples.

They are kept cluster by cluster. A cluster is a part of what the head calls a class (whether it is
right or not), or of all samples where there is no head. Written once when a model is trained
(`unspan stats`), they let a later request be answered without the training data.

They are not harmless: they say how the features of a class lie, also of a class that is forgotten
later. Keep the file as you keep the training data, and drop a class from it once it is forgotten
(`without`). Clusters of fewer than 20 samples are left out, since their mean would be close to a
sample.

`record` holds the type and what is derived from it, `removal` takes samples out again, `computing`
makes statistics of a model, a stream or features, `sampling` reads features into memory,
`clustering` cuts classes into clusters, `files` knows the file format, and `matching` checks that a
file is of a given model.
"""

from unspan.extraction.statistics.computing import of_features, of_model, of_stream
from unspan.extraction.statistics.files import is_file_of_statistics
from unspan.extraction.statistics.matching import load_for
from unspan.extraction.statistics.record import Statistics, load
from unspan.extraction.statistics.removal import without_samples
from unspan.extraction.statistics.sampling import reservoir, sampled

__all__ = [
    "Statistics",
    "is_file_of_statistics",
    "load",
    "load_for",
    "of_features",
    "of_model",
    "of_stream",
    "reservoir",
    "sampled",
    "without_samples",
]
