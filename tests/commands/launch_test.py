# SPDX-License-Identifier: Apache-2.0
"""The command line: one line and status 2 for a mistake, plain lines for the rest."""

import errno
import logging
import os
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
from launched import ONE, PROGRAMS, QUICKSTART, ROOT, launched
from rich.console import Console
from synthetic import results as made_up

import nnlab
from nnlab import data, study
from nnlab.commands import config, describe, find_rate, report, train
from nnlab.commands.bench import bench
from nnlab.data import Dataset
from nnlab.results import answers
from nnlab.runs import checkpoint, loop
from nnlab.training import lane_width, trees
from nnlab.watch import tensorboard

pytestmark = pytest.mark.usefixtures("compiled_fast")

MNIST = "--config=configs/learning_rate.py:mnist,smoke"


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


def command(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "COLUMNS": "80", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def done(program, *arguments):
    """What a program says that ends well."""
    status, out, err = launched(program, *arguments)
    assert (status, err) == (0, "")
    return out


def screen(program, *arguments):
    """The same, in lines that fit a screen."""
    out = done(program, *arguments)
    assert max(map(len, out.splitlines())) <= 80
    return out


def words(text):
    """A text without its line breaks and columns."""
    return " ".join(text.split())


SHORT = {
    "Q": [QUICKSTART],
    "M": [MNIST],
    "ENDLESS": [
        *(QUICKSTART, "--sweep=optimizer.learning_rate=0.1"),
        *("--config.num_epochs=100000000", "--config.eval_every_epochs=0.01"),
    ],
    "STACK": [*ONE, "--config.model.name=stack"],
    "MANY": ["--coordinator=localhost:1", "--processes=2", "--process_index=0"],
    "FILE": [f"--compilation_cache={__file__}"],
}
MISTAKES = r"""
train --config=configs/quikstart.py => did you mean 'configs/quickstart.py'?
train => --config is missing; bundled: configs/activation.py,
train --config=configs/quickstart.py:smok => did you mean 'smoke'?
train --config=configs/learning_rate.py:mnist,digits => has both 'mnist' and 'digits'
train Q --storage=s3://bucket/x => --storage needs --executor=ray
train Q --executor=ray --storage=runs/x => 'runs/x' is no URL of a folder
train Q --executor=ray --storage=gold://x => 'gold://x': Protocol not known
train Q --config.dataset=csv: => dataset 'csv:' lacks its argument: write csv:PATH
train Q --config.dataset=csv:: => dataset 'csv::' lacks its argument: write csv:PATH
train Q --config.dataset=minst => unknown dataset 'minst'; did you mean 'mnist'?
train Q --config.optimizer.learning_rte=1 => did you mean 'optimizer.learning_rate'?
train Q --config.optimizer=adam => unknown field 'optimizer'; did you mean
train Q --config.sweep=x => unknown field 'sweep'
train Q --halving=1 => halving.factor=1 drops no trial
train Q --vary=init,splits => vary holds 'splits', which is not known; did you mean
train Q --vary=split,split=published => names 'split' twice
train Q --vary=split --config.test_sets.severity=true => vary='split=published' keeps
train Q --vary=split --config.train_size=9 => a training set of 9 examples cannot hold
train Q --search=optuna => --search_space is missing
train Q '--search_space=batch_size=int(8,64)' => a search needs --search=optuna
train Q --search=optuna --search_space=batch_size=8 --sweep=batch_size=1
    => --search and --sweep are both given
train Q --search=optuna --search_space=batch_size=8,16 MANY => in one process
train Q --search=optuna '--search_space=batchsize=int(8,64)'
    => unknown field 'batchsize' in the search space; did you mean 'batch_size'?
train Q --search=optuna --sampler=tpee => did you mean 'tpe'?
train Q --sweep=learning_rate=1 => did you mean 'optimizer.learning_rate'?
train Q --config.optimizer.learning_rate=fast => 'fast' is not a number
train Q --config.figures=curves,mpa => did you mean 'map'?
train Q --config.test_sets.rotated_degrees=200 => =200.0 must be at most 180
train Q --config.batch_size => has no value; write --config.batch_size=VALUE
train Q --data_dir= => --data_dir= has no value
train Q --sweep=batch_size=8 --sweep=batch_size=9 => --sweep names 'batch_size' twice
train Q --config.optimizer.learning_rate=1e999 => =inf is not finite
train Q --config.early_stopping.metric=test_loss => 'test_loss' is not known; allowed
train Q FILE => is a file, not a folder
train Q --seeds=0 => num_seeds=0 must be at least 1
train Q --seeds=three => --seeds='three' is not an integer
train Q --config.batch_size=5000 => larger than the 1198 training examples
train Q --lane_width=999 => lane_width=999 must be from 1 to the program's 24 networks
train M --data_dir=no/such/folder => data_dir no/such/folder does not exist
train Q --seed=3 => unknown flag '--seed'; did you mean '--seeds'? allowed: --
train Q --tensorboard => unknown flag '--tensorboard'; it is --log=tensorboard now
train Q --log=wandbb => unknown --log='wandbb'; did you mean 'wandb'? allowed: tenso
train Q --lr=0.1 => did you mean '--config.optimizer.learning_rate=VALUE'?
train Q --dataset=mnist => did you mean '--config.dataset=VALUE'?
train --config=configs => config 'configs' is a folder; name a
train --config=tests/tinny.py => did you mean 'tests/tiny.py'?
train --config=:mnist => no config file ''; allowed: configs/
train --config=lr:mnist => no config file 'lr'; did you mean 'configs/learning_rate.py'?
train --config_json=tests/tiny.jsn => no file --config_json='tests/tiny.jsn'
train Q '--sweep=optimizer.learning_rate=logspce(0.1,1,3)'
    => a range is logspace(first,last,count) or linspace(first,last,count), and
train Q --config.optimzer=adam => did you mean 'optimizer.name'?
train M --data_dir=tets => data_dir tets does not exist; did you mean 'tests'?
train Q --config.dataset=csv:READM.md => did you mean '{root}/README.md'?
train Q --config.dataset=folder:confgs => did you mean '{root}/configs'?
train --help=filds => '--help=filds'; did you mean 'fields'? allowed: conf
train Q lr=3 => unexpected argument 'lr=3'; flags begin with --
find_rate Q --low=0 => low=0 and high=100: the lowest rate must be above
find_rate Q --count=1 => count=1 must be from 3 to 10,000 rates
find_rate Q --rates=9 => unknown flag '--rates'
find_rate --resume => --resume goes with the --config that the rates were found
find_rate => --config is missing
train Q --max_seeds=9 => --max_seeds goes with --until_resolved
train Q --until_resolved --seeds=2 => 2 seeds at the first look: a test needs
train Q --until_resolved --max_seeds=4 => at most 4 seeds are not more than
describe Q --members=0 => --members=0 must be a whole number from 1 to
describe Q --members=2.5 => --members=2.5 must be a whole number
describe Q --members=inf => --members=inf must be a whole number
describe Q --devices=0 => --devices=0 must be a whole number from 1 to
describe Q --cost_per_device_hour=1 => goes with --devices or --members
describe Q --devices=2 --sweep=model.name=random_forest => not of trees
train Q --workdir --resume => --workdir has no value: '--resume' comes next
train --resume=maybe => --resume='maybe' is not true or false
train Q --rerun=0,1 --resume =>  does not go with --rerun;
describe Q --sweep=optimizer.learning_rate=linspace(0,1,10000) --sweep=batch_size=8,9
    => has 20,000 trials; at most 10,000
describe ENDLESS => 3,700,000,000 updates; at most 2,147,483,647 are allowed
describe ENDLESS --config.max_steps=2000000 => eval_every_epochs=0.01 makes 2,000,000
describe STACK '--config.model.layers=({"layer":"dense","units":9},)'
    => layer 0 (dense_0): got shape (8, 8, 1), needs a flat vector (64,); put a
describe STACK '--config.model.layers="flatten",{"layer":"dense","units":9}'
    => layer 1 (dense_0): gives shape (9,), needs (10,), a value for each class
describe STACK '--config.model.layers="flatten","relu","max_pool"'
    => layer 2 (max_pool_0): got shape (64,), needs (height, width, channels)
bench --suite=mpl => unknown suite 'mpl'; did you mean 'mlp'? allowed:
bench --members=1,many => --members=1,many must be whole numbers of at least 1
bench --members=0 => --members=0 must be whole numbers of at least 1
bench --cores=none => --cores=none must be whole numbers of at least 1
bench --cores=1000 => --cores=1000 must be below the
bench --suite=search --dataset=nope => unknown dataset 'nope'; allowed: digits
bench --repeats=0 => --repeats='0' is not a positive integer
bench --seconds=0 => --seconds='0' is not
bench --out=/nowhere/b.json => --out='/nowhere/b.json': no folder '/nowhere'
report => --workdir is missing
report --workdir=docs => holds no results
report --workdir=dcos => dcos'; did you mean '{root}/docs'?
report --compare=a,b => --workdir is missing: a folder for the comparison
report --compare=a --workdir=x => takes two workdirs or more
report --compare=a,b --list=x => --compare does not go with --list
report --claim=x --compare=a,b => --claim does not go with --compare
check => --workdir is missing: a folder that launch.train made
check --workdir=dcos => dcos'; did you mean '{root}/docs'?
check --help=claim => did you mean 'claims'?
train Q '--claim=test_accuracy(learning_rate=0.2) > chance'
    => no trial has optimizer.learning_rate=0.2; allowed: 0.003, 0.01,
train Q '--claim=test_acuracy(learning_rate=0.1) > chance'
    => unknown column 'test_acuracy'; did you mean 'test_accuracy'?
train Q '--claim=diverge(learning_rate=0.1) > 5 %' => did you mean 'diverged'?
train Q '--claim=drop(test_moved_accuracy) > 5 %' => column 'test_moved_accuracy'
train --resume --claim=x => --claim does not go with --resume without --config; launch
train Q '--claim=test_accuracy(lr=0.1) > chance' => did you mean 'optimizer.learning_ra
report --bands=simultaneous --list=x => --bands does not go with --list
report --tables=latex --compare=a,b => --tables does not go with --compare
report --workdir=x --tables=word => allowed: markdown, latex, tsv
report --workdir=x --figure_format=jpg => allowed: pdf, svg, png
train Q --figure_size=slides => did you mean 'slide'?
train Q --bands=wide => --bands='wide' is not pointwise or simultaneous
report --workdir=x --list=x => --workdir does not go with --list
"""
"""Commands, with the names of `SHORT`, each with a part of what it is told."""
MISTAKES = re.split(r"\s+=> |\n(?! )", MISTAKES.replace("{root}", str(ROOT)).strip())
MISTAKES = dict(zip(MISTAKES[::2], MISTAKES[1::2]))


@pytest.mark.parametrize("mistaken", MISTAKES)
def test_a_mistake_is_one_line_and_status_2(tmp_path, mistaken):
    workdir = tmp_path / "run"
    name, *given = shlex.split(mistaken)
    arguments = [argument for word in given for argument in SHORT.get(word, [word])]
    if name in ("train", "find_rate"):
        arguments.insert(0, f"--workdir={workdir}")
    status, out, err = launched(PROGRAMS[name], *arguments)
    assert (status, out) == (2, "")
    assert MISTAKES[mistaken] in err
    assert re.fullmatch(r"error: [^\n]+\n", err)
    assert not workdir.exists()


@pytest.mark.slow
def test_seeds_are_added_until_resolved_and_resumed_without_a_word(tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    asked = [workdir, QUICKSTART, "--sweep=optimizer.learning_rate=0.001,0.3,0.31"]
    out = done(train, *asked, "--until_resolved", "--seeds=3", "--max_seeds=8")
    assert "3 trials x 3 seeds = 9 networks" in out
    page = tmp_path / "run" / "report.md"
    first = re.search(r"After \d looks?, at 3 (to \d )?seeds", page.read_text())[0]
    for more in (["--until_resolved"], []):
        done(train, workdir, "--resume", *more)
        assert first in page.read_text()
    status, _, err = launched(train, *asked, "--resume")
    assert status == 2
    assert "looks was [3, 6, 8] and is [] now: another study" in err


@pytest.mark.slow
def test_rates_are_found_resumed_and_drawn_again_like_any_run(tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    asked = [workdir, QUICKSTART, "--low=0.01", "--count=4", "--steps=30"]
    edge = "The edge, above which networks no longer train, is "
    out = words(done(find_rate, *asked, "--seeds=2"))
    assert "4 trials x 2 seeds = 8 networks" in out
    assert edge in out
    assert (tmp_path / "run" / "figures" / "rates.png").exists()
    assert "all 3 seeds" in words(done(find_rate, *asked, "--seeds=3", "--resume"))
    assert edge in words(done(report, workdir))


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
def test_a_bad_config_file_is_one_line(tmp_path, right, wrong, message):
    file = tmp_path / "mine.py"
    file.write_text(wrong if right == "CONFIG" else CONFIG.replace(right, wrong))
    status, _, err = launched(describe, f"--config={file}")
    assert status == 2
    assert re.search(message, err), err
    assert re.fullmatch(r"error: [^\n]+\n", err)


def test_a_config_file_of_ones_own(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(CONFIG)
    out = screen(describe, f"--config={file}", "--seeds=2")
    assert "1 trial x 2 seeds = 2 networks in 1 program" in out


def test_a_workdir_is_missing_taken_or_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "config.json").write_text("{}")
    for workdir, message in {
        f"--workdir={tmp_path / 'taken'}": "taken' holds results",
        f"--workdir={tmp_path / 'file'}": "file' is a file, not a folder",
        f"--workdir={tmp_path / 'file/below'}": "Not a directory: ",
        "--lane_width=1": "--workdir is missing: the folder for the results",
    }.items():
        status, _, err = launched(train, QUICKSTART, workdir)
        assert (status, message in err, err.count("\n")) == (2, True, 1)
    assert (tmp_path / "taken" / "config.json").read_text() == "{}"


def studies(program, *commands):
    """The studies that a program would describe or run."""
    made = []
    for arguments in commands:
        ended = launched(program, *arguments, main=lambda: made.append(config.study()))
        assert ended == (0, "", "")
    return made


def test_a_bundled_config_goes_by_its_name():
    names = (
        "quickstart",
        "quickstart.py",
        "configs/quickstart",
        "./configs/quickstart",
    )
    first, *others = studies(describe, *([f"--config={n}:smoke"] for n in names))
    assert others == [first] * 3


@pytest.mark.slow
def test_a_workdir_that_is_not_there_has_a_neighbour(tmp_path, caplog):
    made_up(num_trials=2, num_seeds=3, workdir=tmp_path / "quickstart")
    mistyped = f"--workdir={tmp_path / 'quikstart'}"
    hint = f"; did you mean '{tmp_path / 'quickstart'}'?"
    for asked in ((report,), (train, "--resume"), (train, "--rerun=0,0")):
        status, _, err = launched(*asked, mistyped)
        assert status == 2
        assert err.endswith(f"{hint}\n")
    caplog.set_level("INFO", logger="nnlab")
    done(train, mistyped, "--resume", *ONE)
    assert f"quikstart: starting{hint}" in caplog.text


def test_an_error_that_is_no_refusal_keeps_its_traceback():
    def broken():
        (ROOT / "x").relative_to(ROOT / "y")  # a ValueError of a library

    with pytest.raises(ValueError, match="is not in the subpath"):
        config.run(broken, ["test"])


@pytest.mark.slow
@pytest.mark.parametrize("program", ["bench", "check", "find_rate"])  # no other does
def test_a_program_starts_as_a_module(program):
    ended = command("-m", f"launch.{program}", "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"python -m launch.{program} --" in ended.stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_is_one_screen_and_its_commands_are_studies(program):
    out = screen(PROGRAMS[program], "--help")
    assert len(out.splitlines()) <= 23  # the prompt takes the 24th
    assert f"  python -m launch.{program} --" in out
    if program not in ("train", "describe", "find_rate"):
        return
    assert "What to run\n  --config=FILE:ARG" in out
    shown = re.findall(
        r"^  python -m launch\.(\w+) (.*)$", out.replace("\\\n", ""), re.M
    )
    assert {name for name, _ in shown} == {program}
    whole = [shlex.split(text) for _, text in shown if "--resume" not in text]
    assert len(studies(PROGRAMS[program], *whole)) >= 2


def test_each_topic_of_the_help_tells_all_of_it():
    with flagsaver.flagsaver():
        train.define_flags()
        defined = [
            flag.name
            for module, some in flags.FLAGS.flags_by_module_dict().items()
            for flag in some
            if module.startswith("nnlab.commands")
        ]
    told = {
        "configs": [f"\n  {path.stem} " for path in (ROOT / "configs").glob("*.py")],
        "fields": [rf"\n  {re.escape(path)}=" for path in study.PATHS],
        "parts": [f"\n  {name} +{words[:30]}" for name, words in study.SHOWN.items()],
        "flags": [f"\n  --{name}\\b" for name in defined],
    }
    full = screen(train, "--helpfull")
    for topic, patterns in told.items():
        out = screen(train, f"--help={topic}")
        assert out in full + "\n"
        assert not [p for p in patterns if not re.search(p, "\n" + out)]
        assert len(patterns) > 14


@pytest.mark.parametrize(
    ("program", "topic", "told"),
    [
        (train, "fields", "optimizer.learning_rate=0.1* peak rate; the schedule mult"),
        (
            train,
            "fields",
            "model.hidden=64 units of each hidden dense layer; of a transformer",
        ),
        (train, "fields", "model.batch_norm=false normalise before each hidden act"),
        (train, "fields", "stack and resnet18); one of relu, leaky_relu, elu,"),
        (train, "fields", "optimizer: the update rule optimizer.name=sgd"),
        (train, "fields", "num_seeds=8 repetitions of every trial"),
        (train, "fields", "test_sets.moved_pixels=0 largest shift along both axes"),
        (train, "configs", "Which learning rate should a small network get? takes s"),
        (train, "configs", "takes digits, mnist, fashion_mnist; mlp, cnn; smoke, full"),
        (bench, "flags", "members=A,.. sizes of nnlab's populations (default: 1,8,64)"),
        (bench, "flags", "--repeats=N turns of each contender (default: 5)"),
    ],
)
def test_help_tells_defaults_choices_and_meaning(program, topic, told):
    text = words(screen(program, f"--help={topic}"))
    assert told in text
    assert not re.search("traced|nnlab\\.|own\\.", text)


def test_overrides_flags_and_axes_meet_in_one_study():
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
    (study,) = studies(describe, [QUICKSTART, *arguments])
    assert study.base.optimizer.momentum == 0.9
    assert study.base.model.hidden == (60, 60)
    assert study.base.model.batch_norm is True
    assert (study.question, study.claims, study.num_seeds) == ("What if, once?", (), 3)
    assert len(study.trials()) == 6
    assert study.swept() == ("optimizer.learning_rate", "batch_size")


def test_claims_of_a_config_go_where_an_override_leaves_them_no_epoch():
    bundled, short = "--config=map_learning_rate", "--config.num_epochs=50"
    asks = "--claim=at_epoch(20, test_loss, learning_rate=0.01) < 1"
    whole, cut, more = studies(
        describe, [bundled], [bundled, short], [bundled, short, asks]
    )
    last = [c for c in whole.claims if any(q.epoch == 100 for q, _ in c.compared)]
    assert last
    assert cut.claims == tuple(c for c in whole.claims if c not in last)
    assert more.claims[:-1] == cut.claims
    based = nnlab.define(whole, num_epochs=50)
    assert based.claims == cut.claims
    with pytest.raises(ValueError, match="the last is epoch 50"):
        nnlab.run(whole, num_epochs=50, claims=whole.claims)


def test_nothing_of_a_config_leaks_into_another_question():
    sweep = "--sweep=model.dropout_rate=0,0.5"
    (study,) = studies(describe, [QUICKSTART, sweep])
    assert (study.claims, study.notes, study.compares) == ((), (), True)
    assert "dropout rate" in study.question
    (same,) = studies(describe, [QUICKSTART, "--sweep=optimizer.learning_rate=0.1,10"])
    assert same.question == studies(describe, [QUICKSTART])[0].question
    assert [claim.left for claim in same.claims] == [{"optimizer.learning_rate": 10.0}]


@pytest.fixture
def like_mnist(monkeypatch):
    """Replaces every data set by a few random images of MNIST's size."""

    def load(name, data_dir):
        rng = np.random.default_rng(0)
        images = rng.integers(256, size=(900, 28, 28)).astype(np.uint8)
        return Dataset.from_arrays(images, np.arange(900) % 10, name=name)

    monkeypatch.setattr(data, "load", load)


def test_describe_counts_weights_and_biases_of_one_and_two_layers(like_mnist):
    sweep = "--sweep=model.hidden=(64,),(60,60)"
    out = screen(describe, MNIST, "--config.model.bias=first", sweep)
    assert re.search(r"dense_0 +64 +50,240 +50,176 +64 +100,352 \n", out)
    assert re.search(r"dense_1 +10 +640 +640 +1,280 \n", out)
    assert re.findall(r" all +(.*) \n", re.sub(" +", " ", out)) == [
        "50,880 50,816 64 101,632",
        "51,300 51,240 60 102,480",
    ]


def test_describe_tells_what_is_done_to_images(like_mnist):
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
    text = words(screen(describe, MNIST, *arguments))
    for told in (
        "further test sets: moved by up to 3 pixels, rotated by up to 7.5 degrees; at "
        "every evaluation; more and less moved and rotated at the end figures: curves, "
        "severity ",
        "inputs: standardized by the training examples; in training moved by up to 2 "
        "pixels along both axes training: ",
        "conv_0 28 x 28 x 32 832 800 32 1,254,400 max_abs_pool_0 14 x 14",
    ):
        assert told in text


GRADIENTS = [QUICKSTART, "--sweep=batch_size=32", "--check_gradients"]


@pytest.mark.slow
def test_describe_checks_gradients():
    out = screen(describe, *GRADIENTS, "--config.model.activation=tanh")
    assert re.search(r"dense_0 +(\d+) of \1  1e-02 +\de-", out)
    assert len(re.findall(r"1e-03 .* 2\.00 +\n", out)) == 2  # two layers
    told = r"(\d+) of \1 weights agree to a relative 1e-06, to order 2\.00 of eps\n"
    assert re.search(told, out)


def test_gradients_that_disagree_are_status_1(monkeypatch):
    monkeypatch.setattr("nnlab.describe.gradients.TOLERANCE", -1.0)
    status, out, err = launched(describe, *GRADIENTS)
    assert status == 1
    assert err == (
        "error: autodiff and central differences disagree on the gradients of dense_0 "
        "of program 1 of 1, dense_1 of program 1 of 1\n"
    )
    assert "too few agree in dense_0, dense_1" in words(out)


@pytest.mark.slow
def test_describe_predicts_what_was_measured():
    arguments = [QUICKSTART, "--sweep=batch_size=64", "--seeds=3"]
    assert "time: not measured on this machine yet" in screen(describe, *arguments)
    told = (
        r"examples/s by lane width: 1: [\d,]+, 2: [\d,]+\n"
        r"time: about \d+ s; [\d,]+ examples/s, \d+% for evaluations; \d+ s to compile"
    )
    for more in (["--measure"], []):  # measurements are remembered
        assert re.search(told, screen(describe, *arguments, *more))


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        (50, "1.35 epochs (of 30: max_steps=50) of 37 updates at batch 32, 50 updates"),
        (1111, "30 epochs of 37 updates at batch 32, 1,110 updates"),
    ],
)
def test_describe_tells_where_training_ends_before_its_epochs(steps, told):
    arguments = ["--sweep=batch_size=32", "--config.num_epochs=30"]
    out = screen(describe, QUICKSTART, *arguments, f"--config.max_steps={steps}")
    assert f"training: {told} in all, " in words(out)
    assert "14 examples left over in each epoch" in out  # 1,198 = 37 x 32 + 14


def test_describe_predicts_another_size(rates):
    rates[0] = 8.0
    asked = ["--members=24000", "--devices=4", "--cost_per_device_hour=3"]
    text = words(screen(describe, QUICKSTART, *asked))
    assert "networks 24,000 given --members" in text
    # 24 networks take 8 s on two devices: 1,000 times as many on four take 500 x 8 s.
    assert re.search(r"training 4,\d\d\d s|training 6\d min", text)
    assert re.search(r"memory a device \d+ MiB modelled", text)
    assert "cost not known assumed 3 a device and hour" in text  # nor evaluation
    del rates[0]
    text = words(screen(describe, QUICKSTART, "--devices=4"))
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


def table(out):
    """Returns the rows of the last table, one for each network program."""
    lines = out.partition("in the order in which they train")[2].splitlines()
    return [line.split() for line in lines if re.match(r" *\d+: ", line)]


def test_describe_tells_of_backbones_and_trees_and_adds_up_their_time(rates):
    rates.update({0: 10.0 - 2, 1: 20.0 - 2, 2: 50.0 - 2})  # 2 seconds each to compile
    out = screen(describe, TRANSFER)
    text = words(out)
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
    found = {int(row[0][:-1]): row[-6:] for row in table(out)}
    assert found == {
        2: ["4", "32", "8", "2", "25%", "20"],
        1: ["4", "32", "8", "2", "12%", "10"],
        3: ["4", "32", "8", "2", "62%", "50"],
    }
    assert "\ntakes about 80 s and " in out
    assert next(iter(found)) == 2  # the first to train is the last layer alone


def test_describe_estimates_shares_where_a_time_is_unknown(rates):
    rates.update({0: 8.0, 1: 18.0})  # the third is not known
    out = screen(describe, TRANSFER)
    assert "shares are estimates from numbers of operations" in out
    assert re.search(
        r"\ntakes about [\d.,]+ .iB of memory .*; how long, --measure tel", out
    )
    percent = [int(row[-1].removesuffix("%")) for row in table(out)]
    assert percent == sorted(percent)
    assert abs(sum(percent) - 100) <= 1
    assert percent[0] < percent[1] == percent[2]  # scratch costs as much as tuning


def test_describe_begins_with_what_would_run_how_long_in_how_much(rates):
    rates.update({0: 10.0 - 2})
    out = screen(describe, QUICKSTART, "--sweep=batch_size=64", "--seeds=3")
    assert re.match(
        r"How does training go\?\n"
        r"1 trial x 3 seeds = 3 networks in 1 program\n"
        r"takes about 10 s and [\d.,]+ .iB of memory \(of .*\)\n",
        out,
    )
    assert "time: about 8 s; " in out  # without compilation


def test_describe_tells_once_what_is_the_same_in_all_programs():
    out = screen(describe, "--config=batch_size:smoke")
    assert out.count("data: digits, 10 classes") == 1
    assert out.count("lanes: ") == 1
    assert len(re.findall(r"^ all +2,410 ", out, re.MULTILINE)) == 1
    assert out.count("\nlayers: as in program 1\n") == 6
    assert len(re.findall(r"^training: .* updates at batch", out, re.MULTILINE)) == 7
    assert re.search(r"program 4 of 7: 1 trial ─+\nbatch_size=20\nlayers: as in", out)


def test_describe_folds_the_equal_layers_of_a_deep_network(like_mnist):
    one = "--sweep=optimizer.learning_rate=0.1"
    deep = ["--config.model.depth=20", "--config.model.hidden=8,8", one]
    text = re.sub(
        " +", " ", screen(describe, MNIST, *deep, "--config.model.batch_norm=true")
    )
    assert (
        " dense_1 8 72 64 8 128 \n batch_norm_1 8 16 8 8 \n relu_1 8 \n"
        " ... relu_39 38 x the same 3,344 2,736 608 4,864 \n dense_40 10 "
    ) in text
    per_layer = 8 * 8 + 8 + 16
    assert f" all {784 * 8 + 8 + 16 + 39 * per_layer + 90:,} " in text
    out = screen(describe, MNIST, "--config.model.hidden=8,8,8", one)
    assert "the same" not in out  # two stand by themselves
    assert re.search(r"\n dense_2 ", out)


def test_describe_leaves_out_the_middle_of_a_long_sweep():
    sweep = "--sweep=optimizer.learning_rate=linspace(0.01,0.12,12)"
    out = screen(describe, QUICKSTART, sweep).replace("\n  ", " ")
    shown = "optimizer.learning_rate: 0.01, 0.02, 0.03, 0.04, 0.05, ..., 0.11, 0.12 "
    assert f"\n{shown}(12 values)\n" in out
    out = screen(describe, QUICKSTART)
    assert "\noptimizer.learning_rate: 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10\n" in out


@pytest.mark.slow
def test_programs_are_compiled_once_and_profiled_where_asked(tmp_path):
    def trained(name, *more):
        given = [
            *ONE,
            f"--workdir={tmp_path / name}",
            f"--compilation_cache={tmp_path}/c",
        ]
        ended = command("-m", "launch.train", *given, *more)
        assert (ended.returncode, ended.stderr) == (0, "")
        counts = r"compilation cache: (\d+) programs found, (\d+) compiled"
        return tuple(map(int, re.search(counts, ended.stdout).groups()))

    found, compiled = trained("first")
    assert (found, compiled > 3) == (0, True)
    assert trained("again", f"--profile={tmp_path}/trace") == (compiled, 0)
    assert len(list(tmp_path.rglob("perfetto_trace.json.gz"))) == 1


def test_report_redraws_without_jax_whatever_matplotlibrc_and_encoding(tmp_path):
    fields = {"figures": ("final",)}
    made_up(num_trials=2, num_seeds=3, fields=fields, workdir=tmp_path / "run")
    (tmp_path / "rc").write_bytes(b"\xff")
    code = (
        "import sys; from nnlab.commands import config, report; report.define_flags()\n"
        "try: config.run(report.main)\n"
        "finally: print('jax' in sys.modules)"
    )
    ended = command(
        *("-c", code, f"--workdir={tmp_path / 'run'}"),
        MATPLOTLIBRC=str(tmp_path / "rc"),
        MPLBACKEND="nonsense",
        PYTHONIOENCODING="ascii",
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.endswith(f"report: {tmp_path / 'run/report.html'}\nFalse\n")
    assert "% ?" in ended.stdout


def test_a_report_is_redrawn_with_other_bands_and_changes_no_result(tmp_path):
    place = tmp_path / "run"
    made_up(num_trials=2, num_seeds=3, fields={"figures": ("updates",)}, workdir=place)
    before = (place / "config.json").read_bytes()
    for bands, told in (
        (("--bands=simultaneous",), "along the whole curve"),
        ((), "point by point"),
    ):
        assert launched(report, f"--workdir={place}", *bands)[0] == 0
        assert told in (place / "report.md").read_text()
    assert (place / "config.json").read_bytes() == before


def test_a_report_has_figures_and_tables_for_other_documents_beside(tmp_path):
    place, other = tmp_path / "run", tmp_path / "plain"
    for folder in (place, other):
        fields = {"figures": ("updates",)}
        made_up(num_trials=2, num_seeds=3, fields=fields, workdir=folder)
    asked = ("--figure_size=column", "--figure_format=svg,png", "--tables=tsv")
    status, said, _ = launched(report, f"--workdir={place}", *asked)
    launched(report, f"--workdir={other}")
    assert status == 0
    for folder, names in (
        (place / "figures/column", {"updates.svg", "updates.png"}),
        (place / "tables", {"comparison.tsv", "how.tsv", "how_2.tsv"}),
    ):
        assert f"written: {folder}" in said
        assert names <= {path.name for path in folder.iterdir()}
    for name in ("figures/updates.png", "figures/updates.svg", "report.html"):
        assert (place / name).read_bytes() == (other / name).read_bytes()


def refused(told, program, *arguments):
    """Whether a program ends with status 2 and one line that tells something."""
    status, _, err = launched(program, *arguments)
    assert (status, told in err, err.count("\n")) == (2, True, 1), err


def test_report_compares_runs_in_a_folder_of_their_own(tmp_path):
    for name, question in (("a", "A?"), ("b", "B?")):
        made_up(num_seeds=3, question=question, workdir=tmp_path / name)
    runs = f"--compare={tmp_path / 'a'},{tmp_path / 'b'}"
    status, out, err = launched(report, runs, f"--workdir={tmp_path / 'both'}")
    assert (status, err) == (0, "")
    assert "Best by validation accuracy is " in out
    assert "The runs differ in question." in out
    assert out.endswith(f"report: {tmp_path / 'both' / 'report.html'}\n")
    assert (tmp_path / "both" / "comparison.csv").exists()
    for told, more in {
        "is named twice": f"{runs},{tmp_path / 'b'}",
        "no folder": f"{runs},{tmp_path / 'c'}",
        "both' holds no results": f"{runs},{tmp_path / 'both'}",
    }.items():
        refused(told, report, more, "--workdir=x")
    refused("holds a run's results", report, runs, f"--workdir={tmp_path / 'a'}")


def test_a_list_of_runs_fits_80_columns(tmp_path):
    question = "A question of so many words that it takes more than a line?"
    long = tmp_path / ("a" * 70 + "\x1b[31m")
    made_up(num_trials=2, num_seeds=3, question=question, workdir=long / "b")
    made_up(num_trials=2, num_seeds=3, never_ran=[1], workdir=tmp_path / "cut")
    for name in ("broken", "none"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    out = screen(report, f"--list={tmp_path}")
    assert "\x1b" not in out
    for word in ("cut", "interrupted", "complete", "broken", "damaged", "±", "now"):
        assert word in out
    assert launched(report, f"--list={long / 'b' / 'figures'}")[0] == 2
    status, out, _ = launched(report, f"--list={tmp_path / 'none'}")
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


def to_full_disk(*given):
    """Runs a program that prints to a full disk; returns status and errors."""
    with open("/dev/full", "w") as stream:
        return launched(*given, out=stream)[::2]


NO_SPACE = "standard output: No space left on device"


def test_a_run_that_nobody_hears_ends_with_report_and_event_files(
    tmp_path, monkeypatch
):
    reads, read = [], pyarrow.parquet.read_table
    monkeypatch.setattr(
        pyarrow.parquet, "read_table", lambda source: (reads.append(1), read(source))[1]
    )
    run = f"--workdir={tmp_path}"
    for number, asked in enumerate(([train, *ONE, "--log=tensorboard"], [report]), 1):
        assert to_full_disk(*asked, run) == (0, f"{NO_SPACE}\n")
        assert (tmp_path / "report.html").exists()
        assert len(reads) == number  # its tables are read once
    names = sorted(path.name for path in (tmp_path / "tensorboard").iterdir())
    assert names == ["000_base", "population_trial_0"]


@pytest.mark.parametrize(
    ("program", "argument"),
    [
        (train, "--help"),
        (report, "--list=docs"),
        (describe, QUICKSTART),
        (bench, "--only=nobody"),
    ],
)
def test_output_that_is_all_is_missed(program, argument):
    assert to_full_disk(program, argument) == (1, f"error: {NO_SPACE}\n")


def in_shell(line):
    return subprocess.run(
        ["bash", "-c", line.format(python=shlex.quote(sys.executable))],
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
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
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
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not (workdir / "config.json").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
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
def test_a_run_is_resumed_rerun_and_replayed_from_its_workdir(tmp_path):
    small = [*ONE, "--seeds=2", "--config.num_epochs=2", "--lane_width=2"]
    small += ["--example_losses"]  # which resuming and replaying ask for by themselves
    run, again = (f"--workdir={tmp_path / name}" for name in ("run", "again"))
    for arguments in ([*small, run], [run, "--resume"]):
        assert launched(train, *arguments)[0] == 0
    assert launched(train, run, "--rerun=0,1") == (
        0,
        "trial 0 (base), seed 1: identical, all 3 evaluations to the last bit\n",
        "",
    )
    replay = f"--config_json={tmp_path / 'run' / 'config.json'}"
    assert launched(train, again, replay, "--lane_width=2")[0] == 0
    tables = ("config.json", "curves.parquet", "members.csv", "summary.csv")
    for name in (*tables, answers.CORRECT, answers.LOSSES):
        first, second = ((tmp_path / n / name).read_bytes() for n in ("run", "again"))
        assert first == second


def test_a_run_that_cannot_be_saved_says_how_to_go_on(tmp_path, monkeypatch):
    def fails(*_):
        raise checkpoint.SaveError("no space left")

    monkeypatch.setattr(loop, "train_program", fails)
    more = [f"--workdir={tmp_path / 'run'}", "--log=tensorboard", "--data_dir=docs"]
    status, _, err = launched(train, *more, *ONE)
    assert status == 1
    assert err.endswith("/run --resume --data_dir=docs --log=tensorboard\n")


@pytest.mark.slow
def test_a_dashboard_comes_after_the_report_and_ends_without_one(tmp_path, monkeypatch):
    told = []

    class Board(tensorboard.EventFiles):
        def where(self):
            told.append("where")
            return "here"

        def finish(self, *_):
            told.append("finished")

        def close(self):
            told.append("closed")
            super().close()

    def write(*_):
        told.append("report")
        if told.count("report") > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return None, []

    monkeypatch.setattr(tensorboard, "EventFiles", Board)
    monkeypatch.setattr(report, "write", write)
    command = [train, f"--workdir={tmp_path / 'run'}", "--log=tensorboard", *ONE]
    assert launched(*command)[0] == 0
    assert told[-4:] == ["report", "finished", "closed", "where"]
    assert launched(*command, "--resume")[0] == 1
    assert told[-2:] == ["report", "closed"]


def test_event_files_that_cannot_be_are_refused_first(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX.event_file_writer", None)
    workdir = tmp_path / "run"
    told = "error: event files for TensorBoard need tensorboardX: pip install"
    refused(told, train, f"--workdir={workdir}", QUICKSTART, "--log=tensorboard")
    assert not workdir.exists()


def test_a_program_that_fails_is_told_with_status_1(tmp_path, monkeypatch):
    train_program = loop.train_program

    def fails(program, *arguments):
        if program.index:
            raise MemoryError("out of memory")
        train_program(program, *arguments)

    monkeypatch.setattr(loop, "train_program", fails)
    two = [QUICKSTART, *ONE[2:], "--sweep=model.hidden=(8,),(9,)", "--log=tensorboard"]
    status, out, err = launched(train, f"--workdir={tmp_path}", *two)
    assert status == 1
    assert f"\nevent files: tensorboard --logdir {tmp_path}/tensorboard\n" in out
    assert "1 of 2 trials is missing because its program failed: hidden 9" in words(out)
    line = err.splitlines()[-1]
    assert line.startswith("error: 1 of 2 programs failed; the report has the others")
    assert f"{tmp_path}/failure_1.txt" in line
    assert "MemoryError: out of memory" in (tmp_path / "failure_1.txt").read_text()


def test_a_workdir_in_the_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    made_up(fields={"figures": ()}, workdir=tmp_path / "run")
    status, out, _ = launched(report, "--workdir=~/run")
    assert status == 0
    assert f"report: {tmp_path / 'run' / 'report.html'}" in out


@pytest.mark.slow
def test_a_platform_that_is_not_there_is_one_line():
    ended = command("-m", "launch.describe", QUICKSTART, JAX_PLATFORMS="nothing")
    assert ended.returncode == 2
    told = "error: .* JAX_PLATFORMS='nothing', .* has cpu.*\n"
    assert re.fullmatch(told, ended.stderr)


@pytest.mark.parametrize("module", ["fcntl", "resource"])
def test_where_there_are_no_file_locks_one_line_names_wsl(module):
    ended = command("-c", f"import sys; sys.modules[{module!r}] = None; import launch")
    assert ended.returncode == 2
    assert re.fullmatch("error: .*Windows.* WSL.*\n", ended.stderr)
