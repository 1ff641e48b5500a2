"""Completion of values: what the source says is what the registries hold, and no library is loaded for it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from maskwise.commands import completion


def test_the_source_says_what_the_registries_hold() -> None:
    from maskwise.classifiers import classifiers
    from maskwise.data import datasets
    from maskwise.evaluation.presets import metric_presets
    from maskwise.explainers import methods
    from maskwise.infill import infillers
    from maskwise.measures import metrics
    from maskwise.sess.protocol import PRESETS
    from maskwise.studies import studies
    from maskwise.studies.scale import SCALES
    from maskwise.training import recipes
    from maskwise.training.fitting import AUTO, NONE
    from maskwise.training.teachers import TEACHERS

    assert completion.method_names("") == methods.names()
    assert set(completion.teacher_names("")) == {AUTO, NONE, *TEACHERS, *methods.names()}
    assert completion.metric_list("") == ["all", *metric_presets(), *metrics.names()]
    assert [name for name in completion.classifier_names("") if not name.endswith("/")] == classifiers.names()
    assert completion.data_sources("") == [f"{name}:" for name in datasets.names()]
    assert completion.infiller_names("") == infillers.names()
    assert completion.study_names("") == studies.names()
    assert completion.recipe_names("") == sorted(recipes.names())
    assert set(completion.sess_presets("")) == set(PRESETS) and completion.study_scales("") == list(SCALES)


def test_the_last_of_several_names_is_completed() -> None:
    assert completion.method_list("casm,grad_cam_") == ["casm,grad_cam_pp"]
    assert "casm,grad_cam" in completion.method_list("casm,gr")
    assert completion.method_list("casm,cas") == [f"casm,{n}" for n in completion.method_names("cas") if n != "casm"]


def complete(line: str, shell: str) -> str:
    """What the shell's own script asks the program, as typer's scripts do."""
    words = line.split(" ")
    asked = {"_MASKWISE_COMPLETE": f"complete_{shell}"}
    if shell == "bash":
        asked |= {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    else:
        asked |= {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    code = (
        "import sys, atexit; sys.argv = ['maskwise']; from maskwise.cli import app\n"
        "atexit.register(lambda: print('loaded torch' if 'torch' in sys.modules else '', file=sys.stderr))\n"
        "app(prog_name='maskwise')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **asked}, capture_output=True, text=True, timeout=60
    )
    assert "loaded torch" not in done.stderr
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_of_commands_options_and_values(shell: str) -> None:
    assert "evaluate" in complete("maskwise ev", shell) and "train" not in complete("maskwise ev", shell)
    assert "--classifier" in complete("maskwise explain --class", shell)
    methods = complete("maskwise explain --method gr", shell)
    assert "grad_cam_pp" in methods and "gradient" in methods and "casm" not in methods


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("maskwise train casm_li", "casm_lite0"),
        ("maskwise study sess-p", "sess-pointing"),
        ("maskwise evaluate --metrics le,poin", "le,pointing"),
        ("maskwise evaluate --precision b", "bf16"),
        ("maskwise export casm --classifier eff", "efficientnet_lite1"),
        ("maskwise explain --infill tel", "telea"),
        ("maskwise check drt --method gr", "grad_cam"),
    ],
)
def test_values_of_each_kind(line: str, value: str) -> None:
    assert value in complete(line, "bash").split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_the_shell_is_shown(shell: str) -> None:
    code = "import sys; sys.argv = ['maskwise']; from maskwise.cli import app; app(prog_name='maskwise')"
    asked = {**os.environ, "_MASKWISE_COMPLETE": f"source_{shell}"}
    done = subprocess.run([sys.executable, "-c", code], env=asked, capture_output=True, text=True, timeout=60)
    assert "_MASKWISE_COMPLETE" in done.stdout and "maskwise" in done.stdout
