# SPDX-License-Identifier: Apache-2.0
"""A corpus of bad input: each case ends in a right result or one clear line, status 2.

A case never ends in a traceback, takes no longer than `SECONDS`, and leaves the files
that it found as they were. Cases are drawn by Hypothesis, without a random seed of its
own: the short run is the same every time, the long one (-m long) has twenty times as
many.
"""

import contextlib
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from launched import QUICKSTART, ROOT, launched
from PIL import Image
from synthetic import results as made_up

from nnlab import data, results, study
from nnlab.commands import config, describe, report, train
from nnlab.machine import files
from nnlab.results import pictures
from nnlab.runs.checkpoint import Checkpoints

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compiled_fast")]

SECONDS = 20.0


# What a case must fulfil.


class TooSlow(BaseException):
    """A case took longer than `SECONDS`."""


def _too_slow(number, frame):
    raise TooSlow


def ends(program, *arguments, main=None):
    """Runs a program in this process, in time; returns its status and errors."""
    before = signal.signal(signal.SIGALRM, _too_slow)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        ended = launched(program, *arguments, main=main)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    check(*ended)
    return ended[0], ended[2]


def calls(main):
    """Calls a function as the body of a program without flags."""
    return ends(report, main=main)


def check(status, out, err):
    """Whether a program ended as required."""
    assert status in (0, 2), err
    if status == 0:
        assert err == ""
        return
    assert err.startswith("error: ")
    line = err.removesuffix("\n")
    assert line.isprintable(), repr(line)
    assert 10 < len(line) < 1_100
    assert status != 2 or out == ""


def snapshot(folder):
    """Returns kinds, links and contents of all that is in a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name] = path.read_bytes()
        else:
            found[name] = path.stat().st_mode
    return found


# Parts of cases.

SIZES = (-1, 0, 1, 2, 7, 10**9, 2**31 - 1, 2**31, 2**63, 10**30, 10**400)
NUMBERS = (-1.0, -0.0, 0.5, 1e-300, 0.99999999999, 1.0, 3e38, 4e38, 1e308)
WORDS = (
    *("nan", "inf", "1e999", "1e400", "none", "null", "true", "False", "''", "()"),
    *("[", "(" * 300, "-" * 5000 + "1", "[1,", "{[]:1}", "{{}}", "1if", "'\\d'", "1_0"),
    *("b'x'", "{1,2}", "...", "1j", "9" * 5000, "x" * 5000, "é", "\x1b[31m", "a\nb"),
    *("\u202e", "../../etc/passwd", "/dev/zero", "csv:", "csv:/dev/zero", "folder:/"),
    *("csv:/etc/passwd", "folder:" + "x" * 300, "real_or_generated:" * 40 + "digits"),
    *("mnist", "relu", "sgd", "cosine", "stack", "resnet18", "random_forest"),
    "a" * 300,
    *("<script>", "$(id)", "__import__('os').system('id')", "exec('1/0')", "%s%n"),
    *("64,32", "(64,(32,))", "('flatten',)", "{'layer':'dense','units':10**9}"),
    "('flatten',{'layer':'dense','units':1000000000},{'layer':'dense','units':10})",
    "{'layer':'conv','channels':1,'kernel':1000000000},'flatten',{'layer':'dense','units':10}",
    "('flatten',{'layer':'dense','units':-1})",
)
FIELDS = (*study.PATHS, "num_seeds", "root_seed", "target", "question", "notes")
FIELDS += ("eval_size", "vary", "figures", "claims", "test_sets.moved_pixels")
FIELDS += ("test_sets.rotated_degrees", "test_sets.severity")

ODD = [*map(str, SIZES[:-1]), *map(str, NUMBERS), *WORDS]
ODD_FIELDS = ("batch_size", "optimizer.learning_rate", "model.hidden", "model.layers")
ODD_FIELDS += ("dataset", "question", "model.name", "figures")

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
PLAIN = st.one_of(
    st.sampled_from(SIZES), st.sampled_from(NUMBERS), st.sampled_from(WORDS), TEXTS
)
VALUES = PLAIN.map(str)
PATHS = st.one_of(
    st.sampled_from(FIELDS),
    st.sampled_from(FIELDS).map(lambda path: path[:-1]),
    TEXTS.filter(lambda text: "=" not in text),
)
JSON = st.recursive(
    st.one_of(PLAIN, st.none(), st.booleans(), st.just(np.nan), st.just(np.inf)),
    lambda some: st.one_of(
        st.lists(some, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(FIELDS), TEXTS), some, max_size=3),
    ),
    max_leaves=8,
)


@st.composite
def overrides(draw):
    """Draws flags of a study, some of which are wrong."""
    some = draw(st.lists(st.tuples(PATHS, VALUES), min_size=1, max_size=2))
    flags = [f"--config.{path}={value}" for path, value in some]
    if draw(st.booleans()):
        name = draw(
            st.sampled_from(("seeds", "lane_width", "data_dir", "sed", "sweep"))
        )
        flags.append(f"--{name}={draw(VALUES)}")
    models = st.sampled_from(("mlp", "mlp", "cnn", "stack", "random_forest"))
    return [f"--config.model.name={draw(models)}", *flags]


@st.composite
def axes(draw):
    """Draws axes of a sweep, as on the command line."""
    number = st.one_of(st.sampled_from(SIZES), st.sampled_from(NUMBERS)).map(str)
    ranged = st.builds(
        "{}({},{},{})".format,
        st.sampled_from(("logspace", "linspace", "space")),
        *(st.one_of(number, VALUES) for _ in range(2)),
        st.sampled_from(("0", "1", "5", "100", "10000", "100000", "1e9", "x", "-3")),
    )
    listed = st.lists(VALUES, max_size=4).map(",".join)
    values = st.one_of(listed, ranged, TEXTS)
    # Most fields are read only beside others, so one that is always read comes often.
    paths = st.one_of(PATHS, st.just("optimizer.learning_rate"))
    return [
        f"--sweep={path}={draw(values)}"
        for path in draw(st.lists(paths, min_size=1, max_size=3))
    ]


CLAIM = st.fixed_dictionaries(
    {"text": PLAIN, "quantity": JSON, "left": JSON, "right": JSON}
)
LAYERS = st.lists(
    st.dictionaries(
        st.sampled_from(("layer", "units", "kernel", "name")),
        st.one_of(st.sampled_from(("dense", "conv", "relu")), PLAIN),
    )
)
STUDIES = st.one_of(
    JSON,
    st.dictionaries(st.sampled_from(FIELDS).map(lambda p: p.split(".")[0]), JSON),
    st.fixed_dictionaries({"sweep": st.lists(st.dictionaries(PATHS, PLAIN))}),
    st.fixed_dictionaries({"claims": st.lists(CLAIM, max_size=2)}),
    st.fixed_dictionaries({"study": JSON}),
    st.fixed_dictionaries({"model": st.fixed_dictionaries({"layers": JSON})}),
    st.fixed_dictionaries(
        {"model": st.fixed_dictionaries({"name": st.just("stack"), "layers": LAYERS})}
    ),
)
CELLS = st.one_of(
    st.sampled_from(
        ("label", "x", "y", "", "1", "2.5", "nan", "1e39", "1_0", '"', "\0")
    ),
    VALUES,
)
TABLES = st.one_of(
    st.binary(max_size=60),
    st.lists(st.lists(CELLS, max_size=4).map(",".join), max_size=12).map(
        lambda lines: "\n".join(["x,label", *lines]).encode("utf-8", "replace")
    ),
    st.tuples(st.lists(CELLS, min_size=1, max_size=2), st.integers(0, 11)).map(
        lambda drawn: (
            "x,label\n"
            + "".join(
                f"{','.join(drawn[0]) if i == drawn[1] else i},{i % 2}\n"
                for i in range(12)
            )
        )
    ),
    st.lists(
        st.tuples(st.floats(-9, 9), st.sampled_from("ab")), min_size=8, max_size=12
    ).map(lambda rows: "x,label\n" + "\n".join(f"{x},{y}" for x, y in rows)),
)
LINES = (
    *("c.batch_size = 0", "c.batch_size = 'x'", "c.optimizer.learning_rate = -1.0"),
    *("c.optimizer.learning_rate = float('nan')", "c.model.hidden = (10**9,)"),
    *("c.nothing = 1", "del c.model", "c.model = 3", "c = None", "1 / 0", "raise"),
    *("raise SystemExit(0)", "raise SystemExit", "return", "c.question = b'x'"),
    *("c.claims = ({'text': object()},)", "c.figures = ('mpa',)", "assert False"),
    *("raise RecursionError", "raise MemoryError('a\\nb')", "("),
    "import nothing_at_all",
    *("raise ValueError('\\x1b[2J')", "c.num_seeds = 0", "c.num_epochs = 10**12"),
)
YIELDS = (
    *("yield {}", "return", "yield 3", "yield {}; yield {}", "yield {'lr': 1}"),
    *("yield {1: 2}", "yield {'batch_size': object()}", "while True: yield {}"),
    *("yield {'optimizer.learning_rate': float('inf')}", "yield None", "1 / 0; yield"),
    *("yield {'label': 3}", "yield {'batch_size': 10**6}"),
    "raise SystemExit(0); yield",
    *("yield {'model.layers': {1, 2}}", "yield {'batch_size': 8, 'label': 'a\\0'}"),
)
MISTAKES = (
    *("--config.batch_size=5000", "--seeds=0", "--sweep=batch_size=8,8", "--seeds=x"),
    *("--config.optimizer.learning_rate=-1", "--config.model.hidden=1000000000"),
    *("--sweep=batch_size=", "--resume=maybe", "--rerun=x", "--checkpoint_seconds=nan"),
    *("--checkpoint_seconds=-1", "--profile=/dev/null"),
    "--compilation_cache=/dev/null",
    *("--data_dir=no/such", "--lane_width=-1", "--lane_width=1000", "--nothing", "x"),
    *("--config.num_epochs=1000000000", "--flagfile=/etc/passwd", "--undefok=seed"),
    *("--config_json=/dev/zero", "--seeds", "--workdir"),
    "--config.dataset=csv:/dev/tty",
    *("--config.eval_every_epochs=nan", "--config.model.name=stack", "--config=x.py"),
)
WORKDIRS = ("new", "taken", "file", "file/below", "loop", "dangling/x", "a" * 300)


# The kinds of cases.


def case_overrides(folder, flags):
    return ends(describe, QUICKSTART, "--sweep=optimizer.learning_rate=0.1", *flags)


def case_axes(folder, flags):
    """Stops at the study: what it would run may be large."""

    def main():
        made = config.study()
        assert len(made.trials()) <= study.MOST_TRIALS

    return ends(describe, QUICKSTART, *flags, main=main)


def case_json(folder, found):
    path = folder / "study.json"
    try:
        path.write_text(found if isinstance(found, str) else json.dumps(found))
    except ValueError:
        hypothesis.reject()  # 10**5000
    return ends(describe, f"--config_json={path}")


def case_config(folder, lines):
    line, last = lines
    path = folder / "mine.py"
    path.write_text(
        "from nnlab.commands.config import default\n"
        f"def get_config(arg=''):\n    c = default()\n    {line}\n    return c\n"
        f"def sweep(arg=''):\n    {last}\n"
    )
    return ends(describe, f"--config={path}")


def case_table(folder, content):
    path = folder / "table.csv"
    if isinstance(content, str):
        content = content.encode("utf-8", "replace")
    path.write_bytes(content)

    def main():
        found = data.load(f"csv:{path}")
        assert np.isfinite(found.train.inputs).all()
        assert min(map(len, (found.train.labels, found.test.labels))) > 0

    status, err = calls(main)
    assert status == 0 or "table.csv" in err
    return status, err


@st.composite
def damaged(draw, content):
    """Draws the bytes with some of them changed, cut off or repeated."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, max(0, len(changed) - 1)))
        stop = start + draw(st.integers(0, 30))
        changed[start:stop] = draw(st.binary(max_size=40))
    return bytes(changed[: draw(st.sampled_from((None, None, len(changed) // 2)))])


def picture(format):
    buffer = io.BytesIO()
    pixels = np.arange(12 * 12 * 3, dtype=np.uint8).reshape(12, 12, 3)
    Image.fromarray(pixels).save(buffer, format)
    return buffer.getvalue()


PICTURE_NAMES = ("a.png", "b.jpg", "c.gif", "d", ".e.png", "f.PNG", "g\x1b.png")
PICTURE_NAMES += ("é.jpeg",)
CLASSES = ("cat", "dog", "train", "test", "\x07", "a b", "..x", "<b>")
FILES = st.dictionaries(
    st.tuples(st.sampled_from(CLASSES), st.sampled_from(PICTURE_NAMES)),
    st.one_of(
        st.just(picture("PNG")),
        damaged(picture("PNG")),
        damaged(picture("JPEG")),
        st.sampled_from((None, "../../..", "/etc/passwd", "nowhere", ".")),
    ),
    max_size=6,
)
FOLDERS = st.tuples(FILES, st.booleans())


def case_folder(folder, drawn):
    root = folder / "images"
    root.mkdir()
    good = {(c, f"{n}.png"): picture("PNG") for c in CLASSES[:2] for n in range(4)}
    files, is_whole = drawn
    for (label, name), content in [*(good if is_whole else {}).items(), *files.items()]:
        path = root / label / name
        path.parent.mkdir(exist_ok=True)
        if content is None:
            os.mkfifo(path)
        elif isinstance(content, str):
            path.symlink_to(content)
        else:
            path.write_bytes(content)
    return calls(lambda: data.load(f"folder:{root}:8"))


RUN = ("config.json", "curves.parquet", "members.csv", "timings.csv", "summary.csv")


def meaning(path, content):
    """Returns what counts of a file's content."""
    with contextlib.suppress(ValueError):
        if path.suffix == ".json":
            return json.loads(content)
    return content


def case_workdir(folder, damage):
    """Results that somebody changed; only the reading part of a report runs."""
    name, change, offset = damage
    run = folder / "run"
    shutil.copytree(folder.parent / "results", run)
    path = run / name
    content = path.read_bytes()
    offset %= len(content)
    if change == "gone":
        path.unlink()
    elif change == "folder":
        path.unlink()
        path.mkdir()
    elif change == "link":
        path.unlink()
        path.symlink_to(path.name)
    else:
        path.write_bytes(content[:offset] + change.encode() + content[offset + 1 :])
    same = path.is_file() and meaning(path, path.read_bytes()) == meaning(path, content)

    def main():
        results.load(run)
        pictures.load(run)

    status, err = calls(main)
    assert status == (0 if same else 2)
    assert same or "run" in err
    return status, err


def case_train(folder, drawn):
    """Mistakes beside workdirs of all kinds; nothing may be written."""
    workdir, mistake = drawn
    (folder / "file").write_text("mine")
    shutil.copytree(folder.parent / "results", folder / "taken")
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("nowhere")
    before = snapshot(folder)
    status, _ = ends(train, f"--workdir={folder / workdir}", QUICKSTART, mistake)
    assert status == 2
    assert snapshot(folder) == before
    return status, ""


KINDS = {
    "overrides": (case_overrides, overrides(), 300),
    "axes": (case_axes, axes(), 400),
    "json": (case_json, st.one_of(STUDIES, TEXTS), 200),
    "config": (
        case_config,
        st.tuples(st.sampled_from(("pass", *LINES)), st.sampled_from(YIELDS)),
        80,
    ),
    "table": (case_table, TABLES, 150),
    "folder": (case_folder, FOLDERS, 50),
    "workdir": (
        case_workdir,
        st.tuples(
            st.sampled_from(RUN),
            st.sampled_from(("gone", "folder", "link", "", "0", "9", "}", "\0", "é")),
            st.integers(0, 10**6),
        ),
        120,
    ),
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Enters a folder with results, without data and network."""
    made_up(num_trials=2, num_seeds=2, num_evaluations=3, workdir=tmp_path / "results")
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("NNLAB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(ROOT)
    return tmp_path


def hunt(kind, place, count, fixed=True):
    """Draws cases of a kind and checks how they end."""
    case, strategy, _ = KINDS[kind]
    statuses = []

    @hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=fixed,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategy)
    def one(drawn):
        folder = place / f"case_{len(statuses)}"
        folder.mkdir()
        try:
            statuses.append(case(folder, drawn)[0])
        finally:
            shutil.rmtree(folder)

    one()
    assert len(statuses) >= count
    assert set(statuses) == {0, 2}


@pytest.mark.parametrize("workdir", WORKDIRS)
def test_no_mistake_writes_anything(place, workdir):
    for number, mistake in enumerate(MISTAKES):
        folder = place / f"case_{number}"
        folder.mkdir()
        case_train(folder, (workdir, mistake))


@pytest.mark.parametrize("field", ODD_FIELDS)
def test_every_odd_value_ends_in_one_line(place, field):
    model = "stack" if field == "model.layers" else "mlp"
    for value in ODD:
        case_overrides(
            place, [f"--config.model.name={model}", f"--config.{field}={value}"]
        )


@pytest.mark.parametrize("kind", KINDS)
def test_bad_input_ends_in_one_line(kind, place):
    hunt(kind, place, KINDS[kind][2])


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_much_bad_input_ends_in_one_line(kind, place):
    most = 400 if kind == "config" else 10_000  # there are no more
    hunt(kind, place, min(most, 20 * KINDS[kind][2]), fixed=False)


# Exact texts.


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config.model.hidden=1000000000"], "need about 13,"),
        (["--config.model.hidden=3000000,3000000"], "parameters at batch_size=32 need"),
        (["--config.model.hidden=2147483647,2147483647"], "GiB: use fewer trials"),
        (["--config.model.hidden=2147483648"], "hidden[0]=2147483648 is too large: at"),
        (["--seeds=1000000000"], "8,000,000,000 networks of"),
        (
            ["--config.model.name=cnn", "--config.model.channels=1000000000"],
            "need abou",
        ),
        (
            ["--config.model.depth=100", f"--config.model.hidden=4{',4' * 200}"],
            "layers",
        ),
    ],
)
def test_an_absurd_size_is_refused_before_memory_is_taken(place, flags, message):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status, err = ends(describe, QUICKSTART, *flags)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert status == 2
    assert message in err
    assert grown < 512 * 2**10  # kilobytes


# Whole commands, and what a shell may hand on.

COMMANDS = {
    "describe": ["--config_json={}/results/curves.parquet"],
    "report": ["--workdir={}/results/members.csv"],
    "train": [QUICKSTART, "--workdir={}/results"],
}


@pytest.mark.parametrize("program", COMMANDS)
def test_a_few_mistakes_as_whole_commands(place, program):
    before = snapshot(place)
    done = subprocess.run(
        [sys.executable, "-m", f"launch.{program}"]
        + [text.replace("{}", str(place)) for text in COMMANDS[program]],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    check(done.returncode, done.stdout, done.stderr)
    assert snapshot(place) == before


@pytest.mark.parametrize(
    ("program", "flag"),
    [
        *(
            (describe, f"--config.dataset={d}")
            for d in ("csv:/dev/zero", "folder:/proc")
        ),
        *(
            (describe, f"--config.dataset={d}")
            for d in ("mnist", "real_or_generated:map")
        ),
        *(
            (describe, f"--{n}=\udcff")
            for n in ("config.batch_size", "seeds", "config_json")
        ),
        *((report, f"--workdir={w}") for w in ("", "a/../b", "a" * 5000, "/dev/null")),
    ],
    ids=ascii,
)
def test_what_a_shell_hands_on_ends_in_one_line(place, program, flag):
    asked = [QUICKSTART] if program is describe else []
    assert ends(program, *asked, flag)[0] == 2


def test_report_is_refused_for_a_workdir_that_is_a_link_in_a_circle(place):
    (place / "loop").symlink_to("loop")
    status, _ = ends(report, f"--workdir={place / 'loop'}")
    assert status == 2


def test_another_run_at_work_is_a_mistake(place):
    def main():
        with files.alone_in(place):
            raise AssertionError

    with files.alone_in(place):
        status, err = calls(main)
    assert status == 2
    assert err.startswith("error: another run is at work in workdir ")


def test_a_damaged_checkpoint_is_refused_in_one_line(place):
    part = place / "checkpoints" / "part"
    (part / "0").mkdir(parents=True)
    (part / "0.sha256").write_text(f"{'0' * 64}  lost\n")
    status, err = calls(lambda: Checkpoints(place, 0).latest("part"))
    assert status == 2
    assert "lacks its file lost, and no sound one is before it" in err
