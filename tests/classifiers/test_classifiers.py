"""Taps of real architectures, the offline classifiers, and everything that can be wrong with weights."""

import pickle
import threading
from pathlib import Path

import pytest
import torch
from conftest import DATA, tiny_net
from safetensors.torch import save_file
from torch import nn

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.classifiers.taps import tapped
from maskwise.core.errors import InputError
from maskwise.data import read_data


def network(name: str) -> nn.Module:
    source, _, model = name.partition("/")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if source == "timm":
            import timm

            return timm.create_model(model, pretrained=False)
        from torchvision import models

        return models.get_model(model, weights=None, **({"init_weights": False} if model == "googlenet" else {}))


TAPS = {
    "torchvision/resnet50": [(64, 112), (256, 56), (512, 28), (1024, 14), (2048, 7)],
    "torchvision/vgg16": [(64, 224), (128, 112), (256, 56), (512, 28), (512, 14), (512, 7)],
    "torchvision/densenet121": [(64, 112), (256, 56), (512, 28), (1024, 14), (1024, 7)],
    "torchvision/mobilenet_v3_small": [(16, 112), (72, 56), (96, 28), (288, 14), (576, 7)],
    "torchvision/convnext_tiny": [(96, 56), (192, 28), (384, 14), (768, 7)],
    "timm/convnext_tiny": [(96, 56), (192, 28), (384, 14), (768, 7)],
    "timm/tf_efficientnet_lite0": [(96, 112), (144, 56), (240, 28), (672, 14), (1280, 7)],
    "timm/vit_tiny_patch16_224": [(192, 14)] * 4,
    "timm/swin_tiny_patch4_window7_224": [(96, 56), (192, 28), (384, 14), (768, 7)],
    "torchvision/vit_b_32": [(768, 7)] * 4,
    "torchvision/swin_t": [(96, 56), (192, 28), (384, 14), (768, 7)],
}


@pytest.mark.parametrize("name", TAPS)
def test_taps_are_found_and_come_with_the_logits(name: str) -> None:
    classifier = Classifier(network(name), name=name)
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        logits, taps = classifier.features(images)
        assert torch.equal(logits, classifier.logits(images))
    assert [(t.shape[1], t.shape[2]) for t in taps] == TAPS[name]
    assert all(t.shape[2] == t.shape[3] for t in taps)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in classifier.modules())


def test_resnet_taps_are_the_stage_outputs() -> None:
    assert Classifier(network("torchvision/resnet50")).tap_names == (
        "relu", "layer1.2.relu", "layer2.3.relu", "layer3.5.relu", "layer4.2.relu",
    )  # fmt: skip


def test_layers_named_by_hand() -> None:
    classifier = Classifier(tiny_net(), input_size=32, taps=["2", "10"])
    assert [t.shape[1] for t in classifier.features(torch.rand(1, 3, 32, 32))[1]] == [8, 16]
    with pytest.raises(InputError, match="no layer 'nothing'"):
        Classifier(tiny_net(), input_size=32, taps=["nothing"])


def test_scores_are_normalised_inside() -> None:
    net = tiny_net().eval()
    classifier = Classifier(net, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), input_size=32)
    images = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7)))
    assert torch.allclose(classifier.logits(images), net((images - mean) / std), atol=1e-6)


def test_the_fingerprint_follows_the_weights() -> None:
    a, b = Classifier(tiny_net(0), input_size=32), Classifier(tiny_net(0), input_size=32)
    assert a.fingerprint() == b.fingerprint()
    with torch.no_grad():
        b.module[0].weight[0, 0, 0, 0] += 1e-6  # type: ignore[index, operator, union-attr]
    assert a.fingerprint() != b.fingerprint()
    assert a.fingerprint() != Classifier(tiny_net(0), input_size=32, mean=(0, 0, 0)).fingerprint()


def test_the_offline_classifier_knows_a_cat() -> None:
    classifier = mw.load_classifier("efficientnet_lite0")
    from maskwise.images import packaged_pictures

    [cat] = [p for p in packaged_pictures() if p.stem == "cat"]
    logits = classifier.logits(mw.load_images(cat, size=224))
    assert classifier.labels.name(int(logits.argmax())) in ("Egyptian cat", "tabby", "tiger cat")


@pytest.mark.data
@pytest.mark.parametrize("index", [0, 1, 2])
def test_the_offline_classifiers_are_right_on_real_pictures(index: int) -> None:
    classifier = mw.load_classifier(f"efficientnet_lite{index}")
    data = read_data(DATA / "imagenet1000_samples.zip")
    records = data.records[::50]
    images = torch.cat([classifier.prepare(data.image(r)[None]) for r in records])
    with torch.inference_mode():
        right = classifier.logits(images).argmax(1) == torch.tensor([r.label for r in records])
    assert right.sum() >= 14, "of 20; published top-1 is about 75%"


def test_unknown_names_say_what_there_is() -> None:
    for name, match in [
        ("efficientnet_lite9", "did you mean efficientnet_lite"),
        ("torchvision/resnet51", "no classifier 'resnet51'"),
        ("timm/nothing", "no model 'nothing'"),
        ("keras/resnet", "unknown source 'keras'"),
    ]:
        with pytest.raises(InputError, match=match):
            mw.load_classifier(name)


def test_own_weights_by_file(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        from torchvision import models

        net = models.squeezenet1_1(num_classes=7)
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    torch.save(net.state_dict(), tmp_path / "w.pth")
    a = mw.load_classifier("torchvision/squeezenet1_1", tmp_path / "w.safetensors")
    b = mw.load_classifier("torchvision/squeezenet1_1", tmp_path / "w.pth")
    assert len(a.labels) == 7 and a.fingerprint() == b.fingerprint()
    with pytest.raises(InputError, match="do not fit efficientnet_lite0"):
        mw.load_classifier("efficientnet_lite0", tmp_path / "w.pth")


class Mischief:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("unpickled!",))


def test_nothing_is_ever_unpickled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Mischief()))
    torch.save({"a": Mischief()}, tmp_path / "evil2.pth")
    (tmp_path / "broken.safetensors").write_bytes(b"\x00" * 20)
    for name in ("evil.pth", "evil2.pth", "broken.safetensors", "missing.pth"):
        with pytest.raises(InputError) as caught:
            mw.load_classifier("torchvision/squeezenet1_1", tmp_path / name)
        assert "\n" not in str(caught.value)
    assert "unpickled!" not in capsys.readouterr().out


def test_an_unreachable_hub_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    with pytest.raises(InputError, match="local file as `weights`"):
        mw.load_classifier("torchvision/squeezenet1_1")


def test_names_of_classes_by_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(network("torchvision/squeezenet1_1").state_dict(), tmp_path / "w.safetensors")
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"thing {i}" for i in range(1000)) + "\n\n", encoding="utf-8")
    named = mw.load_classifier("torchvision/squeezenet1_1", tmp_path / "w.safetensors", names)
    assert named.labels.resolve("thing 7") == 7 and len(named.labels) == 1000
    names.write_text("one\ntwo\n")
    with pytest.raises(InputError, match="names 2 classes, and torchvision/squeezenet1_1 has 1000"):
        mw.load_classifier("torchvision/squeezenet1_1", tmp_path / "w.safetensors", names)
    with pytest.raises(InputError, match="can't be read as names"):
        mw.load_classifier("torchvision/squeezenet1_1", tmp_path / "w.safetensors", tmp_path / "nowhere.txt")


def test_another_thread_s_forward_is_not_filed(tiny: Classifier) -> None:
    """Hooks belong to the module: what one thread asks for must not be another's picture."""
    mine, other = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    name = tiny.tap_names[-1]
    with torch.no_grad():
        expected = tiny.features(mine)[1][-1]
        with tapped(tiny.module, [name]) as seen:
            tiny.logits(mine)
            thread = threading.Thread(target=tiny.logits, args=(other,))
            thread.start()
            thread.join()
            torch.testing.assert_close(seen[name], expected)
