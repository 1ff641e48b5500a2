"""SESS within a budget of forwards or of seconds."""

from __future__ import annotations

import pytest
from conftest import tiny_net
from sess.small import SIDE, TINY, pictures, rows_seen

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.sess.budget import MapCost, choose, parse_budget


class TestBudget:
    COUNTS = (1, 5, 9, 13, 22, 31, 40, 56, 65, 81, 97, 122)

    @pytest.mark.parametrize("budget, chosen", [
        (10_000, (12, 0.0)), (245, (12, 0.0)), (170, (10, 0.0)), (140, (10, 0.5)), (1, (1, 0.0)),
        (100, (10, 0.9)), (85, (10, 0.99)), (60, (8, 0.99)), (30, (5, 0.9)),
    ])  # fmt: skip
    def test_choice(self, budget: int, chosen: tuple[int, float]) -> None:
        """A score is one forward, a map another one, both together two."""
        n, ratio = choose(budget, MapCost(1, 1, 2), self.COUNTS)
        assert (n, ratio) == chosen
        assert n == 1 or MapCost(1, 1, 2).of(self.COUNTS[n - 1], ratio) <= budget

    def test_more_is_never_less(self) -> None:
        scales = [choose(b, MapCost(1, 3, 4), self.COUNTS)[0] for b in range(1, 600)]
        ten = [min(n, 10) for n in scales]
        assert ten == sorted(ten)

    def test_spent_in_forwards(self) -> None:
        image = pictures(1, 50, 50)
        for budget in (5, 40, 100, 1000):
            explain = mw.SESS(mw.explainer("gradient", TINY), budget=budget)
            assert rows_seen(TINY, lambda e=explain: e(image)) <= budget  # type: ignore[misc]

    def test_counts_what_an_explainer_runs(self) -> None:
        explain = mw.SESS(mw.explainer("rise", TINY, masks=50), budget=1000)
        explain(pictures(1, 50, 50), 1)
        assert explain.report["kept"].item() * 50 + explain.report["scored"].item() <= 1000

    @pytest.mark.parametrize("name", ["recipro_cam", "grad_cam", "refine_cam"])
    def test_what_is_asked_once_is_no_cost_of_a_patch(self, name: str) -> None:
        """The first map of a classifier's is made of as many windows as the second one."""
        explain = mw.SESS(mw.explainer(name, Classifier(tiny_net(), input_size=SIDE)), budget=300)
        used = []
        for _ in range(2):
            explain(pictures(1, 50, 50), 1)
            used.append((int(explain.report["windows"]), int(explain.report["kept"])))
        assert used[0] == used[1]

    def test_seconds(self) -> None:
        explain = mw.SESS(mw.explainer("gradient", TINY), budget="0.0001s")
        explain(pictures(1, 50, 50), 1)
        assert explain.report["windows"].item() < 122
        assert parse_budget("1.5s") == (1.5, "seconds") and parse_budget(200) == (200, "forwards")
