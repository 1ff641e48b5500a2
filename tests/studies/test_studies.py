"""Every study at the smoke scale; what is on disk is not done again; a failing cell stops nobody."""

from __future__ import annotations

import csv
import json
import math
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from calling import call, refused

import maskwise as mw
from maskwise.checks import SmallTraining
from maskwise.core.errors import InputError
from maskwise.explainers import methods
from maskwise.studies import SCALES, Study, run_study, studies
from maskwise.studies.cell_directory import cell_directory
from maskwise.studies.claim import Claim, Condition
from maskwise.studies.jobs import Explain, JobCost, OnMasks, Train
from maskwise.studies.jobs.checks import CHECK_SETTINGS
from maskwise.studies.overview import overview
from maskwise.studies.protocol import SECONDS, Column
from maskwise.studies.report import columns, markdown, write_report
from maskwise.studies.run import grid_cells
from maskwise.studies.run_config import RunConfig, sources_of
from maskwise.studies.scale import scale_of
from maskwise.studies.study import GridCell

SMOKE = SCALES["smoke"]


def config(**changes: object) -> RunConfig:
    train, test = sources_of([], [], SMOKE)
    return replace(RunConfig(SMOKE, train, test, {"tiny": None}, (), SMOKE.limit), **changes)


@pytest.mark.parametrize("name", studies.names())
def test_a_study_at_the_smoke_scale(name: str, tmp_path: Path) -> None:
    study = studies.get(name)
    found = run_study(study, config(), tmp_path)
    assert found.failures == {} and found.not_run == []
    assert found.made == len(study.cells(SMOKE))
    assert columns(found) == [c for c in found.columns if (name, c) != ("casm-unseen", "LE")]  # which is split there
    written = {path.suffix for path in write_report(found, tmp_path)}
    assert written == {".json", ".csv", ".md", ".html"} | ({".png"} if study.figure else set())
    page = (tmp_path / f"{name}.md").read_text()
    assert all(f"| {found.label(row)} |" in page for row in found.rows)
    assert len(found.claim_results) == len(study.claims)
    assert not any(finding.missing for finding in found.claim_results)  # no claim asks for a row that no cell fills
    again = run_study(study, config(), tmp_path)
    assert again.made == 0 and markdown(again) == page
    lines = list(csv.DictReader((tmp_path / f"{name}.csv").read_text().splitlines()))
    plain = json.loads((tmp_path / f"{name}.json").read_text())
    for line in lines:
        row = next(r for r in plain["rows"] if r["row"] == line["row"])
        if line["value"]:
            assert row["here"][line["column"]]["value"] == float(line["value"])


def two(cells: list[GridCell]) -> Study:
    return Study("two", "do two cells run?", None, (Column("area", "area", lower=None),), lambda scale: cells)


def test_a_failing_cell_is_reported_and_the_others_go_on(tmp_path: Path) -> None:
    study = two([GridCell("broken", Explain("grad_cam", {"layer": "nowhere"})), GridCell("whole", Explain("uniform"))])
    found = run_study(study, config(), tmp_path)
    assert list(found.failures) == ["broken"] and "nowhere" in found.failures["broken"]
    assert found.numbers["whole", "area"].value == pytest.approx(1.0)
    assert "- broken: " in markdown(found)
    with pytest.raises(InputError, match="nowhere"):
        run_study(study, config(), tmp_path, only=["broken"])


def test_pictures_that_are_timed_alone_have_times_of_their_own(tmp_path: Path) -> None:
    """Those of one batch share its time, so that an interval over them would be of no width."""
    study = replace(two([GridCell("a", Explain("grad_cam"))]), columns=(Column("seconds", SECONDS),), batch=1)
    low, high = run_study(study, config(), tmp_path).numbers["a", "seconds"].interval()
    assert 0 < low < high
    assert studies.get("sess-time").batch == 1


@pytest.mark.parametrize("scale", ["smoke", "full"])
def test_rows_beside_torchray_s_numbers_take_its_excitation(scale: str) -> None:
    """Of the pointing study alone: what the other papers print is not of TorchRay's making."""
    for name in studies.names():
        jobs = {c.row: c.job for c in studies.get(name).cells(scale_of(scale)) if isinstance(c.job, Explain)}
        for row, job in jobs.items():
            if "excitation_backprop" in job.method:
                expected = {"variant": "torchray"} if name == "sess-pointing" else {}
                assert job.options == expected, (name, row)
    pointing = studies.get("sess-pointing").cells(scale_of(scale))
    assert {c.row for c in pointing if getattr(c.job, "options", {}).get("variant")} == {"EBP", "Contrastive EBP"}


def test_what_a_killed_process_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a result nor a word: the cell counts as failed, and the next run does it."""
    study = two([GridCell("a", Explain("uniform")), GridCell("b", Explain("center"))])
    run_study(study, config(), tmp_path, only=["a"])
    monkeypatch.setattr("maskwise.studies.run.run_in_processes", lambda *_: None)
    found = run_study(study, config(), tmp_path, devices=2)
    assert set(found.failures) == {"b"} and found.rows == ["a"]
    assert run_study(study, config(), tmp_path).made == 1


def test_only_some_cells(tmp_path: Path) -> None:
    study = two([GridCell("a", Explain("uniform")), GridCell("b", Explain("center"))])
    found = run_study(study, config(), tmp_path, only=["b"])
    assert found.rows == ["b"] and found.not_run == ["a"] and "Not run: a." in markdown(found)
    with pytest.raises(InputError, match="no cell 'c'"):
        run_study(study, config(), tmp_path, only=["c"])


def test_what_is_on_disk_is_in_the_table_whatever_is_run(tmp_path: Path) -> None:
    """Cells done one at a time make the page of all of them, in the study's order."""
    study = two([GridCell("a", Explain("uniform")), GridCell("b", Explain("center")), GridCell("c", Explain("random"))])
    run_study(study, config(), tmp_path, only=["b"])
    found = run_study(study, config(), tmp_path, only=["a"])
    assert found.made == 1 and found.rows == ["a", "b"] and found.not_run == ["c"]
    elsewhere = run_study(study, config(limit=2), tmp_path, only=["a"])
    assert elsewhere.rows == ["a"] and elsewhere.not_run == ["b", "c"], "of other pictures nothing is there yet"
    run_study(study, config(), tmp_path, only=["c"])
    assert markdown(run_study(study, config(), tmp_path, only=["b"])) == markdown(run_study(study, config(), tmp_path))


def test_seeds_on_disk_that_were_not_asked_for(tmp_path: Path) -> None:
    study = studies.get("casm-statistics")
    run_study(study, config(), tmp_path, only=["Baseline"])
    found = run_study(study, config(), tmp_path, seeds=2, only=["CASM"])
    assert found.numbers["CASM", "area"].seeds == 2 and found.numbers["Baseline", "area"].seeds == 1
    assert found.failures == {} and found.not_run == []


def test_processes_find_the_same(tmp_path: Path) -> None:
    study = studies.get("casm-statistics")
    here = run_study(study, config(), tmp_path / "a", only=["CASM"])
    there = run_study(study, config(), tmp_path / "b", only=["CASM"], devices=2)
    assert there.made == 1
    for place, number in here.numbers.items():
        assert there.numbers[place].value == pytest.approx(number.value, rel=1e-4), place


def test_a_changed_setting_is_another_cell(tmp_path: Path) -> None:
    study = studies.get("casm-statistics")
    cell = study.cells(SMOKE)[0]

    def folder(cell: GridCell = cell, study: Study = study, **changes: object) -> str:
        return cell_directory(cell, config(**changes), study, tmp_path).folder.name

    others = [
        folder(overrides=("clip=5",)), folder(limit=3), folder(train=("shapes:n=25,size=40,labels=own",)),
        folder(test=("shapes:n=4,size=40,seed=2,labels=own",)), folder(replace(cell, job=Train("casm", seed=1))),
        folder(replace(cell, job=Train("casm_l"))), folder(study=replace(study, resize="squash")),
        folder(study=replace(study, columns=(Column("LE", "le", {"alpha": 2.0}),))),
    ]  # fmt: skip
    assert folder() == folder() and len({folder(), *others}) == len(others) + 1


def test_what_cells_train_alike_is_trained_once(tmp_path: Path) -> None:
    """Row n of Phang's Table 1 is row h of Table 4, under another name; also across studies, and after a kill."""
    taps, trainings = Train("phang/table4_h"), tmp_path / "trainings"
    study = two([GridCell("n", Train("phang/n")), GridCell("h", taps), GridCell("g", Train("phang/table4_g"))])
    run_study(study, config(), tmp_path, only=["n"])
    (first,) = trainings.iterdir()
    written = (first / "training" / "masker.safetensors").stat().st_mtime_ns
    found = run_study(replace(study, name="other"), config(), tmp_path)
    assert found.made == 3 and found.numbers["n", "area"].points == found.numbers["h", "area"].points
    assert len(list(trainings.iterdir())) == 2
    assert (first / "training" / "masker.safetensors").stat().st_mtime_ns == written
    (first / "training" / "masker.safetensors").unlink()  # killed between the last checkpoint and the file
    again = run_study(replace(study, name="third"), config(), tmp_path, only=["h"])
    assert again.numbers["h", "area"].value == found.numbers["h", "area"].value
    for other in (config(overrides=("clip=5",)), config(train=("shapes:n=25,size=40,labels=own",))):
        before = len(list(trainings.iterdir()))
        run_study(study, other, tmp_path, only=["n"])
        assert len(list(trainings.iterdir())) == before + 1


def test_references_of_the_checks_are_trained_once(tmp_path: Path) -> None:
    """ROAR's whole and randomly masked pictures, and DRT's classifiers, know nothing of the masker that is checked."""
    study = studies.get("phang-sanity")
    found = run_study(study, config(), tmp_path, only=["FIX ROAR", "CA ROAR", "FIX DRT", "CA DRT"])
    assert found.failures == {}
    (roar,) = (tmp_path / "trainings").glob("roar-*/rows.jsonl")
    trained = [json.loads(line)["method"] for line in roar.read_text().splitlines()[1:]]
    assert {name: trained.count(name) for name in trained} == {
        "none": 2, "random removal": 2, "FIX ROAR": 2, "CA ROAR": 2,
    }  # fmt: skip
    (drt,) = (tmp_path / "trainings").glob("drt-*")
    assert len((drt / "rows.jsonl").read_text().splitlines()) == 1 + 3 and len(list((drt / "maskers").iterdir())) == 6
    alone = run_study(study, config(), tmp_path / "alone", only=["CA ROAR", "CA DRT"])
    for place, number in alone.numbers.items():
        assert number.value == found.numbers[place].value, place
    slower = run_study(study, config(overrides=("masker_lr=2.0e-4",)), tmp_path, only=["FIX DRT"])
    assert slower.failures == {}, "another recipe has folders of its own beside the same classifiers"
    assert len(list((drt / "maskers").iterdir())) == 9


def test_the_page_of_all_studies_in_a_folder(tmp_path: Path) -> None:
    claim = Claim("Everything is bright", lambda table: [Condition("area of a", table["a", "area"], low=0.5)])
    study = replace(two([GridCell("a", Explain("uniform")), GridCell("b", Explain("center"))]), claims=(claim,))
    write_report(run_study(replace(study, name="one", claims=()), config(), tmp_path), tmp_path)
    (tmp_path / "other.json").write_text('{"protocol": {"study": "somebody else\'s"}}')
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "text.json").write_text('{"protocol": "https"}')
    assert write_report(run_study(study, config(), tmp_path, only=["a"]), tmp_path)[-1] == tmp_path / "overview.md"
    assert (tmp_path / "overview.md").read_text().splitlines()[4:] == [
        "| [one](one.md) | smoke | all 2 |  |  |",
        "| [two](two.md) | smoke | 1 of 2 | Everything is bright | holds |",
    ]


def test_the_overview_of_the_published_results() -> None:
    results = Path(__file__).parents[2] / "docs" / "results"
    assert (results / "overview.md").read_text() == overview(results)


def test_seeds_multiply_trainings_only() -> None:
    study = studies.get("dabkowski-gal")
    cells = [cell for cell, _ in grid_cells(study, config(), seeds=3)]
    assert [cell.row for cell in cells].count("Masking model") == 3
    assert [cell.row for cell in cells].count("Max box") == 1
    panel = [cell for cell, _ in grid_cells(studies.get("casm-panel"), config(), seeds=2)]
    assert [[m.seed for _, m in cell.job.maskers] for cell in panel] == [[0, 0], [1, 1]]  # type: ignore[attr-defined]


def test_intervals_over_seeds(tmp_path: Path) -> None:
    found = run_study(studies.get("casm-statistics"), config(), tmp_path, seeds=2, only=["CASM"])
    assert found.made == 2
    number = found.numbers["CASM", "area"]
    assert number.seeds == 2 and number.basis == "seeds" and number.points[0] != number.points[1]


def test_seen_and_unseen_classes_make_up_all_pictures(tmp_path: Path) -> None:
    """Of n pictures one in each class: LE of all is the mean of the two sides, weighed by their classes."""
    wide = config(test=("shapes:n=8,size=40,seed=1,labels=own",), limit=8, overrides=("steps=6",))
    study = replace(
        studies.get("casm-unseen"),
        columns=(Column("area", "area"), Column("all", None), Column("seen", None), Column("unseen", None)),
    )
    found = run_study(study, wide, tmp_path, only=["EF"])
    everything, seen, unseen = (found.numbers["EF", side].value for side in ("all", "seen", "unseen"))
    assert everything == pytest.approx((4 * seen + 4 * unseen) / 8)
    assert seen != unseen


def test_a_packaged_masker_is_taken_where_it_was_trained_like_that() -> None:
    small, full = SCALES["small"], SCALES["full"]
    job = Train("casm", packaged="casm", small="casm_lite0")
    assert job.ready(small) is not None and job.ready(full) is None and job.ready(SMOKE) is None
    assert job.cost(small).steps == 0
    assert job.cost(full).steps == 70 * (int(1_281_167 * 0.2) // 128)


def test_which_pictures_are_trained_on_and_which_are_measured(picture_folder: Path) -> None:
    assert sources_of(["shapes:n=9"], [], SCALES["small"]) == (("shapes:n=9",), ("shapes:n=9,seed=1",))
    assert sources_of(["a"], ["b"], SCALES["small"]) == (("a",), ("b",))
    parted = picture_folder.parent / "parted.zip"
    with zipfile.ZipFile(parted, "w") as archive:
        archive.writestr("top/images.csv", "file,split,imagenet_index\n00.png,train,0\n01.png,test,1\n")
        for name in ("00.png", "01.png"):
            archive.write(picture_folder / "images" / name, f"top/{name}")
    assert sources_of([str(parted)], [], SCALES["small"]) == ((f"{parted}@train",), (f"{parted}@test",))
    for test in (f"{parted}@test", "b"):  # never on its test pictures, whatever is measured on
        assert sources_of([str(parted), "a"], [test], SCALES["small"]) == ((f"{parted}@train", "a"), (test,))
    with pytest.raises(InputError, match="as `data`"):
        sources_of([], [], SCALES["small"])
    with pytest.raises(InputError, match="as `test_data`"):
        sources_of([str(picture_folder)], [], SCALES["small"])


class TestCommand:
    def test_list(self) -> None:
        rows = json.loads(call("study", "--list", "--json", "--scale", "smoke").stdout)
        assert [row["study"] for row in rows] == studies.names()
        asked = {
            "casm-localisation", "casm-ablation", "casm-statistics", "casm-panel", "casm-unseen", "phang-objectives",
            "phang-layers", "phang-infill", "phang-final", "phang-fewshot", "phang-sanity", "sess-faithfulness",
            "sess-pointing", "sess-ablation", "sess-time", "dabkowski-gal", "landscape", "learned", "metric-trust",
        }  # fmt: skip
        assert asked == set(studies.names())
        cells = json.loads(call("study", "casm-ablation", "--list", "--json", "--scale", "smoke").stdout)
        assert [cell["cell"] for cell in cells] == list("ABCDEFGHIJK") and cells[0]["training steps"] == 2

    def test_list_says_what_is_done(self, tmp_path: Path) -> None:
        options = ("--scale", "smoke", "--out", tmp_path)
        assert call("study", "casm-ablation", *options, "--only", "A", "--only", "J", "--seeds", "2").exit_code == 0
        listed = json.loads(call("study", "casm-ablation", "--list", "--json", *options).stdout)
        assert {line["cell"]: line["state"] for line in listed} == {
            row: "done, 2 seeds" if row in "AJ" else "not run" for row in "ABCDEFGHIJK"
        }
        lines = {line["study"]: line for line in json.loads(call("study", "--list", "--json", *options).stdout)}
        assert lines["casm-ablation"]["state"] == "2 of 11 rows, smoke" and lines["casm-ablation"]["minutes"] >= 0
        assert lines["casm-panel"]["state"] == "not run" and lines["casm-panel"]["minutes"] is None
        assert call("study", "casm-panel", *options).exit_code == 0  # one cell, whose rows have other names
        assert call("study", "learned", *options, "--only", "Grad-CAM", "--only", "centre box").exit_code == 0
        found = {
            line["cell"]: line["state"]
            for name in ("casm-panel", "learned")
            for line in json.loads(call("study", name, "--list", "--json", *options).stdout)
        }
        assert found["panel"] == "done" and found["CASM"] == found["CASM: leak"] == "not run"
        assert found["Grad-CAM"] == found["Grad-CAM: leak"] == found["centre box: PxAP"] == "done"
        stored = json.loads((tmp_path / "learned.json").read_text())
        stored["failures"] = {"CASM: leak": "broken", "distilled, seed 1": "broken"}
        del stored["rows"][0]["here"]["leak"]  # Grad-CAM's
        (tmp_path / "learned.json").write_text(json.dumps(stored))
        listed = json.loads(call("study", "learned", "--list", "--json", *options).stdout)
        assert {line["cell"] for line in listed if line["state"] == "failed"} == {"CASM: leak", "distilled"}
        states = {line["cell"]: line["state"] for line in listed}
        assert (states["Grad-CAM"], states["Grad-CAM: PxAP"], states["Grad-CAM: leak"]) == ("done", "done", "not run")

    def test_run(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        options = ("--scale", "smoke", "--out", out, "--device", "cpu")
        result = call("study", "casm-statistics", *options)
        assert result.exit_code == 0, (result.output, result.exception)
        assert "CASM's masks have a lower entropy" in result.stdout and (out / "casm-statistics.md").is_file()
        again = call("study", "casm-statistics", *options, "--json")
        assert {row["row"] for row in json.loads(again.stdout)["rows"]} == {"CASM", "Baseline"}

    def test_a_cell_that_fails(self, tmp_path: Path) -> None:
        result = call(
            "study", "phang-final", "--scale", "smoke", "--out", tmp_path / "o", "--set", "masker_lr=1.0e30",
            "--only", "Best FIX", "--only", "Centre",
        )  # fmt: skip
        assert result.exit_code == 1 and "cell Best FIX, seed 0" in result.stderr
        assert "Centre" in result.stdout

    @pytest.mark.parametrize("options, words", [
        (("casm-ablatoin",), ("casm-ablation",)), (("casm-ablation", "--scale", "huge"), ("smoke", "huge")),
        (("casm-ablation",), ("--data",)), (("casm-ablation", "--scale", "smoke", "--only", "Z"), ("Z", "A, B")),
        (("casm-ablation", "--scale", "smoke", "--precision", "8"), ("--precision",)),
        (("casm-ablation", "--data", "nowhere"), ("nowhere",)),
    ])  # fmt: skip
    def test_refuses(self, tmp_path: Path, options: tuple[str, ...], words: tuple[str, ...]) -> None:
        refused(call("study", *options, "--out", tmp_path / "o"), *words)


def test_steered_lambdas_of_all_rows_begin_alike_and_only_on_a_small_machine() -> None:
    """Thinning L begins at 14 in CASM, a fixed classifier at 2.5; from 14 masks vanish."""
    rows = {name: Train(name) for name in ("casm_l", "casm_baseline", "phang/d", "phang/i")}
    small = {name: job.settings(SCALES["small"]).objectives for name, job in rows.items()}
    full = {name: job.settings(SCALES["full"]).objectives for name, job in rows.items()}
    assert [small[name]["max_entropy"].lambda_r for name in rows] == [2.5, 2.5, 1, 15]
    assert [full[name]["max_entropy"].lambda_r for name in rows] == [14, 2.5, 15, 15]
    assert small["phang/d"]["max_entropy"].tv == 0.001, "total variation shrinks its masks, too"
    assert small["phang/i"] == full["phang/i"], "the masked-in side keeps masks from vanishing"
    packaged = Train("casm", small="casm_lite0").settings(SCALES["small"])
    assert packaged.objectives["max_entropy"].lambda_r == 5, "its recipe says how the packaged one was trained"


def test_at_the_medium_scale_all_maskers_of_a_study_have_one_schedule() -> None:
    """Which taps they read, and what else the rows differ in, stays their recipes'."""
    medium, full = SCALES["medium"], SCALES["full"]
    for name in ("casm-ablation", "phang-objectives", "phang-layers", "phang-infill", "phang-fewshot"):
        seen = set()
        for cell in studies.get(name).cells(medium):
            job = cell.job.of if isinstance(cell.job, OnMasks) else cell.job  # of which it measures a further column
            assert isinstance(job, Train)
            recipe, paper = job.settings(medium), job.settings(full)
            seen.add((job.cost(medium).steps, recipe.batch_size, recipe.input_size, recipe.decoder))
            assert (recipe.taps, recipe.thinning) == (paper.taps, paper.thinning)
            assert list(recipe.objectives) == list(paper.objectives) and job.ready(medium) is None
        assert seen == {(1500, 32, 144, "mixed")}
    assert medium.seeds == 3


def test_the_checks_at_full_scale_cost_what_their_networks_do() -> None:
    """ResNet-50's usual schedule; references and classifiers that two maskers share are counted once in a total."""
    full, network = scale_of("full"), 90 * math.ceil(1_281_167 / 256)
    cells = {cell.row: cell.job for cell in studies.get("phang-sanity").cells(full)}
    masker = cells["FIX MPRT"].cost(full).steps
    assert masker == Train("phang/fix").cost(full).steps > 0
    assert cells["FIX MPRT"].cost(full).maps == 20 * 128
    assert cells["FIX DRT"].cost(full) == JobCost(3 * (network + masker), 3 * 50_000)
    assert cells["FIX ROAR"].cost(full) == JobCost(11 * network + masker, 1_281_167 + 50_000)
    rows = json.loads(call("study", "--list", "--json", "--scale", "full").stdout)
    total = next(row for row in rows if row["study"] == "phang-sanity")["training steps"]
    other = cells["CA MPRT"].cost(full).steps
    assert total == 5 * ((3 + 16) * network + 4 * (masker + other))
    settings = cells["FIX ROAR"]._training(CHECK_SETTINGS["full"])  # type: ignore[attr-defined]
    assert (settings.optimiser, settings.lr, settings.batch_size, settings.augment) == ("sgd", 0.1, 256, True)
    assert not cells["FIX DRT"]._training(CHECK_SETTINGS["full"]).augment  # type: ignore[attr-defined]
    assert cells["FIX ROAR"]._training(CHECK_SETTINGS["small"]) == SmallTraining(epochs=30)  # type: ignore[attr-defined]


def test_the_landscape_has_every_method_that_the_packaged_classifier_takes() -> None:
    rows = {cell.row for cell in studies.get("landscape").cells(scale_of("small"))}
    classifier, fits = mw.load_classifier(), set()
    for name in methods.names():
        with suppress(mw.InputError):
            mw.explainer(name, classifier)
            fits.add(name)
    assert {row for row in rows if "SESS" not in row} == fits
    assert {"excited_casm", "gated_casm", "distilled"} < fits and not fits & {"fast_shap", "legrad"}


def test_the_landscape_at_full_scale_has_no_masker_of_another_network() -> None:
    cells = {name: studies.get("landscape").cells(scale_of(name)) for name in ("small", "full")}
    rows = {name: {cell.row for cell in found} for name, found in cells.items()}
    assert rows["small"] - rows["full"] >= {"casm", "casm_baseline", "dabkowski_gal", "casm + SESS"}
    assert all(cell.job.limit == 2000 for cell in cells["full"])  # type: ignore[attr-defined]
