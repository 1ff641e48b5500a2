"""``maskwise evaluate``."""

from __future__ import annotations

from maskwise.commands.groups import Figures, Measuring, Method, Model, Output, Sess
from maskwise.commands.groups.measuring import QUICK, Data, Kept, Metrics
from maskwise.commands.groups.sess import Enhance
from maskwise.commands.measured import measure_and_tell
from maskwise.commands.registration import command


@command(
    "evaluate",
    section="Measure",
    after="same",
    example="maskwise evaluate --data shapes:n=100 --method grad_cam --metrics le,f1,pointing\n"
    "maskwise evaluate --data voc:VOC2012@val --method grad_cam --target each --sess",
)
def evaluate_command(
    data: Data,
    sess: Enhance = False,
    metrics: Metrics = QUICK,
    out: Kept = None,
    *,
    model: Model,
    method: Method,
    sess_options: Sess,
    measuring: Measuring,
    figures: Figures,
    output: Output,
) -> None:
    """One method on data with boxes or masks: values with 95% intervals."""
    from maskwise.evaluation import Contender

    method.check()
    figures.check()
    enhance, settings = sess_options.keywords(sess), measuring.settings(out)
    classifier = model.load()
    measures = measuring.metrics(metrics, classifier, settings)
    made = method.make(classifier, model.precision, enhance)
    name = method.method if enhance is None else f"{method.method} + SESS"
    contenders, sources = [Contender.of(name, made)], measuring.sources(data)
    measure_and_tell(contenders, classifier, sources, measures, settings, out, measuring.save_maps, figures, output)
