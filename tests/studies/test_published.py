"""The printed tables: what they hold adds up, and the papers' claims hold on them."""

from __future__ import annotations

import pytest

from maskwise.studies import SCALES, studies
from maskwise.studies.claim import Claim, below, judge
from maskwise.studies.estimate import Estimate
from maskwise.studies.published import printed

# Claims whose numbers the papers show as curves only.
DRAWN = {
    ("casm-panel", "masked-in"), ("casm-panel", "masked-out"), ("casm-panel", "inpainted"),
    ("sess-ablation", "More scales"), ("sess-ablation", "Leaving out"), ("phang-sanity", "MPRT"),
    ("phang-sanity", "ROAR"),
}  # fmt: skip
CLAIMS = [(name, claim) for name in studies.names() if studies.get(name).printed for claim in studies.get(name).claims]


def drawn(name: str, text: str) -> bool:
    return any(name == study and word in text for study, word in DRAWN)


@pytest.mark.parametrize("name, claim", CLAIMS, ids=[f"{name}: {claim.text[:50]}" for name, claim in CLAIMS])
def test_every_claim_holds_on_the_paper_s_own_numbers(name: str, claim: Claim) -> None:
    table = studies.get(name).printed
    assert table is not None
    finding = judge(claim, printed(table))
    if drawn(name, claim.text):
        assert finding.verdict == "undecided" and finding.missing
    else:
        assert finding.verdict == "holds", [(part.what, part.number.value) for part in finding.parts]


@pytest.mark.parametrize("name", studies.names())
def test_rows_of_the_grid_are_rows_of_the_table(name: str) -> None:
    """A misspelt row would stand beside nothing; those that are ours alone are named."""
    study = studies.get(name)
    ours = {"Centre box", "Whole picture", "panel"} | {f"{k} {c}" for k in ("FIX", "CA") for c in ("MPRT", "ROAR")}
    if study.printed is None or not printed(study.printed).rows:
        return
    cells = study.cells(SCALES["full"])
    assert {cell.row for cell in cells} - ours <= set(printed(study.printed).rows)
    assert len({cell.name for cell in cells}) == len(cells), "two cells of one name"
    assert {cell.row for cell in cells} == {cell.row for cell in cells if not cell.part}, "a part without its row"


def test_seen_and_unseen_are_means_over_classes() -> None:
    table, sizes = printed("casm_table3"), {"A": 50, "B": 50, "C": 100, "D": 300, "E": 300, "F": 200}
    for row in table.rows:
        for side in ("seen", "unseen"):
            kept = [g for g in sizes if (g in row or row == "ALL") == (side == "seen")]
            if kept:
                expected = sum(sizes[g] * table[row, g].value for g in kept) / sum(sizes[g] for g in kept)
                assert table[row, side].value == pytest.approx(expected, abs=0.006)


def test_sums_and_means_that_were_made_here() -> None:
    faithful, pointing = printed("sess_table1"), printed("sess_table3")
    for row in faithful.rows:
        both = faithful[row, "insertion"].value - faithful[row, "deletion"].value
        assert faithful[row, "overall"].value == pytest.approx(both, abs=0.11)
    for row in pointing.rows:
        for which in ("all", "difficult"):
            four = [pointing[row, c].value for c in pointing.columns[:8] if c.endswith(which)]
            assert len(four) == 4 and pointing[row, which].value == pytest.approx(sum(four) / 4, abs=0.006)


def test_a_missing_number_is_named() -> None:
    with pytest.raises(KeyError, match="Bach 2015 / OM"):
        printed("casm_table1")["Bach 2015", "OM"]


def test_one_part_refutes_a_claim_whatever_is_missing() -> None:
    """CASM's Table 1 without two rows: what is there decides only where it is against the claim."""

    class Table:
        def __init__(self, **numbers: float) -> None:
            self.numbers = numbers

        def __getitem__(self, place: tuple[str, str]) -> Estimate:
            if place[0] not in self.numbers:
                raise KeyError(" / ".join(place))
            return Estimate.of([self.numbers[place[0]]])

    claim = Claim("all lie below x", lambda t: [below(t, "LE", row, "x") for row in "abc"])
    against = judge(claim, Table(x=40, b=45))
    assert against.verdict == "does not hold" and list(against.missing) == ["a / LE", "c / LE"]
    assert [part.verdict for part in against.parts] == ["undecided", "does not hold", "undecided"]
    assert judge(claim, Table(x=40, b=35)).verdict == "undecided"
    assert judge(claim, Table(x=40, a=1, b=35, c=3)).verdict == "holds"
    assert judge(claim, Table(x=40, a=1, b=35, c=3)).missing == ()
