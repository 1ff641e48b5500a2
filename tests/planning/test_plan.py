"""Plans against arithmetic done by hand, on a network small enough for it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import cast

import pytest
import torch
from conftest import tiny_net
from torch import nn
from typer.testing import CliRunner

from maskwise.classifiers import Classifier
from maskwise.cli import app
from maskwise.core.errors import InputError
from maskwise.planning import counting, plan_evaluation, plan_training
from maskwise.planning.phases import phases_of
from maskwise.planning.throughput import Throughput, step_throughput
from maskwise.training import recipes


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(name: str) -> Classifier:
        return Classifier(tiny_net(), input_size=32, name="tiny")

    monkeypatch.setattr("maskwise.planning.training.skeleton", made)
    monkeypatch.setattr("maskwise.planning.evaluation.skeleton", made)


FORWARD = 2 * (32 * 32 * 8 * 27 + 16 * 16 * 12 * 72 + 8 * 8 * 16 * 108 + 16 * 5)  # three convolutions, one matrix


def test_a_network_of_grey_oblong_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its forward by hand, at its own size and at half of it."""
    module = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    )
    grey = Classifier(module.eval(), mean=[0.5], std=[0.5], input_size=(64, 48), name="grey")
    monkeypatch.setattr("maskwise.planning.training.skeleton", lambda name: grey)
    for own, height, width in (("null", 64, 48), ("32", 32, 24)):
        plan = plan_training("casm_baseline_lite0", 100, overrides=["taps=null", f"input_size={own}"])
        assert plan.forward_flops == 2 * (height * width * 8 * 9 + 8 * 5) and plan.input_size == height


def test_pictures_of_a_classifier_that_is_named_are_no_larger_than_it_takes() -> None:
    """As ``train`` has them; what the recipe's own classifier gets, and what is asked for, stays."""
    taps = ["taps=null"]
    with pytest.warns(UserWarning, match="pictures of 144 pixels are larger than tiny takes: it trains at 32"):
        assert plan_training("casm_lite0", 100, classifier="tiny", overrides=taps).input_size == 32
    assert plan_training("casm_lite0", 100, overrides=taps).input_size == 144
    assert plan_training("casm_lite0", 100, classifier="tiny", overrides=[*taps, "input_size=64"]).input_size == 64


def test_a_count_is_the_textbook_s() -> None:
    """A linear layer of 10 to 20: forward 2*10*20 a row, the weight's gradient as much, and so is the input's."""
    layer, x = nn.Linear(10, 20), torch.rand(3, 10, requires_grad=True)
    once = counting.counted(lambda: layer(x), layer)
    assert once.flops == 3 * 400 and once.forwards == 3
    both = counting.counted(lambda: torch.autograd.grad(layer(x * 1).sum(), [x, layer.weight]), layer)
    assert both.flops == 3 * 3 * 400


@pytest.mark.parametrize(("given", "products"), [("input", 1), ("weight", 1), ("both", 2), ("all", 2)])
@pytest.mark.parametrize(
    ("layer", "side"),
    [
        (nn.Conv2d(8, 12, 3, padding=1), 10),
        (nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=4), 10),
        (nn.Conv2d(8, 8, 5, padding=2, groups=8), 10),
        (nn.Conv2d(8, 16, 3, padding=2, dilation=2, groups=8), 10),
        (nn.ConvTranspose2d(8, 12, 2, stride=2, groups=4), 5),
        (nn.Conv1d(8, 8, 3, padding=1, groups=8), 10),
    ],
    ids=["plain", "grouped", "depthwise", "multiplied", "transposed", "1d"],
)
def test_a_convolution_and_both_its_gradients_cost_the_same(
    layer: nn.Module, side: int, given: str, products: int
) -> None:
    """2 B (pixels, of the output; of the input where transposed) C_in C_out / groups k^2 each; the bias takes sums."""
    flat = isinstance(layer, nn.Conv1d)
    x = torch.rand(3, 8, *([side] if flat else [side, side]), requires_grad=True)
    y = layer(x)
    pixels = x[0, 0].numel() if isinstance(layer, nn.ConvTranspose2d) else y[0, 0].numel()
    kernel = layer.kernel_size[0] ** (1 if flat else 2)  # type: ignore[operator, index]
    once = 2 * 3 * pixels * 8 * y.shape[1] // layer.groups * kernel  # type: ignore[operator]
    weight, bias = cast(torch.Tensor, layer.weight), cast(torch.Tensor, layer.bias)
    wanted = {"input": [x], "weight": [weight], "both": [x, weight], "all": [x, weight, bias]}[given]
    assert counting.counted(lambda: layer(x), layer).flops == once
    found = counting.counted(lambda: torch.autograd.grad(y.sum(), wanted, retain_graph=True), layer)
    assert found.flops == once * products


def test_the_products_of_a_depthwise_gradient_counted_one_by_one() -> None:
    """Of 3 outputs of a kernel of 3 with no padding over 5 pixels, each channel alone: 9 products for each gradient."""
    layer, x = nn.Conv1d(4, 4, 3, groups=4, bias=False), torch.rand(1, 4, 5, requires_grad=True)
    products = sum(1 for _ in range(4) for _ in range(3) for _ in range(3))
    found = counting.counted(lambda: torch.autograd.grad(layer(x * 1).sum(), [x, layer.weight]), layer)  # type: ignore[arg-type]
    assert found.flops == 3 * 2 * products


def test_steps_and_sizes() -> None:
    """CASM: a fifth of 10,000 pictures in batches of 128 is 15 steps an epoch; 11 snapshots of 1050 steps at 100."""
    plan = plan_training("casm", 10_000, 2)
    assert plan.forward_flops == FORWARD
    assert (plan.steps_per_epoch, plan.steps) == (15, 15 * 70)
    one = sum(v.numel() * v.element_size() for v in tiny_net().state_dict().values())
    assert plan.pool == 11 * one
    # Clean and masked once each; an older judge, half the time, is a third.
    assert plan.forwards == pytest.approx(2.5, abs=0.01)
    # The classifier's backwards: to its weights from both, to the mask through one of them.
    assert 4 < plan.backward_share < 8
    assert plan.total_flops == pytest.approx(plan.step_flops * plan.steps)
    assert plan.read_epoch == 15 * 128 * 110_000


def test_a_fixed_classifier_costs_less_and_has_no_pool() -> None:
    fixed, adapted = (plan_training(name, 10_000) for name in ("casm_baseline", "casm"))
    assert fixed.forwards == 2 and fixed.pool == 0 and fixed.batch_norms == 0
    assert fixed.backward_share < adapted.backward_share and fixed.saved < adapted.saved


def test_phases_of_a_class_conditional_training() -> None:
    """8,500 steps of 128 with one forward, 3,000 of 64 with three: the mean over pictures."""
    plan = plan_training("dabkowski_gal", 1_281_167, overrides=["classifier=efficientnet_lite0"])
    assert plan.steps == 11_500
    a, b = 8500 * 128, 3000 * 64
    assert plan.forwards == pytest.approx((a * 1 + b * 3) / (a + b))


def test_a_classifier_s_training() -> None:
    """One forward of each picture, and back to weights and inputs: 3 in all, but for the picture's own gradient."""
    plan = plan_training("classifier_subset", 25_600)
    assert (plan.steps_per_epoch, plan.steps, plan.forwards, plan.pool) == (100, 9_000, 1, 0)
    first_layer = 2 * 32 * 32 * 8 * 27
    assert plan.backward_share == pytest.approx(2 - first_layer / FORWARD)
    one = sum(v.numel() * v.element_size() for v in tiny_net().state_dict().values())
    assert plan.masker == one and plan.gradients == sum(4 * p.numel() for p in tiny_net().parameters())
    assert plan.batch_norms == 3


def test_more_devices_hold_less_and_do_no_less_work() -> None:
    one, eight = (plan_training("casm", 100_000, n) for n in (1, 8))
    assert one.total_flops == eight.total_flops and one.gradients == eight.gradients > 0
    assert eight.saved == pytest.approx(one.saved / 8, rel=0.01)
    assert plan_training("casm", 100_000, 2, accumulate=4).saved == pytest.approx(eight.saved, rel=0.01)


def test_an_evaluation_by_hand() -> None:
    plan = plan_evaluation("grad_cam", 10**9)
    assert plan.forwards >= 1 and plan.picture_flops >= FORWARD
    assert plan.rows == pytest.approx(plan.row * 4 * 10**9) and 60 < plan.row < 400
    assert plan.maps == 4 * 32 * 32 * 10**9
    more = plan_evaluation("grad_cam", 10**9, metric_forwards=10)
    assert more.picture_flops - plan.picture_flops == 10 * FORWARD


def test_hours_and_mfu_by_hand() -> None:
    """10 steps of 8 pictures: 8 * 5e9 FLOPs at 1e9 a second are 40 s, 8 pictures by 2 threads at 0.05 are 80 s."""
    found = Throughput(4, 2.0, 1e9, 50.0, 2)
    assert found.hours(10, 8, 5e9) == pytest.approx(400 / 3600)
    assert Throughput(4, 2.0, 1e9, 0.05, 2).hours(10, 8, 5e9) == pytest.approx(800 / 3600)
    assert found.mfu(8e9) == pytest.approx(0.125)


def test_hours_here_are_made_of_what_was_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of both kinds of CASM's steps, each at its own FLOPs; without a measurement nothing is said of time."""
    found = Throughput(4, 8.0, 1e9, 1e9, 2)
    monkeypatch.setattr("maskwise.planning.training.step_throughput", lambda *_: found)
    plan = plan_training("casm", 10_000, measure=1)
    assert plan.measured == found and plan.hours == pytest.approx(plan.total_flops / 1e9 / 3600)
    unknown = plan_training("casm", 10_000)
    assert unknown.measured is unknown.hours is None


def test_what_is_timed_is_of_the_phase_that_costs_most() -> None:
    settings = ["selector_steps=5", "steps=6", "batch_size=4", "masker_batch_size=null", "widths=[4]", "bottlenecks=1"]
    phases = phases_of(recipes.load("dabkowski_gal", settings), 6)
    found = step_throughput(phases[-1], Classifier(tiny_net(), input_size=32), 1, 32, 4)
    assert found.pictures == 4 and found.readers == 1 and found.read_per_second > 0
    assert found.seconds * found.flops_per_second > 4 * 3 * FORWARD, "three forwards, and what goes back through two"


def test_an_evaluation_here_reads_and_explains_in_turn() -> None:
    plan = plan_evaluation("grad_cam", 3_600, measure=True)
    assert plan.seconds is not None and plan.read_per_second is not None
    assert plan.hours == pytest.approx(plan.seconds + 1 / plan.read_per_second)
    unknown = plan_evaluation("grad_cam", 3_600)
    assert unknown.seconds is unknown.read_per_second is unknown.hours is None


def test_the_command(tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["plan", "casm", "--images", "1000", "--gpus", "2", "--measure", "--json"])
    assert found.exit_code == 0, found.output
    plan = json.loads(found.stdout)
    assert plan["hours"] > 0 and plan["measured"]["read_per_second"] > 0
    told = CliRunner().invoke(app, ["plan", "casm_baseline", "--images", "1000", "--measure", "--peak", "0.1"])
    assert told.exit_code == 0 and "throughput here" in told.stdout and "MFU" in told.stdout
    table = CliRunner().invoke(app, ["plan", "--evaluate", "grad_cam", "--images", "1000000"])
    assert table.exit_code == 0 and "rows.db" in table.stdout and "here" not in table.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a recipe"),
        (["casm", "--evaluate", "casm"], "one of the two"),
        (["casm", "--gpus", "1000"], "can't be shared"),
        (["nonsense"], "no recipe"),
        (["casm", "--peak", "312"], "add --measure"),
    ],
)
def test_bad_plans(arguments: list[str], said: str) -> None:
    found = CliRunner().invoke(app, ["plan", *arguments])
    assert found.exit_code == 2 and said in found.stderr


def of_tiny(recipe: str) -> list[str]:
    """Settings that let a recipe have the tiny network, which has no attention, and an infiller that is here."""
    settings = recipes.load(recipe)
    said = {"taps": "null", "input_size": "32", "class_gate": "null"}
    if settings.kind == "distil":
        said |= {"encoder": "small"} if getattr(settings, "encoder", None) else {}
        if "generic_attention" in str(getattr(settings, "teacher", "")):
            said["teacher.views"] = '{"grad_cam": {}}'
    if settings.kind == "shapley":
        said["holes"] = "colour"
    if any(name in str(getattr(settings, "infill", "")) for name in ("contextual_attention", "dfnet")):
        said["infill"] = "mean"
    return [f"{key}={value}" for key, value in said.items() if key.partition(".")[0] in type(settings).model_fields]


@pytest.mark.parametrize("recipe", recipes.names())
def test_every_recipe_has_a_plan(recipe: str) -> None:
    plan = plan_training(recipe, 1000, overrides=of_tiny(recipe), measure=1)
    assert plan.total_flops > 0 and plan.hours is not None and plan.hours > 0
    assert (plan.label_flops > 0) is (recipes.load(recipe).kind == "distil")


def test_what_a_teacher_costs() -> None:
    """By hand: a class activation is a forward; mirrored it is two, and at half the size a quarter of one."""
    linear = 2 * 16 * 5  # which has no size
    for said, forwards in (
        ("", FORWARD),
        (', "mirrored": true', 2 * FORWARD),
        ("half", (FORWARD - linear) / 4 + linear),
    ):
        view = '{"scales": [16]}' if said == "half" else "{}"
        teacher = f'teacher={{"views": {{"cam": {view}}}{said.removeprefix("half")}}}'
        plan = plan_training("distilled_lite0", 100, overrides=[*of_tiny("distilled_lite0"), teacher])
        # What the maps are made of, the classes' weights times the last layer, is next to nothing beside it.
        assert forwards <= plan.label_flops / 100 < 1.01 * forwards
    assert plan_training("casm_lite0", 100, overrides=of_tiny("casm_lite0")).label_flops == 0


@pytest.mark.parametrize(("method", "forwards"), [("cam", 1), ("grad_cam", 1), ("layer_cam", 1), ("gradient", 2)])
def test_what_is_asked_once_is_no_cost_of_each_picture(method: str, forwards: int) -> None:
    """Forwards of the first call alone find whether places lie where they should and classes differ in gradients."""
    plan = plan_evaluation(method, 10)  # the way back to the last layer, and a map of it, are next to nothing
    assert forwards <= plan.forwards < forwards + 0.01


def test_an_evaluation_of_grey_oblong_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """What may be wrong with a map of noise is nobody's news; timed, too, it is asked about its own pictures."""
    module = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    with torch.no_grad():
        module[-1].bias.fill_(-9)  # type: ignore[union-attr, operator]
    seen: set[tuple[int, ...]] = set()
    module[0].register_forward_pre_hook(lambda _, given: seen.add(tuple(given[0].shape[1:])))
    grey = Classifier(module.eval(), mean=[0.5], std=[0.5], input_size=(64, 96), activation="sigmoid", name="grey")
    monkeypatch.setattr("maskwise.planning.evaluation.skeleton", lambda name: grey)
    seen.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan = plan_evaluation("gradient", 10, measure=True)
    assert plan.maps == 4 * 64 * 96 * 10 and seen == {(1, 64, 96)}


def test_of_a_black_box_it_is_how_often_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny_net()
    box = Classifier(lambda images: network(images).detach(), input_size=32, activation="softmax", name="box")
    monkeypatch.setattr("maskwise.planning.evaluation.skeleton", lambda name: box)
    monkeypatch.setattr("maskwise.planning.training.skeleton", lambda name: box)
    plan, more = (plan_evaluation("rise", 10, options={"masks": 20}, metric_forwards=n) for n in (0, 7))
    assert plan.picture_flops is None and plan.forwards == 21, "its top class, and 20 masked copies"
    assert more.forwards == plan.forwards + 7
    told = CliRunner().invoke(app, ["plan", "--evaluate", "rise", "--images", "10", "--set", "masks=20"])
    assert told.exit_code == 0 and "21 questions to a black box" in told.stdout
    with pytest.raises(InputError, match="box is a black box.*evaluate=banzhaf"):
        plan_training("black_box", 100)


def test_a_classifier_that_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the skeleton is the real one
    (tmp_path / "grey.py").write_text(
        "from torch import nn\n\n\ndef net():\n    return nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(),\n"
        "        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))\n"
    )
    said = ["--mean", "0.5", "--std", "0.25", "--size", "32x48", "--activation", "sigmoid"]
    ask = ["plan", "--evaluate", "gradient", "--images", "10", "--json"]
    found = CliRunner().invoke(app, [*ask, "--classifier", f"{tmp_path / 'grey.py'}:net", *said])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["maps"] == 4 * 32 * 48 * 10
    named = CliRunner().invoke(app, [*ask, "--classifier", "torchvision/resnet18", "--size", "64"])
    assert json.loads(named.stdout)["maps"] == 4 * 64 * 64 * 10
