"""Pictures through explainers through metrics, one batch after another; what is on disk is not computed again."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.allocator import give_back_freed_memory
from maskwise.core.code_digest import code_of_own
from maskwise.core.errors import InputError
from maskwise.core.portions import Portions, out_of_memory, smaller_batch
from maskwise.core.spread import evenly_spread
from maskwise.core.text import utf8
from maskwise.data import DataSet, read_data
from maskwise.data.class_order import other_order
from maskwise.data.damaged import damaged_line
from maskwise.evaluation.batch import Batch
from maskwise.evaluation.contender import Contender, made_for, map_digest
from maskwise.evaluation.given_data import given_data
from maskwise.evaluation.given_maps import GivenMaps
from maskwise.evaluation.items import class_asked
from maskwise.evaluation.loader import Settings, batches
from maskwise.evaluation.maps import MapFolder
from maskwise.evaluation.measured import MEASURED, MEGABYTES, SECONDS, WARNING, Measured
from maskwise.evaluation.memory import PeakMemory
from maskwise.evaluation.processes import gathered, merged, rank_and_world
from maskwise.evaluation.store import Rows, key_of
from maskwise.explainers.base import Explainer
from maskwise.explainers.doubts import flat_map, handed_on, other_classifier
from maskwise.measures import Metric
from maskwise.measures.shared_scores import shared_scores
from maskwise.sess.sweep import AnyExplainer

Explained = tuple[list[int], Tensor, dict[str, Tensor], float, float]  # rows of a batch, and what ``_maps`` gives


def measure(
    contenders: Sequence[Contender],
    classifier: Classifier,
    data: Sequence[str | DataSet],
    metrics: Mapping[str, Metric],
    settings: Settings | None = None,
    out: Path | None = None,
    save_maps: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Measured:
    """Measures every contender on every picture by every metric.

    Where ``torch.distributed`` is initialised each process takes every n-th picture, nothing is padded, and all of
    them return the rows of all. They may share ``out``, and so may evaluations that run at the same time.

    Where memory is not enough for a batch, an ``Explainer`` gets smaller ones, with a warning; no map depends on that.

    Args:
        contenders: explainers under names that differ.
        classifier: what they explain, and whose top class is the target.
        data: sources as ``read_data`` takes them, or data sets.
        metrics: by name.
        settings: how pictures are brought to the classifier.
        out: folder for ``rows.db``; rows already there are taken as they are. None keeps nothing. Of a function whose
            code can't be read nothing is kept either, with a warning: an edited one would get the old rows. One that
            asks for ids is called each time, as maps are read, and rows are taken of maps that are the same.
        save_maps: keep the maps below ``out``, too; maps already there are not made again.
        progress: called with (done, total), in pictures times contenders.

    Raises:
        InputError: two contenders of one name, no contenders, or what reading, explaining and measuring raise.
    """
    settings = settings or Settings()
    names = [contender.name for contender in contenders]
    if not names or len(set(names)) < len(names):
        raise InputError("a comparison needs at least one method, and each only once")
    asked = class_asked(settings.target, classifier)  # an unknown one is said before anything is read
    rank, world = rank_and_world()
    given = given_data(contenders, [s if isinstance(s, DataSet) else read_data(s) for s in data], settings)
    contenders, sets = given.contenders, given.sets
    chosen = [evenly_spread(len(s), settings.limit)[rank::world] for s in sets]
    measured = Measured(classifier.name, metrics, settings, contenders, sets=sets, size=classifier.size)
    measured.foreign = [c.name for c in contenders if _is_foreign(c.explainer, classifier)]
    total, before = sum(map(len, chosen)) * len(contenders), 0
    portions = {contender.name: Portions() for contender in contenders}
    who = classifier.digest()
    keep = MapFolder(out / "maps" if out is not None and save_maps else None)
    for contender in contenders:
        if contender.unread is not None and out is not None:
            warnings.warn(f"{contender.name}: {contender.unread}, so its rows are not kept", stacklevel=2)
    h, w = classifier.size
    size = h if h == w else [h, w]  # of squares a number, as rows had before there were other shapes
    with Rows(out) as kept, Rows(None) as forgotten:
        stores = {c.name: (kept, keep) if c.unread is None else (forgotten, MapFolder(None)) for c in contenders}
        runs = {
            c.name: stores[c.name][0].run(
                # A class by its index: a name may be another class's where labels are others.
                {"classifier": who, "explainer": c.filed, "resize": settings.resize,
                 "target": settings.target if asked is None else asked, "size": size,
                 **_others(c.explainer, classifier)}
            )
            for c in contenders
        }  # fmt: skip
        atoms = {_key(atom, classifier): atom for metric in metrics.values() for atom in _atoms(metric)}
        marks: dict[str, dict[str, str]] = {c.name: {} for c in contenders}
        for number, (data_set, indices) in enumerate(zip(sets, chosen, strict=True)):
            source, places = _name(data_set, measured.pictures), list[tuple[int, int]]()
            pictures = measured.pictures.setdefault(source, [])
            if number in given.left_out:
                measured.left_out[source] = given.left_out[number]
            if (line := other_order(data_set, classifier.labels, classifier.name)) is not None:
                measured.other_order[source] = line
            damaged: dict[int, str] = {}
            for batch, own, done in batches(data_set, indices, classifier, settings, damaged):
                pictures += batch.keys
                places += own
                with shared_scores():  # what is asked of the pictures alone serves all methods
                    for i, contender in enumerate(contenders, 1):
                        sizes = portions[contender.name]
                        if contender.name not in measured.seen:
                            give_back_freed_memory()  # what others left would hide what this one takes
                        rows, maps = stores[contender.name]
                        made, keys = _measure(
                            contender, batch, atoms, rows, runs[contender.name], maps, classifier, sizes
                        )
                        marks[contender.name] |= zip(batch.keys, keys, strict=True)
                        measured.seen[contender.name] = measured.seen.get(contender.name, 0) + made
                        if progress is not None:
                            progress((before + done.start) * len(contenders) + len(done) * i, total)
            before += len(indices)
            found = {}
            for name, run in runs.items():
                read, filed = stores[name][0].read, [marks[name][picture] for picture in pictures]
                for metric_name, metric in metrics.items():
                    atom_keys = [_key(atom, classifier) for atom in _atoms(metric)]
                    found[name, metric_name] = torch.cat([read(run, key, filed) for key in atom_keys], 1)
                found |= {(name, key): read(run, key, filed) for key in MEASURED}
            measured.pictures[source], together = merged(gathered((places, pictures, found)))
            measured.statistics |= {(source, *names): statistics for names, statistics in together.items()}
            passed_over = {i: why for theirs in gathered(damaged) for i, why in theirs.items()}
            if passed_over:
                whose = {utf8(data_set.records[i].id): passed_over[i] for i in sorted(passed_over)}
                measured.damaged[source] = whose
                if not measured.pictures[source]:
                    raise InputError(f"{source}: none of its pictures can be read; {damaged_line(whose)}")
    return measured


def _atoms(metric: Metric) -> list[Metric]:
    """The metrics whose rows are kept: the parts of one that is put together of others, or itself."""
    return list(metric.parts()) or [metric]


def _key(metric: Metric, classifier: Classifier) -> str:
    """What rows of a metric are filed under: its kind, settings and revision; one of yours by its code, too.

    Where it asks a classifier that sees pictures at another size than ``classifier``, by that size.
    """
    protocol = metric.protocol()
    judge = getattr(metric, "classifier", None)
    if isinstance(judge, Classifier) and judge.size != classifier.size:
        protocol["size"] = list(judge.size)
    if (code := code_of_own(type(metric))) is not None:
        protocol["code"] = code
    if metric.revision > 1:  # what was filed before there were any has the first
        protocol["revision"] = metric.revision
    return f"{type(metric).__name__}:{key_of(protocol)}"


def _measure(
    contender: Contender,
    batch: Batch,
    metrics: Mapping[str, Metric],
    rows: Rows,
    run: str,
    folder: MapFolder,
    classifier: Classifier,
    portions: Portions,
) -> tuple[int, list[str]]:
    """Makes the maps of a batch and the rows, by a metric's key, that are missing.

    Returns:
        How many maps were made, and what each item's rows are filed under.
    """
    keys, parts = batch.keys, list[Explained]()
    if contender.takes_ids:
        parts = _explained(contender, batch, list(range(len(keys))), classifier, portions)
        keys = [f"{key}~{map_digest(one)}" for key, one in zip(keys, torch.cat([p[1] for p in parts]), strict=True)]
    missing = {name: [i for i, key in enumerate(keys) if key not in rows.known(run, name)] for name in metrics}
    wanted = unmade = sorted({i for indices in missing.values() for i in indices})
    if not wanted:
        return 0, keys
    entries: list[tuple[str, str, Tensor]] = []
    stored = dict[int, Tensor]()
    if not contender.takes_ids:
        stored = {i: saliency for i in wanted if (saliency := folder.read(run, keys[i])) is not None}
        timed = rows.known(run, SECONDS)
        # All of them where one is missing, or was kept by a run that ended before its rows were: what is made in other
        # company differs in the last bits.
        unmade = wanted if any(i not in stored or keys[i] not in timed for i in wanted) else []
        parts = _explained(contender, batch, unmade, classifier, portions) if unmade else []
    for rows_made, made, doubted, seconds, megabytes in parts:
        for kind, where in doubted.items():
            entries += [(WARNING[kind], keys[rows_made[k]], torch.ones(1)) for k in where.nonzero()[:, 0].tolist()]
        for i, saliency in zip(rows_made, made, strict=True):
            stored[i] = saliency
            folder.write(run, keys[i], saliency)
            entries.append((SECONDS, keys[i], torch.tensor([seconds])))
            entries.append((MEGABYTES, keys[i], torch.tensor([megabytes])))
    for name, indices in missing.items():
        metric = metrics[name]
        able = [i for i in indices if all(batch.has(need)[i] for need in metric.needs)]
        if able:
            maps = torch.stack([stored[i] for i in able])
            statistics = metric.per_image(maps, **batch.truth([*metric.needs, *metric.takes], able))
            entries += [(name, keys[i], row) for i, row in zip(able, statistics, strict=True)]
        # An empty row says that there is nothing to say, so that nobody asks again.
        entries += [(name, keys[i], torch.zeros(0)) for i in indices if i not in able]
    rows.write(run, entries)
    return len(unmade), keys


def _explained(
    contender: Contender, batch: Batch, wanted: list[int], classifier: Classifier, portions: Portions
) -> list[Explained]:
    """Rows and what ``_maps`` says of them, in as few portions as memory takes."""

    def work(part: slice) -> Explained:
        return wanted[part], *_maps(contender, batch, wanted[part], classifier)

    if isinstance(contender.explainer, Explainer):
        return portions(work, len(wanted), smaller_batch(contender.explainer))
    try:
        return [work(slice(None))]  # whether a plain function's maps depend on their company, nobody knows
    except (RuntimeError, MemoryError) as error:
        if out_of_memory(error):
            raise InputError(f"{contender.name}: out of memory; explain fewer pictures at once (`batch`)") from None
        raise


def _maps(
    contender: Contender, batch: Batch, rows: list[int], classifier: Classifier
) -> tuple[Tensor, dict[str, Tensor], float, float]:
    """Maps (n,H,W), which of them are doubted (n,) by kind, seconds a picture, and megabytes at the peak.

    Raises:
        InputError: no maps (n,H,W) in [0,1].
    """
    images, targets = batch.images[rows].to(classifier.device), batch.targets[rows].to(classifier.device)
    with PeakMemory(classifier.device) as memory, handed_on():
        if isinstance(contender.explainer, Explainer):  # what is asked once is no part of a map's time
            contender.explainer.ask_once(images[:1])
        began = time.perf_counter()
        maps = contender.explain(images, targets, [batch.items[i].sample.id for i in rows])
        if classifier.device.type == "cuda":
            torch.cuda.synchronize(classifier.device)
        seconds = (time.perf_counter() - began) / len(rows)
    maps = torch.as_tensor(maps).detach().float().cpu()
    if maps.shape != (len(rows), *images.shape[-2:]):
        raise InputError(
            f"{contender.name} must give maps {(len(rows), *images.shape[-2:])}, and gave {tuple(maps.shape)}"
        )
    if not isinstance(contender.explainer, Explainer) and not ((maps >= 0) & (maps <= 1)).all():
        raise InputError(f"{contender.name} must give maps in [0,1]")
    doubted = _doubted(contender.explainer, maps)
    if isinstance(contender.explainer, GivenMaps):  # what reading a file takes says nothing of the method
        return maps, doubted, math.nan, math.nan
    return maps, doubted, seconds, memory.megabytes


def _doubted(explainer: AnyExplainer, maps: Tensor) -> dict[str, Tensor]:
    """(n,) by kind: what the explainer says of its maps (n,H,W), and what can be seen of others'."""
    if not isinstance(explainer, Explainer):
        return {"flat_map": flat_map(maps[:, None])[:, 0]}
    return {kind: where.cpu().expand(len(maps)) for kind, where in explainer.doubted.items()}


def _others(explainer: AnyExplainer, classifier: Classifier) -> dict[str, list[str]]:
    """Of an explainer of other classifiers than the judge, who they are."""
    others = made_for(explainer, classifier)
    return {"made for": others} if others else {}


def _is_foreign(explainer: AnyExplainer, classifier: Classifier) -> bool:
    own = explainer.classifier if isinstance(explainer, Explainer) else classifier
    return own is not classifier and other_classifier(own.fingerprint(), classifier)


def _name(data_set: DataSet, taken: Mapping[str, Any]) -> str:
    """The source without its folders; numbered where two are called alike."""
    short = utf8(data_set.name).replace("\\", "/").rsplit("/", 1)[-1]
    name, number = short, 2
    while name in taken:
        name, number = f"{short} ({number})", number + 1
    return name
