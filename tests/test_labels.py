"""Labels beyond tests/test_small_rooms.py: odd numbers, synonyms, and what every class answers to."""

import pytest

from maskwise.core.errors import InputError
from maskwise.labels import Labels, imagenet_labels


@pytest.mark.parametrize("target", ["--5", "\u00b2", "-1", "1000", "", "2.5", "n00000000"])
def test_odd_targets_are_clear_errors(target: str) -> None:
    with pytest.raises(InputError, match="class"):
        imagenet_labels().resolve(target)


@pytest.mark.parametrize(
    ("wanted", "offered"),
    [("elefant", ["indian elephant", "african elephant"]), ("tigger", ["tiger", "tiger cat", "tiger shark"]),
     ("egiptian cat", ["egyptian cat"]), ("labrador", ["labrador retriever"])],
)  # fmt: skip
def test_what_is_offered_for_an_unknown_name_has_its_words(wanted: str, offered: list[str]) -> None:
    with pytest.raises(InputError) as error:
        imagenet_labels().resolve(wanted)
    names = str(error.value).partition("did you mean ")[2].rstrip("?").replace("'", "").split(" or ")
    assert names[: len(offered)] == offered and len(names) <= 3


def test_every_class_answers_to_its_index_and_wordnet_id() -> None:
    labels = imagenet_labels()
    assert labels.wnids is not None and len(set(labels.wnids)) == len(labels) == 1000
    assert [labels.resolve(w) for w in labels.wnids] == [labels.resolve(str(i)) for i in range(1000)] == [*range(1000)]


def test_a_name_leads_to_its_class_or_asks_for_the_index() -> None:
    labels = imagenet_labels()
    for i in range(len(labels)):
        try:
            assert labels.resolve(labels.name(i)) == i
        except InputError as error:
            assert str(i) in str(error)


def test_synonyms_and_whole_names() -> None:
    labels = Labels(("tabby, tabby cat", "dog"))
    assert [labels.resolve(t) for t in ("tabby", " Tabby Cat ", "tabby, tabby cat", "dog", 1)] == [0, 0, 0, 1, 1]
    assert labels.name(0) == "tabby"
    with pytest.raises(InputError, match="unknown class 'n01440764'"):
        labels.resolve("n01440764")


@pytest.mark.parametrize("target", ["9" * 100_000, "-" + "9" * 5_000, "0" * 19, "x" * 100_000])
def test_a_class_of_endless_length_is_one_short_line(target: str) -> None:
    with pytest.raises(InputError, match="class") as caught:
        Labels(("cat", "dog")).resolve(target)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(("names", "numbered"), [(("0", "1"), True), (("7", "3"), True), (("0", "dog"), False)])
def test_names_are_numbers_where_all_of_them_are(names: tuple[str, ...], numbered: bool) -> None:
    assert Labels(names).numbered is numbered
