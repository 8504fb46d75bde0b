# SPDX-License-Identifier: Apache-2.0
"""The short Python API: studies from plain values, runs, what they found."""

import json
import os
import re
import signal
import subprocess
import sys
import traceback

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import tiny

import nnlab
from nnlab import api, results
from nnlab.study import Study

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compiled_fast")]

RATE = tiny.RATE
FIELDS = {"batch_size": 16, "num_epochs": 2, "num_seeds": 3, "model": {"hidden": (8,)}}


class Own(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        return nn.Dense(3)(nn.tanh(nn.Dense(5)(x)))


def second_guess(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Whether the second largest logit is the right one."""
    return jnp.argsort(logits, axis=1)[:, -2] == labels


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return nnlab.run(
        FIELDS,
        question="Is <b>0.3</b> better?",
        workdir=tmp_path_factory.mktemp("api") / "run",
        dataset=tiny.dataset(),
        own_metrics={"second": second_guess},
        sweep={RATE: np.array([0.1, 0.3]), "optimizer.momentum": (0.0, 0.9)},
        show=False,
    )


def test_what_networks_said_of_each_example(found, tmp_path):
    size = tiny.SIZES["test"]
    for outcome in (found, nnlab.load(found.workdir)):
        right = outcome.correct("test")
        assert (right.dtype, right.shape) == (bool, (4, 3, size))
        ends = outcome.curves().query("epoch == epoch.max()").test_accuracy
        np.testing.assert_array_equal(right.mean(axis=2).ravel(), ends)
    allowed = "did you mean 'test'\\? allowed: validation, test$"
    with pytest.raises(ValueError, match=f"said of 'tests'; {allowed}"):
        found.correct("tests")
    other = nnlab.run(
        {"train_size": 64, "num_epochs": 1, "num_seeds": 1, "model": {"hidden": (4,)}},
        sweep={"dataset": ["digits", "map"]},
        workdir=tmp_path / "run",
        show=False,
    )
    with pytest.raises(ValueError, match=r"take those of one by results.correct\(tri"):
        other.correct("test")
    assert other.results.correct(1, "test").shape != (1, size)


def test_a_run_outlives_a_change_of_the_current_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    found = nnlab.run(
        FIELDS,
        dataset=tiny.dataset(),
        on_progress=lambda _: os.chdir(tmp_path / "elsewhere"),
    )
    assert capsys.readouterr().out.startswith("compiling | 0%")
    name = str(found.workdir.relative_to(tmp_path))
    assert re.fullmatch(r"runs/20\d\d-\d\d-\d\d_\d\d-\d\d-\d\d", name)
    assert found.report().path == tmp_path / name / "report.html"
    assert found.network().input_shape == (6,)
    assert nnlab.load(f"../{name}").workdir.samefile(found.workdir)
    assert not list(tmp_path.glob("elsewhere/*"))
    with pytest.raises(ValueError, match="workdir='' is empty"):
        nnlab.run(FIELDS, workdir="")


# ---- Studies from plain values.


def test_a_study_is_the_same_whichever_way_it_is_written(tmp_path):
    wanted = Study.from_dict(
        {
            "num_seeds": 3,
            "model": {"hidden": (16,), "activation": "tanh"},
            "sweep": [{RATE: 0.1, "batch_size": b} for b in (8, 16)],
        }
    )
    axes = {RATE: [0.1], "batch_size": [8, 16]}
    model = {"hidden": (16,), "activation": "tanh"}
    path = tmp_path / "study.json"
    path.write_text(json.dumps(wanted.to_dict()))
    for made in (
        nnlab.define(num_seeds=3, model=model, sweep=axes),
        nnlab.define({"num_seeds": 3, "model": model}, sweep=axes),
        nnlab.define({"model": model}, num_seeds=3, sweep=list(wanted.sweep)),
        nnlab.define(
            model={"activation": "tanh"},
            **{"model.hidden": (16,), "num_seeds": 3, "sweep": axes},
        ),
        nnlab.define(nnlab.define(model=model, sweep=axes), num_seeds=3),
        nnlab.define(path),
        nnlab.define(str(path)),
    ):
        assert made == wanted


def test_the_study_of_a_run_can_be_taken_up(found):
    assert nnlab.define(found.workdir) == found.study
    assert nnlab.define(found.workdir / results.CONFIG) == found.study


@pytest.mark.parametrize("text", ["", "7", "[]", "[" * 100_000])
def test_a_file_that_holds_no_study_is_named(tmp_path, text):
    file = tmp_path / "study.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"study\.json' holds no study as JSON"):
        nnlab.define(file)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_seedz": 3}, "unknown field 'num_seedz'; did you mean 'num_seeds'"),
        ({"hidden": 3}, "unknown field 'hidden'; did you mean 'model.hidden'"),
        ({"model": {"hiden": 3}}, "unknown field 'model.hiden'; did you mean 'hidden"),
        (
            {"sweep": {"optimizer.rate": [1]}},
            "unknown field 'optimizer.rate' of",
        ),
        ({"sweep": {"batch_size": 3}}, "needs a list of values, not 3"),
        ({"sweep": {"model.name": "mlp"}}, "needs a list of values, not 'mlp'"),
        ({"sweep": {"batch_size": []}}, "has no values"),
        ({"num_seeds": 0}, "num_seeds=0 must be at least 1"),
        ({"loss": "hing"}, "'hing' is no loss; did you mean 'hinge'"),
        ({"probes": "sharpnes@5"}, "no 'sharpnes'; did you mean 'sharpness'"),
        ({"dataset": (np.zeros(3),)}, "dataset holds 1 array: it needs"),
        (
            {"claims": ["test_secnd() > 0"], "own_metrics": {"second": second_guess}},
            "unknown column 'test_secnd'; did you mean 'test_second'",
        ),
        ({"claims": "test_accuracy() > 0"}, "is not a tuple"),
        ({"own_metrics": {"a b": second_guess}}, "metric 'a b' needs a name"),
        ({"own_metrics": {"my_loss": second_guess}}, "ends as nnlab's own 'loss' does"),
        ({"own_metrics": {3: second_guess}}, "metric 3 needs a name of letters"),
        ({"own_metrics": [second_guess]}, "own_metrics=.* is no mapping"),
        ({"own_metrics": {"m": 3}}, "metric 'm' is 3, not a function"),
        ({"own_metrics": {"m": lambda x, y: x}}, r"'m' returns shape \(2, 10\) for 2"),
        ({"own_metrics": {"m": lambda x: x}}, "metric 'm' fails: TypeError: "),
        ({"own_metrics": {"m": lambda x, y: x.mean()}}, "such as F1, is none"),
        (
            {"early_stopping": {"metric": "validation_m"}},
            "knows validation_loss and validation_accuracy, and no metric of one's",
        ),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(fields, message, tmp_path):
    with pytest.raises(ValueError, match=message) as caught:
        nnlab.run(workdir=tmp_path / "run", show=False, **fields)
    assert not (tmp_path / "run").exists()
    assert "\n" not in str(caught.value)
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert [frame.name for frame in frames[1:]] == ["called"]
    assert caught.value._render_traceback_() == [f"ValueError: {caught.value}"]


def test_a_bug_keeps_its_traceback(monkeypatch, tmp_path):
    def broken(*args, **kwargs):
        return np.zeros(3).reshape(2)

    monkeypatch.setattr(api, "_dataset", broken)
    with pytest.raises(ValueError, match="cannot reshape") as caught:
        nnlab.run(workdir=tmp_path, show=False)
    names = [f.name for f in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-1] == "broken"
    assert not hasattr(caught.value, "_render_traceback_")


def test_results_are_not_written_over(found):
    with pytest.raises(FileExistsError, match=r"or go on with them \(resume=True\)"):
        nnlab.run(found.study, workdir=found.workdir, show=False)


# ---- What a run found.


def test_tables_say_which_settings_they_are_of(found):
    curves, members = found.curves(), found.members()
    assert len(curves) == 4 * 3 * 3
    assert len(members) == 4 * 3
    settings = ["label", RATE, "optimizer.momentum"]
    assert list(curves.columns[:4]) == ["trial", *settings]
    last = curves[(curves.trial == 3) & (curves.seed == 1)].iloc[-1]
    assert (last[RATE], last["optimizer.momentum"]) == (0.3, 0.9)
    stored = found.results.curve(3, "test_accuracy").values[1, -1]
    assert last["test_accuracy"] == stored
    summary = found.summary()
    assert summary.index.tolist() == [0, 1, 2, 3]
    assert summary["best"].tolist() == [t == found.best for t in range(4)]
    assert set(settings) < set(summary.columns)
    assert not {"batch_size", "model.hidden", "id"} & set(summary.columns)
    assert isinstance(summary, pd.DataFrame)


def test_a_metric_of_ones_own_is_a_column_like_others(found):
    network, test = found.network(2, 1), tiny.dataset().test
    second = np.argsort(network.probabilities(test.inputs), axis=1)[:, -2]
    measured = found.results.curve(2, "test_second").values[1, -1]
    assert np.mean(second == test.labels) == pytest.approx(measured, abs=1e-6)
    mean = found.results.curve(2, "test_second").values[:, -1].mean()
    assert found.summary().loc[2, "test_second_mean"] == pytest.approx(mean)
    assert "test second" in found._repr_html_()
    page = found.report().path.read_text()
    assert "Validation second against epochs" in page


def test_claims_in_a_line_are_tested_cited_and_asked_of_a_finished_run(tmp_path):
    first, second = "test_accuracy() > chance", "test_second() < 100 %"
    found = nnlab.run(
        FIELDS,
        dataset=tiny.dataset(),
        own_metrics={"second": second_guess},
        claims=[first],
        workdir=tmp_path / "run",
        show=False,
    )
    (claim,) = found.study.claims
    assert (claim.text, claim.main) == (first, True)
    assert found.cite().count(f"“{first}”") == 1
    more = nnlab.load(found.workdir).ask(first, second)
    assert [v.asked_after for v in more.findings.verdicts] == [False, True]
    assert nnlab.load(found.workdir).study == found.study
    with pytest.raises(ValueError, match="unknown column 'test_third'"):
        more.ask("test_third() > 0")


def test_plots_are_figures_with_captions(found, tmp_path):
    for what, count in (("train_loss", 1), ("validation_second", 1), ("curves", 4)):
        plot = found.plot(what)
        assert len(plot.sketches) == count
        shown = plot._repr_html_()
        assert shown.count("data:image/png;base64,") == count
        assert "<figcaption" in shown
    assert found.plot("test_loss", x="step").figure.axes[0].get_xlabel() == "steps"
    names = {path.name for path in found.plot("final").save(tmp_path)}
    assert names == {"final_test_accuracy.png", "final_test_accuracy.svg"}
    (path,) = found.plot("final").save(tmp_path / "slide", "pdf", size="slide")
    assert b"/MediaBox [ 0 0 720 403.2 ]" in path.read_bytes()  # 10 x 5.6 inches
    with pytest.raises(ValueError, match="did you mean 'column'"):
        found.plot("final").save(tmp_path, size="colum")
    with pytest.raises(ValueError, match="dpi=0: from 30"):
        found.plot("final").save(tmp_path, dpi=0)
    for what, message in {
        "finale": "nothing to plot: 'finale'; did you mean 'final'",
        "confusion": "'confusion' is drawn where the study asks for it",
        "severity": "'severity' cannot be drawn: no image was moved",
        "costs": "nothing to plot: 'costs'",
    }.items():
        with pytest.raises(ValueError, match=message):
            found.plot(what)


def test_tables_are_texts_for_other_documents(found):
    for form, start in (("markdown", "| trial |"), ("latex", r"\begin{tabular}{l")):
        assert found.table(form=form).startswith(start)
    assert "\t" in found.table("how", form="tsv").splitlines()[0]
    with pytest.raises(ValueError, match="no table 'comparisn'; did you mean"):
        found.table("comparisn")


def test_it_shows_itself(found):
    shown = found._repr_html_()
    assert "Is &lt;b&gt;0.3&lt;/b&gt; better?" in shown
    assert "<b>" not in shown
    assert shown.count("<img ") == 1
    assert "4 trials x 3 seeds = 12 networks" in shown
    assert repr(found).splitlines()[0] == "Is <b>0.3</b> better?"
    assert all(sentence in repr(found) for sentence in found.answer)
    frame = found.report()._repr_html_()
    assert re.fullmatch(r'<iframe [^<>]* srcdoc="[^"<>]*"></iframe>', frame)


def test_a_finished_run_is_read_without_jax(found):
    code = (
        "import sys, nnlab\n"
        f"found = nnlab.load({str(found.workdir)!r})\n"
        "found.summary(), found.plot(), found._repr_html_(), found.report()\n"
        "print(found.best)\n"
        "assert 'jax' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(found.best)


def test_arrays_and_a_module_of_ones_own(tmp_path):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(200, 4)).astype(np.float32)
    labels = np.where(points[:, 0] > 0, "right", "left")
    labels = np.where(points[:, 1] > 1, "above", labels)
    ran = nnlab.run(
        FIELDS,
        dataset=(points, labels),
        module=Own(),
        workdir=tmp_path / "run",
        show=False,
    )
    assert ran.study.own.module.name == "Own"
    assert ran.study.base.dataset == "arrays"
    network = ran.network()
    assert network.class_names == ("above", "left", "right")
    assert network.predict(points).shape == (200,)
    again = nnlab.load(ran.workdir, module=Own())
    np.testing.assert_array_equal(
        again.network().probabilities(points), network.probabilities(points)
    )
    saved = nnlab.load_network(network.save(tmp_path / "a.safetensors"), module=Own())
    assert saved.num_parameters == network.num_parameters == 4 * 5 + 5 + 5 * 3 + 3


class Wide(nn.Module):
    """A network whose width a trial may set."""

    width: int = 4

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Dense(3)(nn.Dense(self.width)(x))


def init(key: jax.Array, x: jax.Array) -> list[jax.Array]:
    return [0.1 * jax.random.normal(key, (x.shape[-1], 3))]


def apply(params: list[jax.Array], x: jax.Array) -> jax.Array:
    return x @ params[0]


def test_several_modules_are_trials_of_one_run(tmp_path):
    mine = {"wide": Wide(), "pair": (init, apply), "own": Own()}
    fixed = {"dataset": tiny.dataset(), "show": False}
    two = {name: mine[name] for name in ("wide", "pair")}
    ran = nnlab.run(
        FIELDS,
        module=two,
        sweep={RATE: [0.1, 0.3]},
        claims=["test_accuracy(module=wide) > chance"],
        workdir=tmp_path / "run",
        **fixed,
    )
    assert ran.summary().parameters.tolist() == [6 * 4 + 4 + 4 * 3 + 3] * 2 + [18] * 2
    assert ran.summary()["module.name"].tolist() == ["wide"] * 2 + ["pair"] * 2
    assert ran.network(2).about["module"]["name"] == "apply"
    saved = ran.network(2).save(tmp_path / "a.safetensors")
    assert nnlab.load_network(saved, module=(init, apply)).num_parameters == 18
    page = ran.report().path.with_name("report.md").read_text()
    assert "| module | Wide(width=4); 43 parameters" in page
    assert "| module pair | apply(); 18 parameters" in page
    again = {"workdir": ran.workdir, "resume": True, **fixed}
    other = {"wide": Wide(), "pair": (init, lambda p, x: 2 * apply(p, x))}
    for module, message in (
        (None, "a module of its own, 'Wide': hand in the same"),
        ({"wide": Wide()}, r"no module 'pair' \(module.name\); allowed: wide"),
        (other, "module was 'apply' and is '<lambda>' now"),
    ):
        with pytest.raises(ValueError, match=message):
            nnlab.run(ran.study, num_seeds=4, module=module, **again)
    sweep = [*ran.study.sweep, {"module.name": "own"}]
    more = nnlab.run(ran.study, sweep=sweep, module=mine, **again)
    assert more.summary().parameters.tolist()[:4] == ran.summary().parameters.tolist()
    assert [*more.study.own.modules] == ["pair", "own"]
    repeated = nnlab.run(
        ran.workdir / "config.json", workdir=tmp_path / "b", module=mine, **fixed
    )
    assert repeated.results.curves.equals(more.results.curves)


def test_attributes_of_a_module_are_fields(tmp_path):
    given = {"dataset": tiny.dataset(), "module": Wide(), "show": False}
    ran = nnlab.run(
        FIELDS, sweep={"module.width": [4, 9]}, workdir=tmp_path / "a", **given
    )
    assert ran.summary().label.tolist() == ["width=4", "width=9"]
    assert [ran.network(t).num_parameters for t in (0, 1)] == [43, 93]
    wide = nnlab.define(FIELDS, module={"width": 9})
    alone = nnlab.run(wide, workdir=tmp_path / "b", **given)
    assert alone.network().num_parameters == 93
    for path, message in (
        ("module.widht", "no attribute 'widht'; did you mean 'width'"),
        ("model.hidden", "it goes with a model of nnlab's own, not a module of yours"),
    ):
        with pytest.raises(ValueError, match=message):
            nnlab.run(FIELDS, sweep={path: [(4,), (9,)]}, workdir=tmp_path, **given)
    with pytest.raises(ValueError, match="find_rate is about one network"):
        nnlab.find_rate(FIELDS, **given | {"module": [Wide(), Own()]})
    with pytest.raises(ValueError, match="find_rate takes no loss of your own"):
        nnlab.find_rate(FIELDS, loss=lambda outputs, targets: outputs[:, 0], **given)


def test_resuming_asks_for_the_same_module_and_metrics(found):
    own = {"dataset": tiny.dataset(), "own_metrics": {"second": second_guess}}
    longer = {"workdir": found.workdir, "resume": True, "num_epochs": 3, "show": False}
    for change, message in (
        ({"own_metrics": {}}, "'second': hand in the same, nnlab.run.*, own_metrics="),
        ({"dataset": None}, "'arrays': hand in the same, nnlab.run.*, dataset="),
        ({"module": Own()}, "module was None and is 'Own' now"),
        ({"own_metrics": {"second": jnp.subtract}}, "metric 'second'"),
        ({"own_metrics": {"second": lambda x, y: x[:, 0]}}, "'second' has changed"),
    ):
        with pytest.raises(ValueError, match=message):
            nnlab.run(found.study, **longer, **own | change)


def test_a_study_is_not_run_without_what_it_has_of_its_own(found, tmp_path):
    needs = "metric of its own, 'second', and a data set of its own, 'arrays': hand in"
    for study in (found.workdir / results.CONFIG, nnlab.define(found.workdir)):
        for run in (nnlab.run, nnlab.find_rate):
            with pytest.raises(
                ValueError, match=needs.split(", and a ")[run != nnlab.run]
            ):
                run(study, workdir=tmp_path / "again", show=False)
    assert not (tmp_path / "again").exists()
    alone = nnlab.define(found.workdir, dataset="digits", own={"metrics": {}})
    small = {"num_epochs": 1, "train_size": 64, "num_seeds": 1}
    ran = nnlab.run(alone, **small, workdir=tmp_path / "alone", show=False)
    assert ran.study.own == Study().own


def test_of_code_that_cannot_be_known_resuming_asks(tmp_path):
    def on_the_host(logits, labels):
        shape = jax.ShapeDtypeStruct(labels.shape, np.float32)
        return jax.pure_callback(np.float32, shape, labels, vmap_method="expand_dims")

    given = {
        **FIELDS,
        "num_seeds": 1,
        "dataset": tiny.dataset(),
        "own_metrics": {"hosted": on_the_host},
        "workdir": tmp_path / "a",
        "show": False,
    }
    nnlab.run(**given)
    with pytest.raises(
        ValueError, match="of metric 'hosted' has changed cannot be told"
    ):
        nnlab.run(**given | {"num_seeds": 2}, resume=True)
    more = nnlab.run(**given | {"num_seeds": 2}, resume_anyway=True)
    assert len(more.members()) == 2
    assert "cannot be told" in more.results.config["begun_otherwise"][0]


# ---- Progress, and stopping.


def test_a_log_that_cannot_be_written_ends_nothing(tmp_path, monkeypatch):
    with open("/dev/full", "w", buffering=1) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        ran = nnlab.run(FIELDS, dataset=tiny.dataset(), workdir=tmp_path)
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    assert ran.results.config["status"] == "complete"


def test_folders_of_one_second_differ(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(api.time, "strftime", lambda form: "now")
    for name in ("now", "now_2", "now_3"):
        assert api.new_folder() == api.RUNS / name
        api.new_folder().mkdir(parents=True)


def test_a_stop_says_how_to_go_on(tmp_path):
    def stop(progress):
        if progress.evaluation:
            os.kill(os.getpid(), signal.SIGINT)

    options = {"dataset": tiny.dataset(), "show": False, "lane_width": 2}
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="resume=True goes on") as caught:
        nnlab.run(FIELDS, workdir=tmp_path / "a", on_progress=stop, **options)
    assert signal.getsignal(signal.SIGINT) is handler
    assert caught.value._render_traceback_()[0].startswith("interrupted: nnlab.load(")
    assert nnlab.load(tmp_path / "a").results.config["status"] == "interrupted"
    ended = nnlab.run(FIELDS, workdir=tmp_path / "a", resume=True, **options)
    assert ended.results.config["status"] == "complete"
