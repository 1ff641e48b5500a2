"""The saliency method of a command."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from maskwise.commands import completion
from maskwise.commands.groups.sess import key_values
from maskwise.core.errors import InputError
from maskwise.core.options import BY_NETWORK

if TYPE_CHECKING:
    from maskwise.classifiers import Classifier
    from maskwise.explainers import Explainer

METHOD = "Method"
MaskerFile = Annotated[
    Path | None,
    typer.Option(
        "--masker",
        help="A masker.safetensors of your own, or hf://owner/name, for methods of the family maskers.",
        rich_help_panel=METHOD,
    ),
]
MethodOptions = Annotated[
    list[str] | None,
    typer.Option("--set", help="key=value, an option of the method; may be given again.", rich_help_panel=METHOD),
]


@dataclass(frozen=True)
class Method:
    """One method and its options."""

    heading: ClassVar[str] = METHOD
    method: Annotated[
        str,
        typer.Option(
            "--method",
            help="See `maskwise methods`; auto: the masker's own where a file is given, distilled where it is of this "
            "classifier, else the first that the network allows of generic_attention, grad_cam and gradient; of a "
            "black box banzhaf.",
            autocompletion=completion.method_names,
        ),
    ] = BY_NETWORK
    masker: MaskerFile = None
    options: MethodOptions = None

    def check(self) -> None:
        """Says a wrong name before anything is loaded.

        Raises:
            InputError: there is no such method.
        """
        from maskwise.explainers import methods

        if self.method != BY_NETWORK:
            methods.get(self.method)

    def settled(self, classifier: Classifier) -> Method:
        """The same with the method's own name, where it was left to the classifier.

        Raises:
            InputError: the network allows none.
        """
        from maskwise.explainers.first_choice import first_choice

        if self.method != BY_NETWORK:
            return self
        masker = self.masker or key_values(self.options, "--set").get("masker")
        return replace(self, method=first_choice(classifier, masker))

    def make(self, classifier: Classifier, precision: str, enhance: dict[str, Any] | None = None) -> Explainer:
        """The explainer, inside SESS where ``enhance`` has its keywords.

        Raises:
            InputError: unknown method, or an option that it does not have or a value that it does not take.
        """
        given = key_values(self.options, "--set")
        if self.masker is not None:
            given = {"masker": str(self.masker), **given}
        return make_explainer(self.method, classifier, given, precision, enhance)


def make_explainer(
    method: str, classifier: Classifier, options: dict[str, Any], precision: str, enhance: dict[str, Any] | None = None
) -> Explainer:
    """The method, inside SESS where that is wanted; what is wrong with an option names the setting.

    Args:
        method: its name.
        classifier: what is explained.
        options: by name, as ``--set`` gave them.
        precision: fp32, bf16, fp16 or auto.
        enhance: keywords of ``enhanced``; None leaves SESS out.

    Raises:
        InputError: as ``explainer`` and ``enhanced``.
    """
    from maskwise.commands.flags import with_setting
    from maskwise.explainers import explainer
    from maskwise.sess import enhanced

    common = {} if precision == "fp32" else {"precision": precision}
    try:
        made = explainer(method, classifier, **common | options)
    except InputError as error:
        raise InputError(with_setting(str(error), "--set", options)) from error
    return made if enhance is None else enhanced(made, **enhance)
