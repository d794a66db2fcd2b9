"""Fourth step of `erase`: write the eraser into the copy, and verify what the copy then gives."""

from __future__ import annotations

from unspan.erasers import Eraser
from unspan.erasure.change import Change, figures_of
from unspan.erasure.fitting import Fitted
from unspan.erasure.install import install, verify
from unspan.erasure.locating import Located
from unspan.erasure.opening import Opened
from unspan.extraction import read
from unspan.extraction.access_outcomes import compare, outcomes


def install_eraser(opened: Opened, located: Located, fitted: Fitted, eraser: Eraser) -> Change:
    """Write the eraser into the copy, and compare the features before and after.

    Raises:
        ModelError: the copy does not give the mapped features.
        UsageError: the form does not take this eraser.
    """
    model, layer, form = opened.copy_module, located.feature_layer, opened.options.form
    before = outcomes(model, layer, located.example)
    unerased, _ = read(model, layer, located.example)
    placement, undo = install(model, layer, eraser, form)
    if located.steady:
        verify(model, layer, eraser, form, unerased, located.head, located.example)
    after = outcomes(model, layer, located.example)
    return Change(
        feature_layer=layer,
        eraser=eraser,
        figures=figures_of(
            fitted.fit.report,
            samples=fitted.seen.samples,
            dim=layer.dim,
            retained_read=fitted.retained_read,
            forget_used=fitted.fit.forget_used,
            retained_used=fitted.fit.retained_used,
        ),
        placement=placement,
        form=form,
        seen=fitted.seen,
        access_paths=compare(before, after, eraser, layer.dim),
        warnings=(*located.notices, *fitted.fit.warnings),
        seconds=fitted.seconds,
        example=located.example,
        undo=undo,
    )
