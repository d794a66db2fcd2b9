"""What the command line says of an error: its own options, and whose code failed."""

import pytest
from torch import nn

from unspan import cli
from unspan.errors import UsageError
from unspan.training.context import _no_linear_head


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Name it with feature_layer='NAME'.", "Name it with --feature-layer NAME."),
        ("Choose another with feature_layer=.", "Choose another with --feature-layer."),
        (
            "use feature_layer='a:out' with pool='gap'.",
            "use --feature-layer a:out with --pool gap.",
        ),
        ("form='folded' needs one", "--form folded needs one"),
        ("--pool gap (pool='gap')", "--pool gap (--pool gap)"),
        ("platform='x'", "platform='x'"),
    ],
)
def test_arguments_of_python_are_options_on_the_command_line(text, said):
    assert cli._told(UsageError(text)) == (said, 2)


def test_a_last_layer_of_another_kind_is_named_with_what_to_do():
    model = nn.Sequential(nn.Conv2d(1, 2, 1))
    told = _no_linear_head(model, "0")
    assert "needs an nn.Linear as the last layer, and '0' of Sequential is a Conv2d" in told
    assert "ssd" in told and "feature_layer" not in told
    assert "feature_layer='NAME'" in _no_linear_head(model, None)


def test_code_of_the_user_that_fails_is_no_fault_to_report(tmp_path, monkeypatch):
    from unspan.system.user_code import user_object

    (tmp_path / "failing_code.py").write_text("def broken():\n    return 1 / 0\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ZeroDivisionError) as caught:
        user_object("python:failing_code.py:broken", "function")()
    told, code = cli._told(caught.value)
    assert told.startswith("your code failed in failing_code.py, line 2: ZeroDivisionError: ")
    assert code == 2 and "report it" not in told
    assert "report it" in cli._told(ZeroDivisionError("ours"))[0]
