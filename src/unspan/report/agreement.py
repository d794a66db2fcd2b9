"""Whether audits answer the same question: request, data, models, settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from unspan.audit_record.record import AuditRecord
from unspan.system.text_enum import TextEnum


class Aspect(TextEnum):
    """What audits have in common, or not."""

    REQUEST = "request"
    DATA = "data"
    ORIGINAL = "original model"
    REFERENCES = "reference models"
    SETTINGS = "settings"
    ENVIRONMENT = "libraries and batch size"


NEEDED = tuple(one for one in Aspect if one is not Aspect.ENVIRONMENT)  # to be ranked


@dataclass(frozen=True, kw_only=True)
class Shared:
    """Whether all audits agree in one respect.

    Attributes:
        aspect: which.
        same: all agree.
        values: of each audit, with whole hashes.
    """

    aspect: Aspect
    same: bool
    values: list[str]


def in_common(records: Sequence[AuditRecord]) -> list[Shared]:
    """In what audits agree, aspect by aspect."""
    return [_shared(aspect, records) for aspect in Aspect]


def _shared(aspect: Aspect, records: Sequence[AuditRecord]) -> Shared:
    found = [_VALUE[aspect](one) for one in records]
    return Shared(aspect=aspect, same=len(set(found)) == 1, values=found)


def _request(record: AuditRecord) -> str:
    asked = record.request
    named = ", ".join(asked.selector)
    return f"{asked.kind} {named}".strip() + f", {asked.samples:,} samples"


def _settings(record: AuditRecord) -> str:
    own = asdict(record.settings)
    del own["batch_size"]  # it moves the last digits only
    rule = ", ".join(f"{name} {value:g}" for name, value in own.pop("rule").items())
    return ", ".join(f"{name} {value}" for name, value in own.items()) + f"; {rule}"


def _references(record: AuditRecord) -> str:
    hashes = ", ".join(sorted(record.hashes.reference))
    return f"{record.reference.count} {record.reference.kind}: {hashes or 'none'}"


def _data(record: AuditRecord) -> str:
    fit, test = record.hashes.fit_data, record.hashes.test_data
    return f"known {fit}, judged on {test}"


def _environment(record: AuditRecord) -> str:
    versions = (f"{name} {value}" for name, value in sorted(record.versions.items()))
    return ", ".join([f"batch size {record.settings.batch_size}", *versions])


_VALUE = {
    Aspect.REQUEST: _request,
    Aspect.DATA: _data,
    Aspect.ORIGINAL: lambda one: one.hashes.before,
    Aspect.REFERENCES: _references,
    Aspect.SETTINGS: _settings,
    Aspect.ENVIRONMENT: _environment,
}
