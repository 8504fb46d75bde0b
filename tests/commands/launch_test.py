# SPDX-License-Identifier: Apache-2.0
"""The command line: one line and status 2 for a mistake, plain lines for the rest."""

import logging
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet
import pytest
from absl import flags
from absl.testing import flagsaver
from rich.console import Console
from synthetic import results as made_up

from nnlab import data, study
from nnlab.commands import config, describe, find_rate, report, train
from nnlab.commands.bench import bench
from nnlab.data import Dataset
from nnlab.runs import loop
from nnlab.training import lane_width, trees

ROOT = pathlib.Path(__file__).parents[2]
QUICKSTART = "--config=configs/quickstart.py:smoke"
MNIST = "--config=configs/learning_rate.py:mnist,smoke"


@pytest.fixture
def launch(capsys, monkeypatch):
    """Runs a program in this process; returns status, stdout and stderr."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(train, "show_log", lambda _: None)

    def run(program, *arguments):
        with flagsaver.flagsaver():
            program.define_flags()
            with pytest.raises(SystemExit) as ended:
                config.run(program.main, [program.__name__, *arguments])
        return ended.value.code, *capsys.readouterr()

    return run


def command(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "80", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


PROGRAMS = {
    "train": train,
    "describe": describe,
    "report": report,
    "bench": bench,
    "find_rate": find_rate,
}
SHORT = {
    "Q": QUICKSTART,
    "M": MNIST,
    "MANY": "--coordinator=localhost:1 --processes=2 --process_index=0",
    "FILE": f"--compilation_cache={__file__}",
}
MISTAKES = r"""
train --config=configs/quikstart.py
    'configs/quikstart.py'; did you mean 'configs/quickstart.py'? allowed:
train
    --config is missing; bundled: configs/activation.py,
train --config=configs/quickstart.py:smok
    config argument 'smok'; did you mean 'smoke'? allowed: smoke
train --config=configs/learning_rate.py:mnist,digits
    has both 'mnist' and 'digits'
train Q --storage=s3://bucket/x
    --storage needs --executor=ray
train Q --executor=ray --storage=runs/x
    storage 'runs/x' is no URL of a folder, such as s3://bucket/runs/x
train Q --executor=ray --storage=gold://x
    cannot use storage 'gold://x': Protocol not known: gold
train Q --config.dataset=minst
    unknown dataset 'minst'; did you mean 'mnist'? allowed: digits,
train Q --config.optimizer.learning_rte=1
    'optimizer.learning_rte'; did you mean 'optimizer.learning_rate'? allowed:
train Q --config.optimizer=adam
    unknown field 'optimizer'; did you mean
train Q --halving=1
    halving.factor=1 drops no trial
train Q --search=optuna
    --search_space is missing
train Q '--search_space=batch_size=int(8,64)'
    a search needs --search=optuna
train Q --search=optuna --search_space=batch_size=8 --sweep=batch_size=1
    --search and --sweep are both given
train Q --search=optuna --search_space=batch_size=8,16 MANY
    a search runs in one process
train Q --search=optuna '--search_space=batchsize=int(8,64)'
    unknown field 'batchsize' in the search space; did you mean 'batch_size'?
train Q --search=optuna --sampler=tpee
    sampler='tpee' is not known; did you mean 'tpe'? allowed: tpe, random
train Q --sweep=learning_rate=1
    'learning_rate' in the sweep; did you mean 'optimizer.learning_rate'?
train Q --config.optimizer.learning_rate=fast
    optimizer.learning_rate='fast' is not a number
train Q --config.figures=curves,mpa
    figures holds 'mpa', which is not known; did you mean 'map'? allowed:
train Q --config.test_sets.rotated_degrees=200
    test_sets.rotated_degrees=200.0 must be at most 180
train Q --sweep=optimizer.learning_rate=0.1,fast
    trial 1 of the sweep: optimizer.learning_rate='fast' is not a
train Q --config.batch_size
    --config.batch_size has no value; write --config.batch_size=VALUE
train Q --data_dir=
    --data_dir= has no value
train Q --sweep=optimizer.learning_rate=
    the sweep over 'optimizer.learning_rate' has no values
train Q --sweep=batch_size=8 --sweep=batch_size=9
    --sweep names 'batch_size' twice
train Q --sweep=batch_size=8,8
    trials 0 and 1 of the sweep are equal: {'batch_size': 8}
train Q --config.optimizer.learning_rate=nan
    optimizer.learning_rate='nan' is not a number
train Q --config.optimizer.learning_rate=1e999
    optimizer.learning_rate=inf is not finite
train Q --config.optimizer.learning_rate=-1
    optimizer.learning_rate=-1.0 must be at least 0
train Q --config.model.activation=rleu
    model.activation='rleu' is not known; did you mean 'relu'?
train Q --config.early_stopping.metric=test_loss
    early_stopping.metric='test_loss' is not known; allowed: validation_loss,
train Q --config.early_stopping.patience=-1
    early_stopping.patience=-1 must be at least 0
train Q FILE
    is a file, not a folder
train Q --config.model.init=he
    model.init='he' is not known; did you mean 'he_normal'? allowed:
train Q --config.model.name=stack '--config.model.layers=("dens",)'
    unknown layer 'dens'; did you mean 'dense'?
train Q --config.optimizer.name=sdg
    optimizer.name='sdg' is not known; did you mean 'sgd'?
train Q --config.schedule.name=cosin
    schedule.name='cosin' is not known; did you mean 'cosine'?
train Q --seeds=0
    num_seeds=0 must be at least 1
train Q --seeds=three
    --seeds='three' is not an integer
train Q --config.batch_size=5000
    batch_size=5000 is larger than the 1198 training examples
train Q --lane_width=999
    lane_width=999 must be from 1 to the program's 24 networks
train M --data_dir=no/such/folder
    data_dir no/such/folder does not exist
train Q --seed=3
    unknown flag '--seed'; did you mean '--seeds'? allowed: --workdir,
train Q --lr=0.1
    unknown flag '--lr'; did you mean '--config.optimizer.learning_rate=VALUE'?
train Q --dataset=mnist
    unknown flag '--dataset'; did you mean '--config.dataset=VALUE'?
train --config=configs
    config 'configs' is a folder; name a
train --config=tests/tinny.py
    no config file 'tests/tinny.py'; did you mean 'tests/tiny.py'? allowed:
train --config=:mnist
    no config file ''; allowed: configs/
train --config=lr:mnist
    no config file 'lr'; did you mean 'configs/learning_rate.py'? allowed:
train --config_json=tests/tiny.jsn
    no file --config_json='tests/tiny.jsn'
train Q '--sweep=optimizer.learning_rate=logspce(0.1,1,3)'
    a range is logspace(first,last,count) or linspace(first,last,count), and
train Q --config.optimzer=adam
    unknown field 'optimzer'; did you mean 'optimizer.name'? allowed:
train M --data_dir=tets
    data_dir tets does not exist; did you mean 'tests'?
train Q --config.dataset=csv:READM.md
    table {root}/READM.md does not exist; did you mean '{root}/README.md'?
train Q --config.dataset=folder:confgs
    image folder {root}/confgs does not exist; did you mean '{root}/configs'?
train --help=filds
    '--help=filds'; did you mean 'fields'? allowed: conf
train Q lr=3
    unexpected argument 'lr=3'; flags begin with --
find_rate Q --low=0
    low=0 and high=100: the lowest rate must be above
find_rate Q --count=1
    count=1 must be from 3 to 10,000 rates
find_rate Q --rates=9
    unknown flag '--rates'
find_rate --resume
    --resume goes with the --config that the rates were found
find_rate
    --config is missing
train Q --max_seeds=9
    --max_seeds goes with --until_resolved
train Q --until_resolved --seeds=2
    2 seeds at the first look: a test needs
train Q --until_resolved --max_seeds=4
    at most 4 seeds are not more than
describe Q --members=0
    --members=0 must be a whole number from 1 to
describe Q --members=2.5
    --members=2.5 must be a whole number
describe Q --members=inf
    --members=inf must be a whole number
describe Q --devices=0
    --devices=0 must be a whole number from 1 to
describe Q --cost_per_device_hour=1
    goes with --devices or --members
describe Q --devices=2 --sweep=model.name=random_forest
    not of trees
"""
"""Commands, with the names of `SHORT`, and below each the expected text."""
MISTAKES = MISTAKES.replace("{root}", str(ROOT)).strip().split("\n")
MISTAKES = dict(zip(MISTAKES[::2], map(str.strip, MISTAKES[1::2])))


def arguments_of(line):
    """A program's name and its arguments."""
    name, *words = shlex.split(line)
    return name, [arg for w in words for arg in SHORT.get(w, w).split()]


@pytest.mark.parametrize("mistaken", MISTAKES)
def test_a_mistake_is_one_line_and_status_2(launch, tmp_path, mistaken):
    workdir = tmp_path / "run"
    name, arguments = arguments_of(mistaken)
    where = [] if name == "describe" else [f"--workdir={workdir}"]
    status, out, err = launch(PROGRAMS[name], *where, *arguments)
    assert (status, out) == (2, "")
    assert MISTAKES[mistaken] in err
    assert re.fullmatch(r"error: [^\n]+\n", err)
    assert not workdir.exists()


@pytest.mark.slow
def test_seeds_are_added_until_resolved_and_resumed_without_a_word(launch, tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    asked = [workdir, QUICKSTART, "--sweep=optimizer.learning_rate=0.001,0.3,0.31"]
    status, out, err = launch(
        train, *asked, "--until_resolved", "--seeds=3", "--max_seeds=8"
    )
    assert (status, err) == (0, "")
    assert "3 trials x 3 seeds = 9 networks" in out
    assert "After 3 looks, at 3 to 8 seeds, 1 trial does not differ" in out
    for more in (["--until_resolved"], []):
        status, out, _ = launch(train, workdir, "--resume", *more)
        assert status == 0
        assert "After 3 looks, at 3 to 8 seeds" in out
    status, out, err = launch(train, *asked, "--resume")
    assert status == 2
    assert "looks was [3, 6, 8] and is [] now: another study" in err


@pytest.mark.slow
def test_rates_are_found_resumed_and_drawn_again_like_any_run(launch, tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    asked = [QUICKSTART, "--low=0.01", "--count=4", "--steps=30"]
    status, out, err = launch(find_rate, workdir, *asked, "--seeds=2")
    assert (status, err) == (0, "")
    assert "4 trials x 2 seeds = 8 networks" in out
    assert "The edge, above which networks no longer train, is " in out
    assert (tmp_path / "run" / "figures" / "rates.png").exists()
    status, out, _ = launch(find_rate, workdir, *asked, "--seeds=3", "--resume")
    assert status == 0
    assert "all 3 seeds" in out
    status, out, _ = launch(report, workdir)
    assert status == 0
    assert "The edge, above which networks no longer train, is " in out


CONFIG = """
from launch.config import default
def get_config(arg=""):
    return default()
def sweep(arg=""):
    yield {}
"""
BAD_FILES = [
    ("CONFIG", "def get_config(:", "SyntaxError: .*line 1"),
    ("default()", "1 / 0", ", line 4: ZeroDivisionError: div"),
    ("default()", "default().optimizr", "line 4: .*'optimizr' Did you mean"),
    (
        *("return default()", "c = default(); c.batchsize = 3; return c"),
        "unknown field 'batchsize'; did you mean 'batch_size'",
    ),
    (
        *("return default()", "c = default(); c.batch_size = 'x'; return c"),
        "TypeError: .*batch_size",
    ),
    ('arg=""', "", "TypeError: get_config"),
    ("sweep", "sweeps", r"defines no sweep\(arg=''\)"),
    ("get_config", "config", r"defines no get_config\(arg=''\)"),
    ("default()", "{}", r"get_config\(\) returns {}, not a ConfigDict"),
    ("yield {}", "yield from ()", r"sweep\(\) is empty"),
    ("yield {}", "pass", "TypeError: .*not iterable"),
    ("yield {}", "yield 0.1", r"sweep\(\) yields 0.1, not a dict"),
    ("{}", "{'lr': 1}", "trial 0 of the sweep: unknown field 'lr'"),
]


@pytest.mark.parametrize(("right", "wrong", "message"), BAD_FILES)
def test_a_bad_config_file_is_one_line(launch, tmp_path, right, wrong, message):
    file = tmp_path / "mine.py"
    file.write_text(wrong if right == "CONFIG" else CONFIG.replace(right, wrong))
    status, _, err = launch(train, f"--config={file}", f"--workdir={tmp_path / 'run'}")
    assert status == 2
    assert re.search(message, err), err
    assert re.fullmatch(r"error: [^\n]+\n", err)


def test_a_config_file_of_ones_own(launch, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(CONFIG)
    status, out, err = launch(describe, f"--config={file}", "--seeds=2")
    assert (status, err) == (0, "")
    assert "1 trial x 2 seeds = 2 networks in 1 program" in out


def test_a_workdir_is_missing_taken_or_no_folder(launch, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "config.json").write_text("{}")
    for workdir, message in {
        "taken": "taken' holds results",
        "file": "file' is a file, not a folder",
        "file/below": "Not a directory: ",
    }.items():
        status, _, err = launch(train, QUICKSTART, f"--workdir={tmp_path / workdir}")
        assert status == 2
        assert message in err
        assert err.count("\n") == 1
    assert launch(train, QUICKSTART)[::2] == (
        2,
        "error: --workdir is missing: the folder for the results\n",
    )
    assert (tmp_path / "taken" / "config.json").read_text() == "{}"


SIX = (
    "train --config=configs/quikstart.py",
    "train Q --config.dataset=minst",
    "train Q --config.optimizer.learning_rte=1",
    "train Q --config.optimizer.learning_rate=fast",
    "train Q --sweep=optimizer.learning_rate=",
    "train M --data_dir=no/such/folder",
)


@pytest.mark.parametrize(
    "config_name",
    ["quickstart", "quickstart.py", "configs/quickstart", "./configs/quickstart"],
)
def test_a_bundled_config_goes_by_its_name(launch, monkeypatch, config_name):
    made = []
    monkeypatch.setattr(describe, "main", lambda: made.append(config.study()))
    assert launch(describe, f"--config={config_name}:smoke") == (0, "", "")
    assert launch(describe, QUICKSTART) == (0, "", "")
    assert made[0] == made[1]


@pytest.mark.slow
def test_a_workdir_that_is_not_there_has_a_neighbour(launch, tmp_path, caplog):
    made_up(num_trials=2, num_seeds=3, workdir=tmp_path / "quickstart")
    mistyped = f"--workdir={tmp_path / 'quikstart'}"
    hint = f"; did you mean '{tmp_path / 'quickstart'}'?"
    for program, more in (
        (report, []),
        (train, ["--resume"]),
        (train, ["--rerun=0,0"]),
    ):
        status, _, err = launch(program, mistyped, *more)
        assert status == 2
        assert err.endswith(f"{hint}\n")
    caplog.set_level("INFO", logger="nnlab")
    small = ["--sweep=batch_size=64", "--config.num_epochs=1", "--seeds=1"]
    assert launch(train, mistyped, "--resume", QUICKSTART, *small)[0] == 0
    assert f"quikstart: starting{hint}" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("mistaken", SIX)
def test_six_mistakes_of_a_newcomer_as_commands(tmp_path, mistaken):
    _, arguments = arguments_of(mistaken)
    start = time.monotonic()
    done = command("launch.train", f"--workdir={tmp_path / 'run'}", *arguments)
    assert time.monotonic() - start < 15
    assert (done.returncode, done.stdout) == (2, "")
    assert MISTAKES[mistaken] in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_an_error_that_is_no_refusal_keeps_its_traceback():
    def broken():
        pathlib.PurePath("x").relative_to("y")  # a ValueError of a library

    with pytest.raises(ValueError, match="is not in the subpath"):
        config.run(broken, ["test"])


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_help_is_one_screen(program):
    done = command(f"launch.{program}", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 23  # the prompt takes the 24th
    assert f"  python -m launch.{program} --" in done.stdout
    if program in ("train", "describe", "find_rate"):
        assert "What to run\n  --config=FILE:ARG" in done.stdout


def examples(program):
    """The commands that the docstring of a program shows."""
    text = PROGRAMS[program].__doc__.replace("\\\n", "")
    found = re.findall(r"^python -m launch\.(\w+) (.*)$", text, re.MULTILINE)
    assert {name for name, _ in found} == {program}
    return [shlex.split(arguments) for _, arguments in found]


@pytest.mark.parametrize("program", ["train", "describe", "find_rate"])
def test_the_commands_that_help_shows_are_studies(launch, monkeypatch, program):
    made = []
    monkeypatch.setattr(PROGRAMS[program], "main", lambda: made.append(config.study()))
    shown = [a for a in examples(program) if "--resume" not in a]
    for arguments in shown:
        assert launch(PROGRAMS[program], *arguments) == (0, "", "")
    assert len(made) == len(shown) >= 2


@pytest.mark.parametrize("topic", ["configs", "fields", "parts", "flags", "full"])
def test_a_topic_of_the_help_tells_all_of_it(launch, topic):
    with flagsaver.flagsaver():
        train.define_flags()
        defined = [flag.name for flag in config._flags()]
    asked = "--helpfull" if topic == "full" else f"--help={topic}"
    status, out, err = launch(train, asked)
    assert (status, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    told = {
        "configs": [f"\n  {path.stem} " for path in (ROOT / "configs").glob("*.py")],
        "fields": [rf"\n  {re.escape(path)}=" for path in study.PATHS],
        "parts": [f"\n  {name} +{words[:30]}" for name, words in study.PARTS.items()],
        "flags": [f"\n  --{name}\\b" for name in defined],
    }
    for name, patterns in told.items():
        if topic in (name, "full"):
            missing = [p for p in patterns if not re.search(p, out)]
            assert not missing
            assert len(patterns) > 14


def test_fields_are_shown_with_default_choices_and_meaning(launch):
    text = " ".join(launch(train, "--help=fields")[1].split())
    for wanted in (
        "optimizer.learning_rate=0.1* peak rate; the schedule multiplies it by a",
        "model.hidden=64 units of each hidden dense layer (mlp, cnn)",
        "model.batch_norm=false normalise before each hidden activation",
        "(mlp, cnn); one of relu, leaky_relu, elu,",
        "optimizer: the update rule optimizer.name=sgd",
        "num_seeds=8 repetitions of every trial",
        "test_sets.moved_pixels=0 largest shift along both axes",
    ):
        assert wanted in text
    for unwanted in ("traced", "nnlab.", "own."):
        assert unwanted not in text


def test_configs_are_shown_with_what_they_take(launch):
    text = " ".join(launch(train, "--help=configs")[1].split())
    assert "quickstart Which learning rate should a small network get? takes s" in text
    assert "takes digits, mnist, fashion_mnist; mlp, cnn; smoke, full" in text


def test_every_flag_that_has_a_default_tells_it(launch):
    _, out, _ = launch(bench, "--help=flags")
    text = " ".join(out.split())
    assert "--members=A,.. sizes of nnlab's populations (default: 1,8,64)" in text
    assert "--repeats=N turns of each contender (default: 5)" in text


def test_overrides_flags_and_axes_meet_in_one_study(launch, monkeypatch):
    made = []
    monkeypatch.setattr(describe, "main", lambda: made.append(config.study()))
    arguments = [
        "--config.optimizer.momentum=0.9",
        "--config.model.hidden=60,60",
        "-config.model.batch_norm=true",
        "--config.question=What if, once?",
        "--config.claims=()",
        "--seeds=3",
        "--sweep=optimizer.learning_rate=logspace(0.01,1,3)",
        "--sweep=batch_size=16,32",
    ]
    assert launch(describe, QUICKSTART, *arguments) == (0, "", "")
    (study,) = made
    assert study.base.optimizer.momentum == 0.9
    assert study.base.model.hidden == (60, 60)
    assert study.base.model.batch_norm is True
    assert (study.question, study.claims, study.num_seeds) == ("What if, once?", (), 3)
    assert len(study.trials()) == 6
    assert study.swept() == ("optimizer.learning_rate", "batch_size")


@pytest.mark.parametrize(("hidden", "count"), [("64", "4,800"), ("60,60", "8,100")])
def test_describe_counts_parameters_with_bias_in_the_first_layer(launch, hidden, count):
    status, out, err = launch(
        describe,
        QUICKSTART,
        f"--config.model.hidden={hidden}",
        "--config.model.bias=first",
    )
    assert (status, err) == (0, "")
    assert re.search(rf"all +{count} ", out)
    assert max(map(len, out.splitlines())) <= 80
    assert "14 examples left over in each epoch" in out  # 1,198 = 37 x 32 + 14


@pytest.fixture
def like_mnist(monkeypatch):
    """Replaces every data set by a few random images of MNIST's size."""

    def load(name, data_dir):
        rng = np.random.default_rng(0)
        images = rng.integers(256, size=(900, 28, 28)).astype(np.uint8)
        return Dataset.from_arrays(images, np.arange(900) % 10, name=name)

    monkeypatch.setattr(data, "load", load)


def test_describe_counts_weights_and_biases_of_one_and_two_layers(launch, like_mnist):
    status, out, err = launch(
        describe,
        MNIST,
        "--config.model.bias=first",
        "--sweep=model.hidden=(64,),(60,60)",
    )
    assert (status, err) == (0, "")
    assert re.search(r"dense_0 +64 +50,240 +50,176 +64 +100,352 \n", out)
    assert re.search(r"dense_1 +10 +640 +640 +1,280 \n", out)
    assert re.findall(r" all +(.*) \n", re.sub(" +", " ", out)) == [
        "50,880 50,816 64 101,632",
        "51,300 51,240 60 102,480",
    ]
    assert max(map(len, out.splitlines())) <= 80


def test_describe_tells_what_is_done_to_images(launch, like_mnist):
    arguments = [
        "--config.standardize=true",
        "--config.augment_pixels=2",
        "--config.test_sets.moved_pixels=3",
        "--config.test_sets.rotated_degrees=7.5",
        "--config.test_sets.along_curve=true",
        "--config.test_sets.severity=true",
        "--config.figures=curves,severity",
        "--config.model.name=cnn",
        "--config.model.kernel=5",
        "--config.model.pool=max_abs",
        "--sweep=optimizer.learning_rate=0.1",
    ]
    status, out, err = launch(describe, MNIST, *arguments)
    assert (status, err) == (0, "")
    text = " ".join(out.split())
    assert (
        "further test sets: moved by up to 3 pixels, rotated by up to 7.5 degrees; at "
        "every evaluation; more and less moved and rotated at the end figures: curves, "
        "severity "
    ) in text
    assert (
        "inputs: standardized by the training examples; in training moved by up to 2 "
        "pixels along both axes training: "
    ) in text
    assert "conv_0 28 x 28 x 32 832 800 32 1,254,400 max_abs_pool_0 14 x 14" in text


STACKS = {
    '({"layer": "dense", "units": 10},)': (
        "layer 0 (dense_0): got shape (28, 28, 1), needs a flat vector (784,); put a "
        "flatten layer before it"
    ),
    '"flatten", {"layer": "dense", "units": 12, "name": "head"}': (
        "layer 1 (head): gives shape (12,), needs (10,), a value for each class; end "
        "with a dense layer of 10 units"
    ),
    '["flatten", {"layer": "dense", "units": 64}, "relu", "max_pool"]': (
        "layer 3 (max_pool_0): got shape (64,), needs (height, width, channels); put "
        "it before the flatten and dense layers"
    ),
}


@pytest.mark.parametrize(("written", "message"), STACKS.items(), ids=range(3))
def test_an_invalid_stack_is_one_line(launch, like_mnist, written, message):
    layers = ["--config.model.name=stack", f"--config.model.layers={written}"]
    one = "--sweep=optimizer.learning_rate=0.1"
    status, out, err = launch(describe, MNIST, *layers, one)
    assert (status, out) == (2, "")
    assert err == f"error: trial 'base': {message}\n"


GRADIENTS = [QUICKSTART, "--sweep=batch_size=32", "--check_gradients"]


def test_describe_checks_gradients(launch):
    status, out, err = launch(describe, *GRADIENTS, "--config.model.activation=tanh")
    assert (status, err) == (0, "")
    assert re.search(r"dense_0 +(\d+) of \1  1e-02 +\de-", out)
    assert len(re.findall(r"1e-03 .* 2\.00 +\n", out)) == 2  # two layers
    told = r"(\d+) of \1 weights agree to a relative 1e-06, to order 2\.00 of eps\n"
    assert re.search(told, out)
    assert max(map(len, out.splitlines())) <= 80


def test_gradients_that_disagree_are_status_1(launch, monkeypatch):
    monkeypatch.setattr("nnlab.describe.gradients.TOLERANCE", -1.0)
    status, out, err = launch(describe, *GRADIENTS)
    assert status == 1
    assert re.fullmatch(
        r"error: autodiff and central differences disagree on the gradients of dense_0 "
        r"of program 1 of 1, dense_1 of program 1 of 1\n",
        err,
    )
    assert "too few agree in dense_0, dense_1" in " ".join(out.split())


@pytest.mark.slow
def test_describe_predicts_what_was_measured(launch):
    arguments = [QUICKSTART, "--sweep=batch_size=64", "--seeds=3"]
    status, out, _ = launch(describe, *arguments)
    assert (status, "time: not measured on this machine yet" in out) == (0, True)
    told = (
        r"examples/s by lane width: 1: [\d,]+, 2: [\d,]+\n"
        r"time: about \d+ s; [\d,]+ examples/s, \d+% for evaluations; \d+ s to compile"
    )
    for more in (["--measure"], []):  # measurements are remembered
        assert re.search(told, launch(describe, *arguments, *more)[1])


@pytest.mark.parametrize(("steps", "told"), [(50, "50"), (1110, ""), (1111, "")])
def test_describe_tells_where_training_ends_before_its_epochs(launch, steps, told):
    arguments = [QUICKSTART, "--sweep=batch_size=32", "--config.num_epochs=30"]
    _, out, _ = launch(describe, *arguments, f"--config.max_steps={steps}")
    text = " ".join(out.split())
    if told:
        wanted = "training: 1.35 epochs (of 30: max_steps=50) of 37 updates at batch 32"
        assert f"{wanted}, 50 updates in all, 3 evaluations" in text
    else:
        assert "training: 30 epochs of 37 updates at batch 32, 1,110 updates" in text


def test_describe_predicts_another_size(launch, rates):
    rates[0] = 8.0
    asked = [QUICKSTART, "--members=24000", "--devices=4", "--cost_per_device_hour=3"]
    status, out, err = launch(describe, *asked)
    assert (status, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    text = " ".join(out.split())
    assert "networks 24,000 given --members" in text
    # 24 networks take 8 s on two devices: 1,000 times as many on four take 500 x 8 s.
    assert re.search(r"training 4,\d\d\d s|training 6\d min", text)
    assert re.search(r"memory a device \d+ MiB modelled", text)
    assert "cost not known assumed 3 a device and hour" in text  # nor evaluation
    del rates[0]
    _, out, _ = launch(describe, QUICKSTART, "--devices=4")
    text = " ".join(out.split())
    assert "networks 24 given" in text
    assert "training not known" in text
    assert "what is not known, --measure measures" in text


TRANSFER = "--config=configs/transfer.py:smoke"


@pytest.fixture
def rates(monkeypatch):
    """Sets the speeds that `describe` knows: ``{index of a program: seconds}``."""
    seconds = {}

    def recall(item):
        if item.index not in seconds:
            return {}
        rate = item.num_examples / seconds[item.index]
        return {item.plan.lanes.width: lane_width.Rates(rate, 0.0, 2.0)}

    monkeypatch.setattr(lane_width, "recall", recall)
    return seconds


def test_describe_tells_of_backbones_and_trees(launch, rates):
    status, out, err = launch(describe, TRANSFER)
    assert (status, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    text = " ".join(out.split())
    assert "13 trials x 2 seeds = 26 models in 4 programs" in text
    assert text.count(
        "backbone: trained before on 1,198 examples of digits for 2 epochs at batch "
        "64, Adam at rate 0.001; once for all that share it"
    ) == 2  # fmt: skip
    assert text.count("frozen: its outputs for all examples are computed once") == 1
    library = " ".join(trees.library("boosted_trees"))
    assert (
        f"boosted trees by {library}: up to 5 trees of depth 3 or 6, chosen by "
        "validation, for each of 2 seeds data: real_or_generated:digits, 2 classes; "
        "128 training"
    ) in text
    assert text.count("backbone:") + text.count("boosted trees by") == 3


def table(out):
    """Returns the rows of the last table, one for each network program."""
    lines = out.partition("in the order in which they train")[2].splitlines()
    return [line.split() for line in lines if re.match(r" *\d+: ", line)]


def test_describe_begins_with_what_would_run_how_long_in_how_much(launch, rates):
    rates.update({0: 10.0 - 2})
    one = ["--sweep=batch_size=64", "--seeds=3"]
    lines = launch(describe, QUICKSTART, *one)[1].splitlines()
    assert lines[:2] == [
        "Which learning rate should a small network get?",
        "1 trial x 3 seeds = 3 networks in 1 program",
    ]
    assert re.fullmatch(
        r"takes about 10 s and [\d.,]+ .iB of memory \(of .*\)", lines[2]
    )
    assert "time: about 8 s; " in "\n".join(lines)  # without compilation


def test_describe_tells_once_what_is_the_same_in_all_programs(launch):
    status, out, err = launch(describe, "--config=batch_size:smoke")
    assert (status, err) == (0, "")
    assert out.count("data: digits, 10 classes") == 1
    assert out.count("lanes: ") == 1
    assert len(re.findall(r"^ all +2,410 ", out, re.MULTILINE)) == 1
    assert out.count("\nlayers: as in program 1\n") == 6
    assert len(re.findall(r"^training: .* updates at batch", out, re.MULTILINE)) == 7
    assert re.search(r"program 4 of 7: 1 trial ─+\nbatch_size=20\nlayers: as in", out)
    assert max(map(len, out.splitlines())) <= 80


def test_describe_folds_the_equal_layers_of_a_deep_network(launch, like_mnist):
    deep = ["--config.model.depth=20", "--config.model.hidden=8,8"]
    deep += ["--config.model.batch_norm=true", "--sweep=optimizer.learning_rate=0.1"]
    status, out, err = launch(describe, MNIST, *deep)
    assert (status, err) == (0, "")
    text = re.sub(" +", " ", out)
    assert (
        " dense_1 8 72 64 8 128 \n batch_norm_1 8 16 8 8 \n relu_1 8 \n"
        " ... relu_39 38 x the same 3,344 2,736 608 4,864 \n dense_40 10 "
    ) in text
    per_layer = 8 * 8 + 8 + 16
    assert f" all {784 * 8 + 8 + 16 + 39 * per_layer + 90:,} " in text


def test_two_equal_layers_stand_by_themselves(launch, like_mnist):
    two = ["--config.model.hidden=8,8,8", "--sweep=optimizer.learning_rate=0.1"]
    out = launch(describe, MNIST, *two)[1]
    assert "the same" not in out
    assert re.search(r"\n dense_2 ", out)


def test_describe_leaves_out_the_middle_of_a_long_sweep(launch):
    sweep = "--sweep=optimizer.learning_rate=linspace(0.01,0.12,12)"
    out = launch(describe, QUICKSTART, sweep)[1]
    shown = "optimizer.learning_rate: 0.01, 0.02, 0.03, 0.04, 0.05, ..., 0.11, 0.12 "
    assert f"\n{shown}(12 values)\n" in out.replace("\n  ", " ")
    out = launch(describe, QUICKSTART)[1]
    assert "\noptimizer.learning_rate: 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10\n" in out


def test_describe_adds_up_the_time_of_all_programs(launch, rates):
    rates.update({0: 10.0 - 2, 1: 20.0 - 2, 2: 50.0 - 2})  # 2 seconds each to compile
    _, out, _ = launch(describe, TRANSFER)
    found = {int(row[0][:-1]): row[-6:] for row in table(out)}
    assert found == {
        2: ["4", "32", "8", "2", "25%", "20"],
        1: ["4", "32", "8", "2", "12%", "10"],
        3: ["4", "32", "8", "2", "62%", "50"],
    }
    assert "\ntakes about 80 s and " in out
    assert next(iter(found)) == 2  # the first to train is the last layer alone


def test_describe_estimates_shares_where_a_time_is_unknown(launch, rates):
    rates.update({0: 8.0, 1: 18.0})  # the third is not known
    _, out, _ = launch(describe, TRANSFER)
    assert "shares are estimates from numbers of operations" in out
    assert re.search(
        r"\ntakes about [\d.,]+ .iB of memory .*; how long, --measure tel", out
    )
    shares = [row[-1] for row in table(out)]
    assert all(re.fullmatch(r"\d+%", share) for share in shares)
    percent = [int(share[:-1]) for share in shares]
    assert percent == sorted(percent)
    assert abs(sum(percent) - 100) <= 1
    assert percent[0] < percent[1] == percent[2]  # scratch costs as much as tuning


@pytest.mark.slow
def test_programs_are_compiled_once_and_profiled_where_asked(tmp_path):
    def trained(name, *more):
        flags = [f"--workdir={tmp_path / name}", f"--compilation_cache={tmp_path}/c"]
        done = command("launch.train", QUICKSTART, *flags, *more)
        assert (done.returncode, done.stderr) == (0, "")
        found = re.search(
            r"compilation cache: (\d+) programs found, (\d+) compiled", done.stdout
        )
        return tuple(map(int, found.groups()))

    found, compiled = trained("first")
    assert (found, compiled > 3) == (0, True)
    assert trained("again", f"--profile={tmp_path}/trace") == (compiled, 0)
    assert len(list(tmp_path.rglob("perfetto_trace.json.gz"))) == 1


def test_report_redraws_without_jax_in_seconds(tmp_path):
    made_up(num_trials=2, num_seeds=3, workdir=tmp_path)
    code = (
        "import sys; from nnlab.commands import config, report; report.define_flags()\n"
        "try: config.run(report.main)\n"
        "finally: print('jax' in sys.modules)"
    )
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, f"--workdir={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    seconds = time.monotonic() - start
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"report: {tmp_path / 'report.html'}\nFalse\n")
    assert seconds < 15  # under 5 on an idle machine


def test_an_encoding_without_all_characters_is_no_reason_to_fail(tmp_path):
    made_up(num_trials=2, num_seeds=3, workdir=tmp_path)
    done = command("launch.report", f"--workdir={tmp_path}", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "% ?" in done.stdout


def test_report_refuses_what_holds_no_results(launch, tmp_path):
    made_up(num_trials=2, num_seeds=3, workdir=tmp_path / "run")
    members = tmp_path / "run" / "members.csv"
    lines = {
        "--workdir is missing": [],
        "holds no results": [f"--workdir={tmp_path}"],
        "no folder": [f"--workdir={tmp_path / 'none'}"],
        "members.csv' is not the file": [f"--workdir={members.parent}"],
    }
    members.write_text(members.read_text() + "\n")
    for message, arguments in lines.items():
        status, _, err = launch(report, *arguments)
        assert status == 2
        assert message in err
        assert err.count("\n") == 1
    members.unlink()
    assert "members.csv' is missing" in launch(report, lines.popitem()[1][0])[2]


def test_report_compares_runs_in_a_folder_of_their_own(launch, tmp_path):
    for name, question in (("a", "A?"), ("b", "B?")):
        made_up(num_seeds=3, question=question, workdir=tmp_path / name)
    runs = f"--compare={tmp_path / 'a'},{tmp_path / 'b'}"
    status, out, err = launch(report, runs, f"--workdir={tmp_path / 'both'}")
    assert (status, err) == (0, "")
    assert "Best by validation accuracy is " in out
    assert "The runs differ in question." in out
    assert out.endswith(f"report: {tmp_path / 'both' / 'report.html'}\n")
    assert (tmp_path / "both" / "comparison.csv").exists()
    mistakes = {
        "--workdir is missing: a folder for the comparison": [runs],
        "takes two workdirs or more": [f"--compare={tmp_path / 'a'}", "--workdir=x"],
        "is named twice": [f"{runs},{tmp_path / 'b'}", "--workdir=x"],
        "no folder": [f"{runs},{tmp_path / 'c'}", "--workdir=x"],
        "both' holds no results": [f"{runs},{tmp_path / 'both'}", "--workdir=x"],
        "holds a run's results": [runs, f"--workdir={tmp_path / 'a'}"],
        "--compare does not go with --list": [runs, "--list=x"],
        "--workdir does not go with --list": ["--workdir=x", "--list=x"],
    }
    for message, arguments in mistakes.items():
        status, _, err = launch(report, *arguments)
        assert (status, message in err, err.count("\n")) == (2, True, 1), err


def test_a_list_of_runs_fits_80_columns(launch, tmp_path):
    question = "A question of so many words that it takes more than a line?"
    long = tmp_path / ("a" * 70 + "\x1b[31m")
    made_up(num_trials=2, num_seeds=3, question=question, workdir=long / "b")
    made_up(num_trials=2, num_seeds=3, never_ran=[1], workdir=tmp_path / "cut")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    done = command("launch.report", f"--list={tmp_path}")
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout
    for word in ("cut", "interrupted", "complete", "broken", "damaged", "±", "now"):
        assert word in done.stdout
    status, out, _ = launch(report, f"--list={long / 'b' / 'figures'}")
    assert status == 2
    (tmp_path / "none").mkdir()
    status, out, _ = launch(report, f"--list={tmp_path / 'none'}")
    assert (status, out.startswith("no runs in ")) == (0, True)


def test_what_the_library_logs_is_seen(capsys):
    log = logging.getLogger("nnlab")
    train.show_log(Console(width=80))
    try:
        logging.getLogger("nnlab.data.sources").info("downloading %s", "mnist")
    finally:
        log.removeHandler(log.handlers[-1])
        log.setLevel(logging.NOTSET)
    assert capsys.readouterr().out.rstrip() == "downloading mnist"


@pytest.fixture
def to_full_disk(launch, monkeypatch):
    """Runs a program that prints to a full disk; returns status and stderr."""

    def run(*given):
        with open("/dev/full", "w") as stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            status, _, err = launch(*given)
        return status, err

    return run


NO_SPACE = "standard output: No space left on device"


def test_a_run_that_nobody_hears_ends_with_its_report(to_full_disk, tmp_path):
    small = ["--sweep=batch_size=64", "--config.num_epochs=1", "--seeds=1"]
    ended = to_full_disk(train, f"--workdir={tmp_path}", QUICKSTART, *small)
    assert ended == (0, f"{NO_SPACE}\n")
    assert (tmp_path / "report.html").exists()
    assert to_full_disk(report, f"--workdir={tmp_path}") == ended


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        (train, ["--help"]),
        (report, ["--list=docs"]),
        (describe, [QUICKSTART]),
        (bench, ["--only=nobody"]),
    ],
)
def test_output_that_is_all_is_missed(to_full_disk, program, arguments):
    assert to_full_disk(program, *arguments) == (1, f"error: {NO_SPACE}\n")


def in_shell(line):
    return subprocess.run(
        ["bash", "-c", line.format(python=shlex.quote(sys.executable))],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_a_reader_that_has_seen_enough_ends_a_program_quietly():
    found = in_shell("set -o pipefail; {python} -m launch.train --help | true")
    assert (found.returncode, found.stderr) == (1, "")


def test_no_file_gets_the_number_of_a_closed_stream():
    code = "import launch, os, sys; sys.exit(os.open(os.devnull, os.O_RDONLY))"
    assert in_shell(f"{{python}} -c '{code}' <&- >&- 2>&-").returncode == 3


@pytest.mark.parametrize(
    ("limit", "need"),
    [
        ("-n 16", "64 open files"),
        ("-v 1000000", "4194304 KiB of addresses"),
        ("-d 300000", "1048576 KiB of data"),
        ("-u 20", "64 threads"),
    ],
)
def test_a_limit_that_is_too_low_is_told_at_once(limit, need):
    found = in_shell(f"ulimit {limit}; exec {{python}} -m launch.report --list=docs")
    flag, allowed = limit.split()
    told = f"error: a run needs {need}: ulimit {flag} allows {allowed}; raise it, such "
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith(told)
    assert len(found.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_reports_what_it_has(tmp_path, sent):
    workdir = tmp_path / "run"
    endless = ["--config.num_epochs=100000", "--sweep=batch_size=64", "--seeds=1"]
    arguments = [QUICKSTART, f"--workdir={workdir}", *endless]
    # In a shell's background or under nohup, tests inherit that signals are ignored.
    program = (
        "import runpy, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "runpy.run_module('launch.train', run_name='__main__', alter_sys=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not (workdir / "config.json").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(1)
        process.send_signal(sent)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 1
    told = f"interrupted: {workdir} holds the results so far; go on with python -m "
    assert err.splitlines()[-1] == f"{told}launch.train --workdir={workdir} --resume"
    assert out.endswith(f"report: {workdir / 'report.html'}\n")
    assert "interrupted" in (workdir / "report.md").read_text()


@pytest.mark.slow
def test_a_run_is_resumed_rerun_and_replayed_from_its_workdir(launch, tmp_path):
    small = ["--sweep=batch_size=64", "--config.num_epochs=2", "--seeds=2"]
    lanes = "--lane_width=2"
    run, again = (f"--workdir={tmp_path / name}" for name in ("run", "again"))
    assert launch(train, run, QUICKSTART, *small, lanes)[0] == 0
    assert launch(train, run, "--resume")[0] == 0
    status, out, _ = launch(train, run, "--rerun=0,1")
    assert (status, out) == (
        0,
        "trial 0 (base), seed 1: identical, all 3 evaluations to the last bit\n",
    )
    replay = f"--config_json={tmp_path / 'run' / 'config.json'}"
    assert launch(train, again, replay, lanes)[0] == 0
    for name in ("config.json", "curves.parquet", "members.csv", "summary.csv"):
        first, second = ((tmp_path / n / name).read_bytes() for n in ("run", "again"))
        assert first == second
    status, _, err = launch(train, run, "--rerun=0,1", "--resume")
    assert status == 2
    assert err == (
        "error: --resume does not go with --rerun; allowed beside it: --workdir, "
        "--data_dir, --compilation_cache\n"
    )


def test_the_end_of_a_run_reads_its_tables_once(launch, tmp_path, monkeypatch):
    reads, read = [], pyarrow.parquet.read_table
    monkeypatch.setattr(
        pyarrow.parquet, "read_table", lambda source: (reads.append(1), read(source))[1]
    )
    small = ["--sweep=batch_size=64", "--config.num_epochs=1", "--seeds=1"]
    assert launch(train, f"--workdir={tmp_path}", QUICKSTART, *small)[0] == 0
    assert len(reads) == 1
    assert launch(report, f"--workdir={tmp_path}")[0] == 0
    assert len(reads) == 2


def test_event_files_are_written_and_gone_on_with(launch, tmp_path, monkeypatch):
    small = ["--sweep=batch_size=64", "--config.num_epochs=2", "--seeds=2"]
    run = f"--workdir={tmp_path}"
    status, out, _ = launch(train, run, QUICKSTART, *small, "--tensorboard")
    assert status == 0
    assert f"\nevent files: tensorboard --logdir {tmp_path}/tensorboard\n" in out
    found = sorted(path.name for path in (tmp_path / "tensorboard").iterdir())
    assert found == ["000_base", "population_trial_0"]
    parsed = flags.FlagValues()
    for name in ("tensorboard", "executor", "chunk_members", "storage", "data_dir"):
        flags.DEFINE_string(name, None, "", flag_values=parsed)
    parsed(["train", "--tensorboard=true"])
    monkeypatch.setattr(train.flags, "FLAGS", parsed)
    assert train._command(tmp_path).endswith("--resume --tensorboard")


def test_event_files_that_cannot_be_are_refused_first(launch, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX.event_file_writer", None)
    workdir = tmp_path / "run"
    status, out, err = launch(
        train, f"--workdir={workdir}", QUICKSTART, "--tensorboard"
    )
    assert (status, out, workdir.exists()) == (2, "", False)
    assert err == (
        "error: event files for TensorBoard need tensorboardX: pip install -c "
        'constraints.txt -e ".[tensorboard]"\n'
    )


def test_a_program_that_fails_is_told_with_status_1(launch, tmp_path, monkeypatch):
    train_program = loop.train_program

    def fails(program, *arguments):
        if program.index:
            raise MemoryError("out of memory")
        train_program(program, *arguments)

    monkeypatch.setattr(loop, "train_program", fails)
    small = ["--sweep=model.hidden=(8,),(9,)", "--config.num_epochs=1", "--seeds=1"]
    status, out, err = launch(train, f"--workdir={tmp_path}", QUICKSTART, *small)
    assert status == 1
    assert "1 of 2 trials is missing because its program failed: hidden 9" in out
    line = err.splitlines()[-1]
    assert line.startswith("error: 1 of 2 programs failed; the report has the others")
    assert f"{tmp_path}/failure_1.txt" in line
    assert "MemoryError: out of memory" in (tmp_path / "failure_1.txt").read_text()


def test_a_workdir_in_the_home_folder_is_found(launch, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    made_up(workdir=tmp_path / "run")
    status, out, _ = launch(report, "--workdir=~/run")
    assert status == 0
    assert f"report: {tmp_path / 'run' / 'report.html'}" in out
    for arguments in (["--list=~"], ["--compare=~/run,~/run/", "--workdir=~/b"]):
        assert "no folder" not in launch(report, *arguments)[2]


def test_no_matplotlibrc_is_read(tmp_path):
    """The user's file may be broken."""
    made_up(workdir=tmp_path / "run")
    (tmp_path / "rc").write_bytes(b"\xff")
    variables = {"MATPLOTLIBRC": str(tmp_path / "rc"), "MPLBACKEND": "nonsense"}
    done = command("launch.report", f"--workdir={tmp_path / 'run'}", **variables)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("program", ["describe", "train"])
def test_a_platform_that_is_not_there_is_one_line(program, tmp_path):
    workdir = [f"--workdir={tmp_path}"] if program == "train" else []
    done = command(f"launch.{program}", QUICKSTART, *workdir, JAX_PLATFORMS="nothing")
    assert done.returncode == 2
    assert re.fullmatch(
        "error: .* JAX_PLATFORMS='nothing', .* has cpu.*\n", done.stderr
    )


@pytest.mark.parametrize("module", ["fcntl", "resource"])
def test_where_there_are_no_file_locks_one_line_names_wsl(module):
    code = f"import sys; sys.modules[{module!r}] = None; import launch.train"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert re.fullmatch("error: .*Windows.* WSL.*\n", done.stderr)
