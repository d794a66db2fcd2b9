"""Which class of the data is which output of the model, for a command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unspan.errors import UsageError

if TYPE_CHECKING:
    from unspan.cli.opening import Opened


@dataclass(frozen=True)
class Classes:
    """Classes of a model.

    Attributes:
        names: by output, None when nobody says them.
        outputs: how many outputs the model has, None when it has no head.
    """

    names: list[str] | None
    outputs: int | None

    @property
    def count(self) -> int | None:
        """How many classes; a model with one output tells two apart."""
        return 2 if self.outputs == 1 else self.outputs

    def named_by(self, data: Any) -> Classes:
        """The same with the names of data that were joined, where there are no others."""
        return self if self.names is not None else Classes(self.of(data), self.outputs)

    @staticmethod
    def of(data: Any) -> list[str] | None:
        """Class names of data."""
        from unspan.data.class_names import names_of

        return names_of(data)

    def joined(self, data: Any) -> Any:
        """Data whose labels are outputs of the model; raises UsageError where they cannot be."""
        from unspan.data.given import with_class_names

        return with_class_names(data, self.names, self.outputs)

    def how(self, data: Any) -> str | None:
        """In words, how the classes of data are joined; None where they have no names, or the model
        gives no class scores.
        """
        from unspan.data.class_matching import join

        own = self.of(data)
        if own is None or self.outputs is None:
            return None
        how = join(own, self.names, self.outputs).how
        if len(own) == 1:
            return f"the class of the data is an output of the model by {how}"
        return f"{len(own)} classes of the data are outputs of the model by {how}"

    def joined_if_known(self, data: Any) -> Any:
        """As `joined`; data without labels where their folders are no classes, but people or
        groups.
        """
        from unspan.data.class_names import Names, names_of
        from unspan.data.given import Unlabelled
        from unspan.data.source import Source

        own = names_of(data)
        try:
            known = own is None or (
                self.names is not None
                and None not in [Names(self.names).find(name) for name in own]
            )
            if known:
                return self.joined(data)
        except UsageError:  # a name of several classes, or several names of one
            pass
        return data.with_labels(None, None) if isinstance(data, Source) else Unlabelled(data)

    def index(self, selector: str) -> int:
        """The output of a class given by name or index."""
        from unspan.data.selection import resolve_class

        count = self.count or len(self.names or ())
        return resolve_class(selector, self.names, count, range(count))

    def name(self, label: int) -> str:
        """Name of an output, its index where it has none."""
        return self.names[label] if self.names and 0 <= label < len(self.names) else str(label)


def classes_for(options: Mapping[str, Any], opened: Opened, data: Any) -> Classes:
    """The classes of a model: names from `--classes`, the model or a file of statistics, the number
    from the model.

    Args:
        options: values of the command line.
        opened: the model.
        data: the main data; read (two samples) only where neither the model nor as many classes of
            the data confirm how many outputs it seems to have.
    """
    names, statistics = opened.class_names, statistics_file(options)
    if names is None and statistics is not None:
        from unspan.extraction.statistics import load

        names = list(load(statistics).class_names) or None
    return Classes(names, _outputs(options, opened, names, data))


def statistics_file(options: Mapping[str, Any]) -> str | None:
    """The file of `--set statistics=FILE`, which describes the data to keep instead of them."""
    from unspan.cli.settings import settings

    values, _ = settings({}, options.get("settings"))
    found = values.get("statistics")
    return found if isinstance(found, str) and found not in ("retain", "head") else None


def _outputs(
    options: Mapping[str, Any], opened: Opened, names: list[str] | None, data: Any
) -> int | None:
    from unspan.models import classes_of, stated_classes

    seeming = classes_of(opened.model)
    counts = {len(found) for found in (names, Classes.of(data)) if found is not None}
    confirmed = bool(counts) or stated_classes(opened.model) is not None
    if data is None or (confirmed and counts <= {seeming}):
        return seeming
    from unspan.artifact.record import record_of
    from unspan.data.loading import batches, peek
    from unspan.extraction import eval_mode, find_feature_layer, head_parameters, unwrap
    from unspan.extraction.finite import check_first
    from unspan.extraction.stream import example
    from unspan.run import Run

    inner = unwrap(opened.model)
    record = record_of(inner)
    first, _ = peek(batches(data, Run(batch_size=2, max_samples=2), shard=False))
    check_first(inner, first, "data")
    place = options.get("feature_layer"), options.get("pool")  # not of every command
    with eval_mode(inner):
        inputs = example(first, inner)
        found = (
            record.feature_layer
            if record is not None
            else find_feature_layer(inner, inputs, *place)[0]
        )
        head = head_parameters(inner, found)
    return None if head is None else len(head[0])
