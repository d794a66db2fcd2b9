"""What a measurement is, for decisions. Its printed name is for people only."""

from __future__ import annotations

from dataclasses import dataclass

from unspan.system.text_enum import TextEnum


class AttackKind(TextEnum):
    """Which attack was run."""

    LINEAR = "linear_probe"
    LINEAR_WHITENED = "linear_probe_whitened"
    LINEAR_AGAINST_REST = "linear_probe_against_rest"
    LINEAR_AT_LAYER = "linear_probe_at_layer"
    LINEAR_PERMUTED = "linear_probe_on_permuted_labels"
    AFFINE_AGAINST_REST = "affine_predictor_against_rest"
    NEIGHBOURS = "nearest_neighbours"
    NEIGHBOURS_AGAINST_REST = "nearest_neighbours_against_rest"
    MLP = "mlp_probe"
    FEW_SHOT_PROTOTYPE = "few_shot_prototype"
    FEW_SHOT_STANDARDISED = "few_shot_prototype_standardised"
    FEW_SHOT_REFIT = "few_shot_head_refit"
    SIGNATURE = "output_signature"
    OWN_ANSWER = "own_answer"
    IDENTIFICATION = "search_by_the_nearest_mean"
    IDENTIFICATION_BY_SAMPLE = "search_by_the_nearest_sample"
    LINEAR_OF_VIEWS = "linear_probe_of_altered_copies"
    ANSWER_OF_VIEWS = "own_answer_of_altered_copies"
    MEMBERSHIP = "membership_of_single_samples"
    MEMBERSHIP_LIKELIHOOD = "membership_by_likelihood_ratio"
    MEMBERSHIP_LOSS = "membership_by_loss"
    OTHER = "other"

    @property
    def names(self) -> bool:
        """Whether plain use of the model is enough: a class score, or a search with embeddings."""
        return self in (
            AttackKind.OWN_ANSWER,
            AttackKind.IDENTIFICATION,
            AttackKind.IDENTIFICATION_BY_SAMPLE,
        )

    @property
    def few_shot(self) -> bool:
        """Whether the attacker teaches the model again from a few examples."""
        return self in (
            AttackKind.FEW_SHOT_PROTOTYPE,
            AttackKind.FEW_SHOT_STANDARDISED,
            AttackKind.FEW_SHOT_REFIT,
        )


class Family(TextEnum):
    """Kinds of attackers: what they have, and what they do with it."""

    ANSWERS = "sees the answers"
    SEARCH = "searches with embeddings"
    SCORES = "learns from the scores"
    PROBES = "trains on features"
    FEATURES = "tells forgotten from others by features"
    TEACHING = "teaches it again from examples"
    VIEWS = "asks with altered copies and trains on features"
    VIEWS_ANSWERS = "asks with altered copies and sees the answers"
    SAMPLES = "knows single samples"

    @property
    def sees_the_head_only(self) -> bool:
        """Whether an edit of the head alone can silence it, with every feature as before."""
        return self in (Family.ANSWERS, Family.SCORES, Family.VIEWS_ANSWERS)


_FAMILY = {
    AttackKind.OWN_ANSWER: Family.ANSWERS,
    AttackKind.IDENTIFICATION: Family.SEARCH,
    AttackKind.IDENTIFICATION_BY_SAMPLE: Family.SEARCH,
    AttackKind.SIGNATURE: Family.SCORES,
    AttackKind.LINEAR_OF_VIEWS: Family.VIEWS,
    AttackKind.ANSWER_OF_VIEWS: Family.VIEWS_ANSWERS,
    AttackKind.LINEAR_AGAINST_REST: Family.FEATURES,
    AttackKind.AFFINE_AGAINST_REST: Family.FEATURES,
    AttackKind.NEIGHBOURS_AGAINST_REST: Family.FEATURES,
    AttackKind.MEMBERSHIP: Family.SAMPLES,
    AttackKind.MEMBERSHIP_LIKELIHOOD: Family.SAMPLES,
    AttackKind.MEMBERSHIP_LOSS: Family.SAMPLES,
    AttackKind.FEW_SHOT_PROTOTYPE: Family.TEACHING,
    AttackKind.FEW_SHOT_STANDARDISED: Family.TEACHING,
    AttackKind.FEW_SHOT_REFIT: Family.TEACHING,
}


@dataclass(frozen=True)
class Attacker:
    """One kind of attacker, whose strongest attack counts.

    Attributes:
        family: what he has and does.
        shots: examples of each forgotten class that he has, where he teaches.
        layer: where he reads an earlier layer.
    """

    family: Family
    shots: int | None = None
    layer: str | None = None


class ScoreKind(TextEnum):
    """Which score was measured, for the scores that a decision or a sentence rests on."""

    FORGET_ACCURACY = "forget_accuracy"
    RETAIN_ACCURACY = "retain_accuracy"
    GUARDEDNESS_FIT = "linear_guardedness_fit"
    KR = "knowledge_retention"
    NOISE = "instability_under_noise"
    PUBLISHED_MEMBERSHIP = "published_membership_accuracy"
    OTHER = "other"


@dataclass(frozen=True)
class AttackId:
    """An attack and its parameters.

    Attributes:
        kind: which attack.
        shots: examples of each forgotten class, for few-shot attacks.
        neighbours: k, for nearest neighbours.
        metric: `L2` or `cosine`, for nearest neighbours.
        layer: where an earlier layer was read.
    """

    kind: AttackKind
    shots: int | None = None
    neighbours: int | None = None
    metric: str | None = None
    layer: str | None = None

    @property
    def attacker(self) -> Attacker:
        """The kind of attacker that runs it."""
        return Attacker(_FAMILY.get(self.kind, Family.PROBES), self.shots, self.layer)
