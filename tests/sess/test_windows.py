"""Scales, windows, pre-filter: counts of the paper, coverage, order."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwise.sess.patches import WindowOf, cut, extracted, prefilter, runs
from maskwise.sess.windows import Window, frame, parents, scaled_sizes, starts, tiling


def sides(n: int) -> list[int]:
    return [224 + 64 * i for i in range(n)]


class TestCounts:
    @pytest.mark.parametrize("n, count", [(1, 1), (5, 22), (6, 31), (10, 81), (12, 122)])
    def test_of_a_square_picture(self, n: int, count: int) -> None:
        assert len(tiling(scaled_sizes((300, 300), sides(n)), (224, 224), (224, 224))) == count

    def test_stride_112_is_the_papers_figure_3(self) -> None:
        tiles = tiling(scaled_sizes((500, 500), sides(12)), (224, 224), (112, 112))
        assert len(tiles) == 303
        scores = torch.rand(1, 1, 303, generator=torch.Generator().manual_seed(0))
        assert prefilter(scores, 0.99).sum() == 4

    @pytest.mark.parametrize("size, count", [((300, 400), 157), ((400, 300), 157), ((300, 450), 175)])
    def test_of_other_aspects(self, size: tuple[int, int], count: int) -> None:
        assert len(tiling(scaled_sizes(size, sides(12)), (224, 224), (224, 224))) == count


class TestWindows:
    def test_shorter_side_and_aspect(self) -> None:
        assert scaled_sizes((100, 333), [224]) == [(224, 745)]  # 745.92 cut to whole pixels
        assert scaled_sizes((333, 100), [224]) == [(745, 224)]

    @settings(deadline=None)
    @given(st.integers(4, 40), st.data())
    def test_every_pixel_is_covered_at_every_scale(self, window: int, data: st.DataObject) -> None:
        stride = data.draw(st.integers(1, window))
        size = (data.draw(st.integers(1, 90)), data.draw(st.integers(1, 90)))
        sizes = scaled_sizes(size, [window + data.draw(st.integers(0, 60)), window])
        tiles = tiling(sizes, (window, window), (stride, stride))
        assert len(set(tiles)) == len(tiles)
        for scale, (height, width) in enumerate(sizes):
            seen = torch.zeros(height, width, dtype=torch.bool)
            for tile in (t for t in tiles if t.scale == scale):
                assert 0 <= tile.y <= height - window and 0 <= tile.x <= width - window
                seen[tile.y : tile.y + window, tile.x : tile.x + window] = True
            assert seen.all()

    def test_starts_end_flush(self) -> None:
        assert starts(300, 224, 224) == [0, 76]
        assert starts(448, 224, 224) == [0, 224]
        assert starts(224, 224, 1) == [0]

    def test_frame_is_in_the_pictures_pixels(self) -> None:
        assert frame(Window(0, 0, 50), (50, 50), [(100, 200)], (200, 400)) == (100, 0, 200, 100)

    def test_parents_cover_their_children_best(self) -> None:
        sizes = scaled_sizes((8, 8), [4, 8, 16])
        tiles = tiling(sizes, (4, 4), (4, 4))
        above = parents(sizes, tiles, (4, 4))
        assert above[0] == -1 and above[1:5].tolist() == [0] * 4
        for i, tile in enumerate(tiles):
            if tile.scale == 2:  # its quadrant
                parent = tiles[above[i]]
                assert (parent.y, parent.x) == (4 * (tile.y // 8), 4 * (tile.x // 8))


class TestPatches:
    def test_cut_gives_the_windows_pixels_in_order(self) -> None:
        images = torch.rand(3, 3, 9, 12, generator=torch.Generator().manual_seed(0))
        sizes = [(9, 12), (9, 12)]
        tiles = [Window(0, 0, 0), Window(0, 4, 7), Window(1, 3, 2)]
        jobs = [WindowOf(0, 0), WindowOf(0, 1), WindowOf(0, 2), WindowOf(1, 0), WindowOf(1, 2), WindowOf(2, 1)]
        seen = list(cut(images, sizes, tiles, iter(jobs), (5, 5), 4, True))
        assert [len(group) for group, _ in seen] == [4, 2]
        for group, patches in seen:
            for (window, picture), patch in zip(group, patches, strict=True):
                _, y, x = tiles[window]
                assert torch.equal(patch, images[picture, :, y : y + 5, x : x + 5])

    def test_runs_share_a_window(self) -> None:
        found = list(runs([WindowOf(0, 1), WindowOf(0, 2), WindowOf(3, 0), WindowOf(3, 2)]))
        assert [(r.window, r.first, r.last) for r in found] == [(0, 0, 2), (3, 2, 4)]
        assert found[0].pictures == slice(1, 3) and found[1].pictures.tolist() == [0, 2]  # type: ignore[union-attr]

    @settings(deadline=None)
    @given(st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3]), min_size=1, max_size=30), st.sampled_from([0, 0.5, 0.9]))
    def test_prefilter_keeps_the_best(self, scores: list[float], ratio: float) -> None:
        kept = prefilter(torch.tensor(scores)[None, None], ratio)[0, 0].tolist()
        order = sorted(range(len(scores)), key=lambda i: (scores[i], i))
        assert [i for i in range(len(scores)) if kept[i]] == sorted(order[int(len(scores) * ratio) :])

    def test_what_was_not_scored_goes(self) -> None:
        scores = torch.tensor([[[-torch.inf, 0.5, -torch.inf]]])
        assert prefilter(scores, 0.0).tolist() == [[[False, True, False]]]

    def test_extracted_maps_span_zero_to_one(self) -> None:
        maps = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0)) * 7 - 2
        maps[1, 2] = 4
        spread = extracted(maps)
        assert spread[0].amin((-2, -1)).eq(0).all() and spread[0].amax((-2, -1)).eq(1).all()
        assert torch.allclose(
            spread[0, 0] * (maps[0, 0].max() - maps[0, 0].min()) + maps[0, 0].min(), maps[0, 0], atol=1e-5
        )
        assert spread[1, 2].eq(0).all() and extracted(maps, nan_safe=False)[1, 2].isnan().all()
