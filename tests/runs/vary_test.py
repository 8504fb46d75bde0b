# SPDX-License-Identifier: Apache-2.0
"""Which randomness a seed owns: streams that stay, and splits that are drawn."""

import dataclasses
import shutil

import numpy as np
import pytest
import tiny
from stopped import FILES, content, gone_on

from nnlab import data, results
from nnlab.cluster import chunks
from nnlab.data import transforms
from nnlab.data.drawing import Drawing
from nnlab.results import pictures
from nnlab.runs import experiment, loop, rerun, saved_network
from nnlab.statistics.findings import Findings
from nnlab.study import OWNED, MovedSets
from nnlab.training import place
from nnlab.training.program import SPLITS

pytestmark = pytest.mark.slow

DRAWN = (*OWNED, "split")
STUDY = dataclasses.replace(
    tiny.study(
        [
            *tiny.rates(0.1, 0.3),
            {"model.hidden": (4,), "train_size": 60},
            {"model.name": "boosted_trees", "model.num_trees": 2},
        ],
        num_seeds=3,
    ),
    vary=DRAWN,
    figures=("curves", "confusion"),
)
METRICS = [f"{split}_{kind}" for split in SPLITS for kind in ("accuracy", "loss")]


KEPT = place.Kept()
"""Programs, compiled once for all tests."""


def run(folder, study=STUDY, lane_width=2, **options):
    """Runs in lanes of two networks of one seed, so that equal runs are equal."""
    KEPT.loaded = {}  # data are checked in each run
    # What a seed draws has the digest of the whole, so KEPT would take it for the same.
    kept = None if "dataset" in options else KEPT
    given = {"dataset": tiny.dataset(), "kept": kept} | options
    return experiment.run(study, folder, lane_width=lane_width, **given)


def all_of(workdir):
    return content(workdir, (*FILES, pictures.FILE))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder, visits = tmp_path_factory.mktemp("whole") / "run", []
    return run(folder, on_progress=visits.append), len(visits)


def rows(found, seed):
    table = found.curves.to_pylist()
    return [
        {name: row[name] for name in ("trial", "step", *METRICS)}
        for row in table
        if row["seed"] == seed
    ]


@pytest.mark.parametrize("parts", [SPLITS, SPLITS[:2]], ids=["all", "published test"])
def test_a_network_is_that_of_a_data_set_made_by_hand(whole, tmp_path, parts):
    """To the last bit: trees and networks, their curves and their confusion."""
    found, seed, study = whole[0], 2, STUDY
    if parts != SPLITS:
        study = dataclasses.replace(STUDY, vary=(*OWNED, "split=published"))
        found = run(tmp_path / "published", study)
    drawing = Drawing.of(tiny.dataset(), parts, study.root_seed)
    for index, size in ((0, 0), (2, 60)):
        mine = drawing.limit(size).dataset(tiny.dataset(), seed)
        plain = dataclasses.replace(study, vary=OWNED)
        plain = dataclasses.replace(plain, base=plain.base.replace({"train_size": 0}))
        sweep = [{**item, "train_size": 0} for item in study.sweep]
        keep = (0, 1, 3) if index == 0 else (2,)
        plain = dataclasses.replace(plain, sweep=tuple(sweep[i] for i in keep))
        alone = run(tmp_path / f"{size}", plain, dataset=mine)
        wanted = [{**row, "trial": keep[row["trial"]]} for row in rows(alone, seed)]
        got = [row for row in rows(found, seed) if row["trial"] in keep]
        assert got == wanted
        shown, there = (pictures.load(r.workdir) for r in (found, alone))
        for i, trial in enumerate(keep):
            ours, theirs = shown.confusion[trial], there.confusion[i]
            assert np.array_equal(ours[seed], theirs[seed])


def test_seeds_have_other_examples_and_the_same_shares(whole):
    found = whole[0]
    (told,) = found.config["datasets"].values()
    labels = pictures.load(found.workdir).confusion[0].sum(axis=2)
    assert labels.sum(axis=1).tolist() == [told["test"]] * 3
    assert np.ptp(labels, axis=0).max() == 0
    assert found.config["study"]["vary"] == list(DRAWN)


def test_it_goes_on_and_repeats_to_the_last_bit(whole, tmp_path):
    found, visits = whole

    def again(folder, **options):
        return run(folder, checkpoint_seconds=0.0, **options)

    workdir, *_ = gone_on(again, tmp_path, visits // 2)
    assert all_of(workdir) == all_of(found.workdir)
    assert rerun.rerun(workdir, 0, 2, dataset=tiny.dataset()).is_equal


def test_added_seeds_draw_further_splits(whole, tmp_path):
    found = whole[0]
    few = dataclasses.replace(STUDY, num_seeds=2)
    run(tmp_path / "few", few)
    more = run(tmp_path / "few", resume=True)
    for seed in range(3):
        first, second = (
            sorted(rows(one, seed), key=lambda row: (row["trial"], row["step"]))
            for one in (found, more)
        )
        for one, other in zip(first, second, strict=True):
            assert one == pytest.approx(other, abs=1e-4)
    confusion = [pictures.load(one.workdir).confusion[3] for one in (found, more)]
    assert np.array_equal(*confusion)


class Chunks:
    """Trains chunks of one network or two, in this process."""

    def cut(self, programs, lane_width):
        return [c for p in programs for c in chunks.cut(p.members, 2, *self._lane(p))]

    def _lane(self, program):
        return (program.lanes.trials, program.lanes.seeds) if program.lanes else ()

    def train(self, work):
        for program in work.programs:
            loop.train(program, work.run)


def test_chunks_change_no_byte(tmp_path):
    """A chunk's first seed is not 0: it draws its own examples all the same."""
    small = {"dataset": "digits", "train_size": 200, "num_epochs": 2}
    study = tiny.study(tiny.rates(0.1, 0.3), num_seeds=3, **small)
    study = dataclasses.replace(
        study, vary=DRAWN, eval_size=50, figures=("confusion", "weights")
    )
    one = run(tmp_path / "one", study, dataset=None)
    cut = run(tmp_path / "cut", study, dataset=None, executor=Chunks())
    assert [c["first_seed"] for c in cut.config["cohorts"]] == [0, 1, 2]
    assert [rows(cut, seed) for seed in range(3)] == [rows(one, s) for s in range(3)]
    files = (tmp_path / name / pictures.FILE for name in ("one", "cut"))
    assert len({file.read_bytes() for file in files}) == 1


def test_other_splits_are_another_study(whole, tmp_path):
    copy = shutil.copytree(whole[0].workdir, tmp_path / "copy")
    with pytest.raises(ValueError, match=r"vary was .*'split'.* and is "):
        run(copy, dataclasses.replace(STUDY, vary=OWNED), resume=True)
    assert results.load(copy).study.vary == DRAWN


def test_moved_sets_are_of_each_seeds_own_test_images(tmp_path):
    """Also along the curve, by half of the examples, and as the saved network says."""
    sets = MovedSets(moved_pixels=1)
    small = {"dataset": "digits", "train_size": 320, "num_epochs": 2}
    study = tiny.study(num_seeds=2, **small)
    study = dataclasses.replace(
        study, vary=DRAWN, test_sets=sets, eval_size=180, figures=("gallery",)
    )
    found = run(tmp_path / "run", study, dataset=None)
    drawing = Drawing.of(data.load("digits"), SPLITS, 0, eval_size=180)
    moved = transforms.moved(drawing.pool.inputs, 1)
    for seed in range(2):
        network = saved_network.of_member(found.workdir, 0, seed)
        picked = drawing.indices(seed)["test"]
        for column, inputs in (("", drawing.pool.inputs), ("_moved", moved)):
            said = network.codes(inputs[picked]) == drawing.pool.labels[picked]
            final = Findings(found).final(0, f"test{column}_accuracy")
            assert final[seed] == said.mean()
    stored = pictures.load(found.workdir)
    assert stored.gallery is stored.mistakes is stored.examples is None
    sets = dataclasses.replace(sets, along_curve=True)
    along = dataclasses.replace(study, test_sets=sets, figures=())
    other = run(tmp_path / "along", along, dataset=None)
    name = "test_moved_accuracy"
    finals = [Findings(one).final(0, name) for one in (found, other)]
    assert np.array_equal(*finals)


def test_a_frozen_backbone_gives_the_pools_features(tmp_path):
    """The probe of a seed is that of the data set made by hand."""
    h = {"dataset": "digits", "train_size": 200, "num_epochs": 2}
    h |= {"transfer.mode": "probing", "transfer.source": "real_or_generated:digits"}
    h |= {"transfer.train_size": 64, "transfer.num_epochs": 1}
    study = dataclasses.replace(tiny.study(**h), vary=DRAWN, figures=("confusion",))
    found = run(tmp_path / "drawn", study, dataset=None)
    digits = data.load("digits")
    mine = Drawing.of(digits, SPLITS, 0).limit(200).dataset(digits, 1)
    plain = dataclasses.replace(
        study, vary=OWNED, base=study.base.replace({"train_size": 0})
    )
    assert rows(run(tmp_path / "hand", plain, dataset=mine), 1) == rows(found, 1)


def test_a_backbone_that_saw_the_test_examples_is_refused(tmp_path):
    h = {"dataset": "digits", "transfer.mode": "tuning", "transfer.source": "digits"}
    study = dataclasses.replace(tiny.study(**h), vary=DRAWN)
    with pytest.raises(ValueError, match="digits' is the data set itself"):
        run(tmp_path / "run", study, dataset=None)
