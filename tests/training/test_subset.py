import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwise.core.errors import InputError
from maskwise.training.subset import subset


@given(st.lists(st.integers(0, 9), min_size=1, max_size=80), st.integers(1, 5), st.integers(0, 3), st.data())
def test_a_subset_is_what_was_asked_for(labels: list[int], per_class: int, seed: int, data: st.DataObject) -> None:
    there = sorted(set(labels))
    classes = data.draw(st.integers(1, len(there)))
    indices, kept = subset([{label} for label in labels], classes, per_class, seed)
    assert len(kept) == classes and indices == sorted(set(indices))
    for label in there:
        own = [i for i in indices if labels[i] == label]
        assert len(own) == (min(per_class, labels.count(label)) if label in kept else 0)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(0, 3))
def test_larger_subsets_hold_the_smaller_ones(labels: list[int], seed: int) -> None:
    shown = [{label} for label in labels]
    sizes = [set(subset(shown, None, n, seed)[0]) for n in (1, 2, 5)]
    assert sizes[0] <= sizes[1] <= sizes[2]
    classes = [set(subset(shown, n, None, seed)[1]) for n in range(1, len(set(labels)) + 1)]
    assert all(a < b for a, b in itertools.pairwise(classes))


def test_named_classes_and_what_is_refused() -> None:
    assert subset([{3}, {1}, {3}, {2}], [3, 2], None, 0) == ([0, 2, 3], [2, 3])
    with pytest.raises(InputError, match="no picture has class 9"):
        subset([{1}, {2}], [1, 9], None, 0)
    with pytest.raises(InputError, match="3 classes were asked for, but the pictures have 2"):
        subset([{1}, {2}, {2}], 3, None, 0)
