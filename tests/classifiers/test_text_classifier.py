"""Texts as classes: the libraries' own logits, at toy size with random weights; and what holds for any of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from calling import call, refused, save_picture
from conftest import tiny_net
from torch import Tensor, nn

import maskwise as mw
from maskwise.classifiers.similarity import CosineScores, mean_directions, text_directions
from maskwise.explainers import methods

TEXTS = ["a cat", "a dog, running", "a bird"]
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
SEEING = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2}
SEEING |= {"image_size": 64, "patch_size": 16}
READING = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
READING |= {"vocab_size": 40, "max_position_embeddings": 12, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
WORDS = ["a", "an", "cat", "dog", "bird", "running", "photo", "of", "the", ".", ","]


def encoder(seed: int = 0) -> nn.Module:
    """The tiny network without its last layer: 16 numbers a picture."""
    return nn.Sequential(*list(tiny_net(seed).children())[:-1])


def rows(count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(seed))


def texts_of_tiny(**said: Any) -> mw.TextClassifier:
    own = {"scale": 20.0, "input_size": 32, "mean": (0, 0, 0), "std": (1, 1, 1)}
    return mw.TextClassifier(encoder(), TEXTS, rows(3), **own | said)  # type: ignore[arg-type]


# ---- the logits ---------------------------------------------------------------------------------------------


def test_logits_are_scaled_cosines() -> None:
    images = IMAGES[:, :, ::2, ::2]
    net, given = encoder(), rows(3) * torch.tensor([[1.0], [7.0], [0.1]])  # only directions count
    classifier = texts_of_tiny(bias=-3.0, temperature=2.5)
    expected = torch.stack([20 * F.cosine_similarity(net(images), row[None]) - 3 for row in given], 1) / 2.5
    assert torch.allclose(classifier.logits(images), expected, atol=1e-5) and expected.std() > 0.1
    assert torch.allclose(CosineScores(net, given, 20, -3)(images) / 2.5, expected, atol=1e-5)
    assert classifier.activation == "sigmoid" and texts_of_tiny().activation == "softmax"
    assert classifier.labels.names == tuple(TEXTS) and classifier.labels.name(1) == "a dog, running"
    assert classifier.labels.resolve("a dog, running") == 1


def test_a_bias_changes_no_softmax_and_a_temperature_softens_it() -> None:
    images = IMAGES[:, :, ::2, ::2]
    plain, biased = texts_of_tiny(), texts_of_tiny(bias=-10.0, activation="softmax")
    probabilities = plain.probabilities(plain.logits(images))
    assert torch.allclose(probabilities, biased.probabilities(biased.logits(images)), atol=1e-6)
    soft = texts_of_tiny(temperature=100.0)
    assert soft.probabilities(soft.logits(images)).amax() < 0.45 < probabilities.amax()


def test_who_it_is_depends_on_its_texts_and_temperature() -> None:
    prints = [
        texts_of_tiny().fingerprint(),
        texts_of_tiny(temperature=2.0).fingerprint(),
        texts_of_tiny(bias=1.0, activation="softmax").fingerprint(),
        mw.TextClassifier(encoder(), TEXTS, rows(3, seed=2), input_size=32).fingerprint(),
    ]
    assert len(set(prints)) == 4 and texts_of_tiny().fingerprint() == prints[0]


def test_a_class_is_the_mean_direction_of_its_prompts() -> None:
    """By hand, for two templates; the encoder is asked in parts."""
    table = {
        f"{a} {text}": rows(1, seed=10 * i + j)[0] * (i + 1) for i, text in enumerate(TEXTS) for j, a in enumerate("xy")
    }
    asked: list[int] = []

    def encode(prompts: list[str]) -> Tensor:
        asked.append(len(prompts))
        return torch.stack([table[prompt] for prompt in prompts])

    found = text_directions(encode, TEXTS, ["x {}", "y {}"], batch=4)
    for text, row in zip(TEXTS, found, strict=True):
        mean = sum(table[f"{a} {text}"] / table[f"{a} {text}"].norm() for a in "xy")
        assert torch.allclose(row, mean / mean.norm(), atol=1e-6)
    assert asked == [4, 2]
    classifier = mw.TextClassifier(encoder(), TEXTS, text_encoder=encode, templates=["x {}", "y {}"], input_size=32)
    assert torch.allclose(classifier.module.embeddings, found)  # type: ignore[arg-type]


@pytest.mark.parametrize(("dtype", "gap"), [(torch.float64, 1e-4), (torch.bfloat16, 1.0)])
def test_half_and_double(dtype: torch.dtype, gap: float) -> None:
    images, net = IMAGES[:, :, ::2, ::2], encoder().to(dtype)
    found = mw.TextClassifier(net, TEXTS, rows(3), scale=20, input_size=32, mean=(0,) * 3, std=(1,) * 3).logits(images)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.allclose(found.float(), texts_of_tiny().logits(images), atol=gap)


# ---- what is refused ----------------------------------------------------------------------------------------


def test_one_text_competes_with_nothing() -> None:
    with pytest.raises(mw.InputError, match="one text under softmax has probability 1.*activation=sigmoid"):
        mw.TextClassifier(encoder(), ["a cat"], rows(1), input_size=32)
    one = mw.TextClassifier(encoder(), ["a cat"], rows(1), input_size=32, activation="sigmoid", scale=3)
    assert one.labels.names == ("not a cat", "a cat")
    logits = one.logits(IMAGES)
    assert torch.allclose(logits[:, 0], -logits[:, 1])
    maps = mw.explainer("rise", one, masks=30)(IMAGES, "a cat")
    assert maps.amax() > 0.9 and maps.std() > 0.05


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ({"texts": []}, "one a class"),
        ({"texts": "a cat"}, "a list of texts"),
        ({"texts": ["a cat", " "]}, "none is empty"),
        ({"texts": ["a cat", "a dog"], "embeddings": None}, "`text_encoder`"),
        ({"texts": ["a cat", "a dog"]}, "2 texts and 3 embeddings"),
        ({"templates": ["a photo"]}, "has no {} where a text goes"),
        ({"temperature": 0}, "temperature"),
        ({"embeddings": torch.zeros(3, 16)}, "has a direction|have a direction"),
        ({"embeddings": torch.ones(3, 16) * math.nan}, "have a direction"),
        ({"embeddings": torch.ones(3, 7)}, "gives embeddings of 16 numbers"),
        ({"encoder": nn.Conv2d(3, 4, 3)}, "such as their mean"),
    ],
)
def test_what_makes_no_classifier(said: dict[str, Any], line: str) -> None:
    own: dict[str, Any] = {"encoder": encoder(), "texts": TEXTS, "embeddings": rows(3), "input_size": 32}
    with pytest.raises(mw.InputError, match=line):
        mw.TextClassifier(**own | said)


def test_embeddings_that_cancel() -> None:
    with pytest.raises(mw.InputError, match="cancel"):
        mean_directions([torch.tensor([[1.0, 0.0], [-2.0, 0.0]])])


# ---- every method -------------------------------------------------------------------------------------------

FEW = {
    "rise": {"masks": 20}, "kernel_shap": {"masks": 20}, "banzhaf": {"masks": 20},
    "smooth_grad": {"samples": 2}, "smooth_grad_cam_pp": {"samples": 2},
    "augmented_grad_cam": {"copies": 2, "iterations": 2}, "integrated_gradients": {"steps": 2}, "xrai": {"steps": 2},
    "occlusion": {"window": 0.5, "stride": 0.25}, "meaningful_perturbation": {"iterations": 3},
    "extremal_perturbation": {"iterations": 3, "areas": (0.2,)}, "fido": {"iterations": 3, "samples": 2},
    "guided_feature_inversion": {"iterations": 3}, "dabkowski_gal_iterative": {"iterations": 3},
}  # fmt: skip
OTHERS = ("maskers", "references", "attention")  # the encoder here is no transformer
BASE = [name for name, facts in methods.items() if facts["family"] not in OTHERS and name != "cam"]


@pytest.mark.parametrize("name", BASE)
def test_every_method_explains_texts_and_their_order_changes_nothing(name: str) -> None:
    """Text k's map is text k's, wherever it stands; and of a text that is there twice, both maps are the same."""
    order = [2, 0, 1]
    classifier = texts_of_tiny()
    permuted = mw.TextClassifier(
        encoder(), [TEXTS[i] for i in order], rows(3)[order], scale=20, input_size=32, mean=(0,) * 3, std=(1,) * 3
    )
    options = FEW.get(name, {})
    maps = mw.explainer(name, classifier, **options)(IMAGES[:1], [[0, 1, 2]])[0]
    again = mw.explainer(name, permuted, **options)(IMAGES[:1], [[0, 1, 2]])[0]
    assert maps.isfinite().all() and maps.amax() > 0
    assert torch.allclose(again, maps[order], atol=1e-3)


def test_a_text_that_is_there_twice() -> None:
    twice = mw.TextClassifier(encoder(), [*TEXTS, "a cat"], torch.cat([rows(3), rows(3)[:1]]), scale=20, input_size=32)
    maps = mw.explainer("gradient", twice)(IMAGES[:1], [[0, 3]])[0]
    assert torch.allclose(maps[0], maps[1], atol=1e-5) and maps.amax() > 0.5
    with pytest.raises(mw.InputError, match=r"is the name of \[0, 3\]: give the index"):
        mw.explainer("grad_cam", twice)(IMAGES, "a cat")


def test_cam_names_what_to_take() -> None:
    with pytest.raises(mw.InputError, match="use grad_cam"):
        mw.explainer("cam", texts_of_tiny())


def test_relevance_of_a_cosine_is_kept() -> None:
    """The length of the embedding is a constant to LRP; were it not, the relevance of a cosine would be zero."""
    from maskwise.explainers.relevance import RelevanceRules
    from maskwise.explainers.relevance.sums import Epsilon

    net = nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    scores = CosineScores(net, rows(4)[:, :6], 20)
    x = IMAGES.clone().requires_grad_()
    with RelevanceRules(Epsilon(1e-9)):
        logits = scores(x)
    (signal,) = torch.autograd.grad(logits[:, 1].sum(), x)
    assert torch.allclose((x * signal).sum((1, 2, 3)), logits[:, 1], rtol=1e-3) and logits[:, 1].abs().amin() > 0.1


def test_sess_metrics_and_evaluation(picture_folder: Path) -> None:
    classifier = mw.TextClassifier(encoder(), [f"thing {i}" for i in range(5)], rows(5), scale=20, input_size=32)
    maps = mw.SESS(mw.explainer("grad_cam", classifier), scales=2)(IMAGES, "thing 3")
    assert maps.shape == (2, 64, 64) and maps.amax() > 0.5
    board = mw.evaluate("grad_cam", str(picture_folder), classifier, ["le", "insertion"])
    assert "insertion" in json.dumps(board.plain()) and board.lines[0].pictures == 20


def test_fit_a_masker_for_these_words(picture_folder: Path, tmp_path: Path) -> None:
    classifier = mw.TextClassifier(encoder(), [f"thing {i}" for i in range(5)], rows(5), scale=20, input_size=32)
    fitted = mw.fit(str(picture_folder), classifier, out=tmp_path / "fit", teacher="grad_cam", max_steps=2, size=32)
    explain = mw.explainer("distilled", classifier, masker=fitted.path)
    assert explain(IMAGES, [["thing 1", "thing 4"]] * 2).shape == (2, 2, 64, 64)
    other = mw.TextClassifier(encoder(), [f"thing {i}" for i in range(5)], rows(5, seed=3), scale=20, input_size=32)
    with pytest.raises(mw.InputError, match="was trained on"):
        mw.explainer("distilled", other, masker=fitted.path)


# ---- the libraries ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ViT", "ResNet"])
def test_open_clip(kind: str) -> None:
    open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed")
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    torch.manual_seed(0)
    sees = {"layers": 3, "width": 64, "patch_size": 16} if kind == "ViT" else {"layers": (1, 1, 1, 1), "width": 8}
    reads = CLIPTextCfg(context_length=77, vocab_size=49408, width=32, heads=2, layers=2)
    images = torch.rand(2, 3, 128, 128)
    model = CLIP(32, CLIPVisionCfg(head_width=16, image_size=128, **sees), reads).eval()
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    classifier = mw.TextClassifier.from_open_clip(model, tokenizer, TEXTS)
    with torch.no_grad():
        pictures, texts, scale = model(classifier.normalise(images), tokenizer(TEXTS))
    assert torch.allclose(classifier.logits(images), scale * pictures @ texts.T, atol=1e-5)
    assert torch.allclose(classifier.mean, torch.tensor([0.4815, 0.4578, 0.4082]), atol=1e-4)
    assert classifier.size == (128, 128) and len(classifier.tap_names) >= 3
    maps = mw.explainer("grad_cam", classifier)(images, [[0, 1, 2]] * 2)
    assert maps.amax() > 0.9 and not torch.allclose(maps[:, 0], maps[:, 1], atol=0.05)
    own = type("Compose", (), {"transforms": [type("Normalize", (), {"mean": [0.5] * 3, "std": [0.25] * 3})()]})()
    assert mw.TextClassifier.from_open_clip(model, tokenizer, TEXTS, own).std.tolist() == [0.25] * 3


def test_open_clip_by_name(tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed")
    with pytest.raises(mw.InputError, match=r"@TAG; open_clip has .*openai"):
        mw.load_classifier("open_clip/ViT-B-32", texts=TEXTS)
    with pytest.raises(mw.InputError, match="no model 'nothing'"):
        mw.load_classifier("open_clip/nothing@openai", texts=TEXTS)
    with pytest.raises(mw.InputError, match="needs the texts"):
        mw.load_classifier("open_clip/ViT-B-32@openai")
    with pytest.raises(mw.InputError, match="is no model of open_clip"):
        mw.TextClassifier.from_open_clip(nn.Linear(2, 2), lambda texts: rows(2), TEXTS)
    small = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    (tmp_path / "small-test-model.json").write_text(json.dumps(small))
    open_clip.add_model_config(tmp_path / "small-test-model.json")
    with pytest.raises(mw.InputError, match="has none: give a file as `weights`"):
        mw.load_classifier("open_clip/small-test-model", texts=TEXTS)
    torch.manual_seed(0)
    whole = open_clip.create_model("small-test-model", load_weights=False).eval()
    torch.save(whole.state_dict(), tmp_path / "own.pth")
    before = torch.get_rng_state()
    classifier = mw.load_classifier("open_clip/small-test-model", tmp_path / "own.pth", texts=TEXTS, temperature=10)
    assert torch.equal(torch.get_rng_state(), before)
    assert classifier.name == "open_clip/small-test-model" and classifier.labels.names == tuple(TEXTS)
    images, read = IMAGES[:, :, ::2, ::2], open_clip.get_tokenizer("ViT-B-32")(TEXTS)
    with torch.no_grad():
        pictures, texts, scale = whole(classifier.normalise(images), read)
    assert torch.allclose(10 * classifier.logits(images), scale * pictures @ texts.T, atol=1e-4)
    assert not any(weight.requires_grad for weight in classifier.module.parameters())
    torch.save({"some": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(mw.InputError, match="the weights do not fit open_clip/small-test-model"):
        mw.load_classifier("open_clip/small-test-model", tmp_path / "other.pth", texts=TEXTS)


def tokenizer() -> Any:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    tokenizers = pytest.importorskip("tokenizers")
    names = ["<pad>", "<s>", "<unk>", *WORDS]
    made = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({name: i for i, name in enumerate([*names, "</s>"])}, unk_token="<unk>")
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    ends = [("<s>", 1), ("</s>", len(names))]
    made.post_processor = tokenizers.processors.TemplateProcessing("<s> $A </s>", special_tokens=ends)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", unk_token="<unk>")


def of_transformers(kind: str) -> Any:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = getattr(transformers, f"{kind}Config")(text_config=READING, vision_config=SEEING)
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}Model")(config).eval()
    with torch.no_grad():
        model.logit_scale.fill_(3.0)
        if kind == "Siglip":
            model.logit_bias.fill_(-2.0)
    return model


@pytest.mark.parametrize("kind", ["CLIP", "Siglip"])
def test_transformers(kind: str, tmp_path: Path) -> None:
    """The model's own logits; loaded, from a folder, and from there on the command line."""
    model, reads = of_transformers(kind), tokenizer()
    padding = {"padding": True} if kind == "CLIP" else {"padding": "max_length", "max_length": 12}
    given = reads(TEXTS, return_tensors="pt", **padding)
    classifier = mw.TextClassifier.from_hf(model, reads, TEXTS)
    with torch.no_grad():
        masked = {"attention_mask": given["attention_mask"]}
        expected = model(given["input_ids"], pixel_values=classifier.normalise(IMAGES), **masked)
    assert torch.allclose(classifier.logits(IMAGES), expected.logits_per_image, atol=1e-5)
    assert classifier.activation == ("softmax" if kind == "CLIP" else "sigmoid")
    assert classifier.mean[0] == pytest.approx(0.48145466 if kind == "CLIP" else 0.5)
    maps = mw.explainer("grad_cam", classifier)(IMAGES, [[0, 1]] * 2)
    assert maps.amax() > 0.9 and not torch.allclose(maps[:, 0], maps[:, 1], atol=0.05)

    model.save_pretrained(tmp_path / "model")
    reads.save_pretrained(tmp_path / "model")
    again = mw.load_classifier(f"hf/{tmp_path / 'model'}", texts=TEXTS)
    assert torch.allclose(again.logits(IMAGES), expected.logits_per_image, atol=1e-5)
    with pytest.raises(mw.InputError, match="has no classes of its own: name them by `texts`"):
        mw.load_classifier(f"hf/{tmp_path / 'model'}")

    picture, out = save_picture(tmp_path / "noise.png", 70, 50), tmp_path / "out"
    (tmp_path / "words.txt").write_text("\n".join(TEXTS) + "\n")
    asked = ("explain", picture, "--classifier", f"hf/{tmp_path / 'model'}", "--method", "grad_cam", "--device", "cpu")
    found = []
    for name, texts in (("words", TEXTS), ("file", [tmp_path / "words.txt"])):
        ran = call(*asked, "--texts", *texts, "--target", "a dog, running", "--out", out / name)
        assert ran.exit_code == 0 and ran.stderr == "", ran.output
        found.append(np.load(out / name / "noise" / "map.npy"))
    assert np.array_equal(*found) and found[0].max() > 0.9
    result = json.loads((out / "words" / "noise" / "result.json").read_text())
    assert result["target"] == "a dog, running" and {text for text, _ in result["top"]} == set(TEXTS)
    alone = call(*asked, "--texts", "a cat", "--out", out / "one")
    if kind == "CLIP":
        refused(alone, "one text under softmax", "--activation sigmoid", "--texts")
    else:
        assert alone.exit_code == 0, alone.output
    refused(call(*asked, "--texts", tmp_path / "missing.txt", "--out", out / "none"), "missing.txt")


def test_texts_for_a_classifier_that_reads_none(tmp_path: Path) -> None:
    picture = save_picture(tmp_path / "noise.png", 40, 50)
    ran = call("explain", picture, "--texts", "a cat", "a dog", "--out", tmp_path / "out")
    refused(ran, "--texts", "open_clip/NAME@TAG", "efficientnet_lite0")
    refused(call("explain", picture, "--temperature", 3, "--out", tmp_path / "out"), "--temperature")


def test_a_classifier_of_transformers_reads_no_texts(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    transformers.ViTModel(transformers.ViTConfig(**SEEING)).save_pretrained(tmp_path)
    with pytest.raises(mw.InputError, match="reads no texts: leave `texts` out"):
        mw.load_classifier(f"hf/{tmp_path}", texts=TEXTS)
    with pytest.raises(mw.InputError, match="is no model of transformers for pictures and texts"):
        mw.TextClassifier.from_hf(nn.Linear(2, 2), None, TEXTS)


def test_the_square_in_the_middle(tmp_path: Path) -> None:
    """`--resize crop` explains what a preprocessing that crops would show the network."""
    picture, out = save_picture(tmp_path / "wide.png", 40, 90), tmp_path / "out"
    asked = ("explain", picture, "--method", "grad_cam", "--device", "cpu", "--target", "0")
    assert call(*asked, "--resize", "crop", "--out", out).exit_code == 0
    found = torch.from_numpy(np.load(out / "wide" / "map.npy"))
    images = mw.load_images(picture)[..., 25:65]
    expected = mw.explainer("grad_cam", mw.load_classifier())(images, 0)[0]
    assert found.shape == (40, 40) and torch.allclose(found, expected, atol=1e-5)
    result = json.loads((out / "wide" / "result.json").read_text())
    assert result["resize"] == "crop" and result["protocol"]["resize"].startswith("square in the middle")
    refused(call(*asked, "--resize", "stretch", "--out", out), "squash or crop")
