"""`unspan erase`."""

from __future__ import annotations

from unspan.cli import erase_options as own
from unspan.cli import options as option
from unspan.cli.erase_run import run_erase


def erase(
    model: option.Model,
    out: own.Out,
    data: own.Data = None,
    weights: option.Weights = None,
    num_classes: option.NumClasses = None,
    trust_code: option.TrustCode = False,
    feature_layer: option.FeatureLayer = None,
    pool: option.Pool = None,
    split: option.Split = "train",
    image_column: option.ImageColumn = None,
    text_column: option.TextColumn = None,
    label_column: option.LabelColumn = None,
    id_column: option.IdColumn = None,
    classes: option.Classes = None,
    size: option.Size = None,
    mean: option.Mean = None,
    std: option.Std = None,
    forget: option.Forget = None,
    forget_index: option.ForgetIndex = None,
    forget_ids: option.ForgetIds = None,
    forget_data: own.ForgetData = None,
    holdout: own.Holdout = None,
    against: own.Against = None,
    method: own.Method = None,
    p: own.P = None,
    rank: own.Rank = None,
    energy: own.Energy = None,
    adaptive: own.Adaptive = False,
    tau: own.Tau = None,
    lr: own.Lr = None,
    epochs: own.Epochs = None,
    tune: own.Tune = None,
    settings: own.Settings = None,
    form: own.Form = "projected",
    target: own.Target = None,
    device: option.Device = None,
    batch_size: option.BatchSize = 64,
    engine: option.EngineName = "local",
    workers: option.Workers = 0,
    seed: option.Seed = 0,
    max_samples: own.MaxSamples = None,
    evaluate: own.Evaluate = "auto",
    key_file: own.KeyFile = None,
    overwrite: own.Overwrite = False,
    max_drop: own.MaxDrop = None,
    allow_overlap: own.AllowOverlap = False,
    allow_identifying_projector: own.AllowIdentifyingProjector = False,
    check_labels: own.CheckLabels = True,
    dry_run: own.DryRun = False,
    quiet: option.Quiet = False,
    as_json: own.AsJson = False,
    debug: option.Debug = False,
) -> None:
    """Erase a class, a person or samples from a model, and write the new model as a folder.

    Such as:

    unspan erase --model timm:resnet18 --data photos/ --forget cat --out erased/
    """
    run_erase(dict(locals()))
