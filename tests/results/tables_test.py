# SPDX-License-Identifier: Apache-2.0
"""Tables are read as they were written, and nothing else is accepted."""

import itertools
import json
import math

import numpy as np
import pyarrow as pa
import pytest
from synthetic import results as made_up

from nnlab import results
from nnlab.study import OwnModule, Study, digest_json


@pytest.fixture
def written(tmp_path):
    return made_up(
        num_trials=3,
        num_seeds=4,
        diverged={(2, 0): 3, (2, 1): 0},
        workdir=tmp_path / "run",
    )


def test_a_nan_is_the_same_whatever_its_sign(tmp_path):
    signed = np.copysign(np.nan, -1.0)
    tables = [results.table([{"a": v}, {"a": None}]) for v in (signed, math.nan)]
    content = []
    for table in tables:
        results.write(tmp_path, {}, {"curves.parquet": table})
        content.append((tmp_path / "curves.parquet").read_bytes())
    assert content[0] == content[1]
    assert tables[0]["a"].null_count == 1
    assert math.isnan(tables[0]["a"][0].as_py())


def test_tables_come_back_as_they_were(written):
    again = results.load(written.workdir)
    assert (again.study, again.config) == (written.study, written.config)
    for name in ("curves", "members", "timings"):
        assert getattr(again, name).equals(getattr(written, name)), name


def test_a_text_like_a_formula_comes_back(tmp_path):
    layer = '=HYPERLINK("http://evil.example")'
    found = made_up(diverged={(0, 1): 1}, layers=(layer,), workdir=tmp_path)
    assert results.load(tmp_path).members.equals(found.members)
    assert layer in found.member(0, "diverged_layer")
    assert ",=" not in (tmp_path / "members.csv").read_text().replace('"', "")


def test_results_stay_where_they_are_when_the_folder_changes(written, monkeypatch):
    monkeypatch.chdir(written.workdir.parent)
    found = results.load("run")
    monkeypatch.chdir("/")
    assert results.load(found.workdir).workdir == written.workdir


def test_writing_twice_gives_equal_bytes_and_leaves_nothing_else(tmp_path):
    contents = []
    for name in ("one", "two"):
        made = made_up(num_trials=2, num_seeds=2, workdir=tmp_path / name)
        files = sorted((tmp_path / name).iterdir())
        contents.append({f.name: f.read_bytes() for f in files})
        assert set(made.config["manifest"]) == set(results.TABLES)  # not the clock
    assert contents[0] == contents[1]
    timings = {"timings.csv", "timings.csv.sha256"}
    assert set(contents[0]) == {*results.TABLES, "config.json", *timings}


@pytest.mark.parametrize("name", [*results.TABLES, "timings.csv"])
def test_a_table_that_is_damaged_or_missing_is_named(written, name):
    path = written.workdir / name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"x")
    with pytest.raises(ValueError, match=f"{name}' is not the file that the run wrote"):
        results.load(written.workdir)
    path.unlink()
    with pytest.raises(ValueError, match=f"{name}' is missing"):
        results.load(written.workdir)


@pytest.mark.parametrize("left", [None, 0, 30, 64])
def test_without_a_whole_digest_timings_are_left_out_and_told(written, left, caplog):
    digest = written.workdir / "timings.csv.sha256"
    content = digest.read_bytes()
    digest.unlink() if left is None else digest.write_bytes(content[:left])
    found = results.load(written.workdir)
    assert len(written.timings) > len(found.timings) == 0
    assert found.curves.equals(written.curves)
    (line,) = caplog.messages
    assert "timings.csv cannot be checked" in line


def test_a_changed_config_is_told_by_its_digest(written):
    path = written.workdir / "config.json"
    path.write_text(path.read_text().replace('"root_seed": 0', '"root_seed": 1', 1))
    with pytest.raises(ValueError, match="json' is damaged: its digest differs"):
        results.load(written.workdir)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "[" * 100_000, "{}", '{"study": {"sed": 1}, "manifest": {}}'],
)
def test_a_damaged_config_is_one_line(written, text):
    (written.workdir / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config.json' is damaged: .+") as error:
        results.load(written.workdir)
    assert "\n" not in str(error.value)


def written_with(folder, **content) -> None:
    """A run with some tables replaced, and their digests renewed."""
    found = made_up(num_trials=2, num_seeds=2, severity=("moved",))
    names = ("curves.parquet", "members.csv", "severity.csv", "timings.csv")
    tables = {name: getattr(found, name.partition(".")[0]) for name in names}
    for stem, value in content.items():
        name = next(n for n in names if n.startswith(stem))
        tables[name] = value(tables[name]) if callable(value) else value
    results.write(folder, found.config, {**tables, "summary.csv": b""})


def column(name, values):
    def replaced(table):
        at = table.column_names.index(name)
        kind = table[name].type if values != ["x"] else None
        return table.set_column(at, name, pa.array(values * len(table), kind))

    return replaced


GARBAGE = {
    "empty": b"",
    "binary": bytes(range(256)),
    "zeros": bytes(4096),
    "a torn footer": b"PAR1" + bytes(60) + (50).to_bytes(4, "little") + b"PAR1",
    "a line": b"a,b\n1,x\n",
    "a long field": b"a" * 200_000 + b"\n1\n",
    "lacks a column": lambda table: table.drop_columns(["seed"]),
    "words": column("seed", ["x"]),
    "another trial": column("trial", [99]),
    "a seed below 0": column("seed", [-1]),
    "gaps": column("trial", [None]),
}


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("stem", ["curves", "members", "severity"])
def test_garbage_with_a_digest_of_its_own_is_one_line(tmp_path, stem, garbage):
    written_with(tmp_path, **{stem: GARBAGE[garbage]})
    with pytest.raises(ValueError, match=rf"{stem}\.\w+' is damaged: .+") as error:
        results.load(tmp_path)
    assert "\n" not in str(error.value)


def test_a_member_that_is_there_twice_is_told(tmp_path):
    written_with(tmp_path, members=lambda table: pa.concat_tables([table, table]))
    with pytest.raises(ValueError, match=r"members.csv' is damaged: .* twice"):
        results.load(tmp_path)


def test_a_folder_without_results_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no results"):
        results.load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no folder '.*elsewhere'"):
        results.load(tmp_path / "elsewhere")


def test_a_curve_is_nan_from_where_a_member_ended(written):
    curve = written.curve(2, "test_accuracy")
    assert curve.values.shape == (4, 10)
    assert np.isfinite(curve.values).sum(axis=1).tolist() == [3, 0, 10, 10]
    assert np.isnan(curve.values[0, 3:]).all()
    np.testing.assert_array_equal(curve.examples, curve.steps * 32)
    np.testing.assert_array_equal(curve.epochs, np.arange(1, 11))
    assert written.member(2, "seed").tolist() == [0, 1, 2, 3]
    status = ["diverged", "diverged", "finished", "finished"]
    assert written.member(2, "status").tolist() == status
    with pytest.raises(ValueError, match=r"'test_acuracy'.*mean 'test_accuracy'"):
        written.curve(0, "test_acuracy")


def test_a_curve_of_a_trial_without_rows_is_empty(tmp_path):
    found = made_up(num_trials=2, num_seeds=3, never_ran=(0, 1), workdir=tmp_path / "a")
    for loaded in (found, results.load(found.workdir)):
        assert loaded.curve(0, "test_accuracy").values.shape == (3, 0)
        assert not loaded.has_run(0)
        with pytest.raises(KeyError, match="trial 0 has not run"):
            loaded.member(0, "status")


@pytest.mark.parametrize("norms", [[None, None], [1.0, None], [0.5, 2.5]])
def test_a_csvs_columns_keep_their_types_whatever_is_null(tmp_path, norms):
    ended = {"status": "finished", "steps": 1, "last_grad_norm_dense_0": None}
    rows = [
        {"trial": t, "seed": s, **ended, "last_grad_norm_null": norms[s]}
        for t, s in itertools.product(range(2), repeat=2)
    ]
    rows[0]["diverged_layer"] = "null"  # a layer's name may be any identifier
    made = results.table(rows, results.MEMBERS)
    written_with(tmp_path, members=made)
    assert results.load(tmp_path).members.equals(made)
    assert made["last_grad_norm_dense_0"].type == pa.float64()
    assert made["diverged_layer"].null_count == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["study"].update(root_seed=1), "is not the one of its study_di"),
        (lambda c: c["trials"][0]["overrides"].update(batch_size=9), "not those of"),
        (lambda c: c["trials"].pop(), "its trials are not those of its study"),
        (lambda c: c.update(study=[]), "its 'study' is no dict"),
        (lambda c: c.update(trials=[1]), "its trials are not those of its study"),
        (lambda c: c.pop("cohorts"), "its 'cohorts' is no list"),
        (lambda c: c.update(cohorts=[]), "no program has trial 0, seed 0"),
        (lambda c: c["cohorts"][0].update(trials=[99]), "program 1 has trial 99"),
        (lambda c: c["cohorts"][0].update(first_seed=-1), "has 4 seeds from -1 on"),
    ],
)
def test_a_config_that_is_not_of_one_run_is_refused(written, change, message):
    """Refused even though its digest fits its content."""
    path = written.workdir / "config.json"
    config = json.loads(path.read_text())
    del config["digest"]
    change(config)
    path.write_text(json.dumps({**config, "digest": digest_json(config)}))
    with pytest.raises(ValueError, match=rf"config.json' is .*{message}"):
        results.load(written.workdir)


def test_what_an_earlier_run_had_of_its_own_is_known_by_name():
    stored = {"study": Study().to_dict(), "module": "Mine", "metrics": ["top2"]}
    own = Study.from_dict(results.study_fields(stored)).own
    assert own.module == OwnModule(name="Mine")
    assert own.metrics == {"top2": ""}
    plain = {"study": Study().to_dict(), "module": None, "metrics": []}
    for holds in (plain, plain["study"]):
        assert Study.from_dict(results.study_fields(holds)) == Study()
