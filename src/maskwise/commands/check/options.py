"""Options of the sanity checks, and what is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskwise.commands import completion
from maskwise.commands.groups import each_with_sess, key_values
from maskwise.commands.groups.measuring import SOURCE
from maskwise.commands.groups.method import METHOD
from maskwise.core.errors import InputError

if TYPE_CHECKING:
    from maskwise.checks.drt import MakeExplainer
    from maskwise.checks.pictures import Labelled
    from maskwise.checks.streamed import SquareOrSides
    from maskwise.classifiers import Classifier
    from maskwise.sess.sweep import AnyExplainer

TRAINING = "Training"
Methods = Annotated[
    list[str],
    typer.Option(
        "--method",
        help="See `maskwise methods`; may be given again.",
        rich_help_panel=METHOD,
        autocompletion=completion.method_names,
    ),
]
TrainData = Annotated[
    str,
    typer.Option(
        "--data", help=f"{SOURCE} to train on; every picture needs a label.", autocompletion=completion.data_sources
    ),
]
TestData = Annotated[
    str | None,
    typer.Option(
        "--test-data",
        help="To test on; without it a fifth of each class is kept from --data.",
        autocompletion=completion.data_sources,
    ),
]
TrainLimit = Annotated[
    int | None, typer.Option("--limit", min=1, help="Only so many pictures of --data, evenly spread.")
]
TestLimit = Annotated[
    int | None, typer.Option("--test-limit", min=1, help="Only so many pictures of --test-data, evenly spread.")
]
NetworkOption = Annotated[
    str,
    typer.Option(
        "--network",
        help="To train: small_cnn, resnet18, torchvision/NAME, or pretrained (--classifier with a new head).",
        rich_help_panel=TRAINING,
    ),
]
TrainedSize = Annotated[
    int,
    typer.Option(
        "--size",
        min=8,
        help="Longer side in pixels of the pictures trained on, which have the shape of the explained classifier's.",
        rich_help_panel=TRAINING,
    ),
]
TrainSet = Annotated[
    list[str] | None,
    typer.Option(
        "--train-set",
        help="key=value of the training: epochs, batch_size, optimiser, lr, momentum, weight_decay, augment, until.",
        rich_help_panel=TRAINING,
    ),
]
BatchOption = Annotated[int, typer.Option("--batch", min=1, help="Pictures explained at once.")]
CacheGib = Annotated[
    float,
    typer.Option(
        "--cache-gib",
        min=0,
        help="Memory in GiB that may hold the pictures of one set decoded; more are read when needed.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of everything random.")]
UndefinedOption = Annotated[
    str, typer.Option("--undefined", help="A flat map against another one counts zero, or is left_out (released code).")
]
Masks = Annotated[
    bool,
    typer.Option(
        "--masks", help="Compare maskers' masks, and not their values before the sigmoid (of gated ones always)."
    ),
]


def check_first(out: Path, undefined: str = "zero") -> None:
    from maskwise.core.files import check_writable

    check_writable(out)
    if undefined not in ("zero", "left_out"):
        raise InputError(f"`undefined` is zero or left_out, not {undefined!r}")


def own_options(options: list[str] | None, methods: Sequence[str]) -> dict[str, Any]:
    from maskwise.explainers import methods as known

    for name in methods:
        known.get(name)  # a wrong name is said before anything is trained
    if options and len(methods) > 1:
        raise InputError("--set belongs to one method: give one --method")
    return key_values(options, "--set")


def with_masker(own: dict[str, Any], method: str, masker: Path | None) -> dict[str, Any]:
    from maskwise.explainers import methods

    fits = masker is not None and methods.facts(method)["family"] == "maskers"
    return {**own, "masker": masker} if fits else own


def map_maker(
    name: str,
    own: dict[str, Any],
    recipe: str | None,
    overrides: list[str],
    device: str,
    precision: str,
    progress: bool,
) -> MakeExplainer:
    """What ``drt`` takes: a masker is trained on each classifier, any other method is just told of it."""
    from maskwise.checks import trained_masker
    from maskwise.explainers import methods
    from maskwise.training import recipes

    if methods.facts(name)["family"] != "maskers":
        from maskwise.commands.groups import make_explainer

        return lambda classifier, *_: make_explainer(name, classifier, own, precision)
    recipes.load(recipe or name, overrides)  # what is wrong with it is said before anything is trained
    return trained_masker(name, recipe, overrides, device, progress=progress)


def makers_with_sess(
    makers: Mapping[str, MakeExplainer], choice: str, enhance: dict[str, Any] | None
) -> dict[str, MakeExplainer]:
    """``drt``'s methods, those inside SESS among them; a masker that is trained serves both."""
    from maskwise.sess import enhanced

    def once(make: MakeExplainer) -> MakeExplainer:
        made: dict[Classifier, AnyExplainer] = {}

        def first(classifier: Classifier, data: Labelled, folder: Path) -> AnyExplainer:
            if classifier not in made:
                made[classifier] = make(classifier, data, folder)
            return made[classifier]

        return first

    def sharpened(make: MakeExplainer) -> MakeExplainer:
        return lambda *given: enhanced(make(*given), **(enhance or {}))

    shared = {name: once(make) for name, make in makers.items()}
    return {
        called: sharpened(shared[name]) if sess else shared[name]
        for called, name, sess in each_with_sess(makers, choice)
    }


def labelled_pair(
    data: str,
    test_data: str | None,
    size: SquareOrSides,
    limit: int | None,
    test_limit: int | None,
    seed: int,
    cache_gib: float = 4.0,
    skip_damaged: bool = False,
) -> tuple[Labelled, Labelled]:
    from maskwise.checks.pictures import labelled, split
    from maskwise.data.subjects import say_shared

    train = labelled(data, size, limit, None, cache_gib, skip_damaged)
    if test_data is None:
        if test_limit is not None:
            raise InputError("`test_limit` belongs to `test_data`")
        return split(train, seed=seed)
    test = labelled(test_data, size, test_limit, train.classes, cache_gib, skip_damaged)
    say_shared(train.subjects, test.subjects)
    return train, test


def numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise InputError(f"`fractions` takes numbers with commas between, not {text!r}") from None
