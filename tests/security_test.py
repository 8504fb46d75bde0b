# SPDX-License-Identifier: Apache-2.0
"""No text of a user or a file is executed, or leaves its page or folder."""

import ast
import base64
import contextlib
import dataclasses
import hashlib
import html.parser
import io
import json
import os
import pathlib
import pickle  # only to make what must be refused  # scan: allowed
import pkgutil
import re
import stat
import struct
import subprocess
import sys
import time

import hypothesis
import matplotlib
import numpy as np
import pyarrow as pa
import pytest
import safetensors.numpy
import synthetic
import tiny
from folders import description, example, prepare
from hypothesis import strategies as st
from launched import QUICKSTART, launched
from markdown_it import MarkdownIt
from PIL import Image

from nnlab import api, data, report, results
from nnlab.commands import config, describe
from nnlab.data import cache, tabular
from nnlab.machine import files
from nnlab.models import weights
from nnlab.report import copies
from nnlab.results import pictures
from nnlab.runs import checkpoint, experiment, saved_network, search
from nnlab.study import Claim, Quantity, Study
from nnlab.words import numbers

pytestmark = pytest.mark.usefixtures("compiled_fast")

ROOT = pathlib.Path(__file__).parent.parent


# A scan of the code.

FORBIDDEN = {
    *("eval", "exec", "compile", "__import__", "input", "breakpoint"),
    *("os.system", "os.popen", "tempfile.mktemp", "shutil.unpack_archive"),
    *("yaml.load", "yaml.unsafe_load", "torch.load", "joblib.load"),
    *("pandas.read_pickle", "importlib.import_module", "runpy.run_path"),
    *("importlib.util.spec_from_file_location", "asyncio.create_subprocess_shell"),
    *("jinja2.Template", "markupsafe.Markup", "jax.export.deserialize"),
}
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "code"}
FAMILIES = ("os.exec", "os.spawn", "pickle.", "marshal.", "shelve.")
ALLOWED = {
    # A config file is Python that the user runs, as any script.
    "nnlab/commands/config.py": {"importlib.util.spec_from_file_location"},
    # Own texts, and escaped ones.
    "nnlab/report/page.py": {"markupsafe.Markup"},
    "nnlab/api.py": {"markupsafe.Markup"},
    # Names from own tables.
    "nnlab/__init__.py": {"importlib.import_module"},
    "nnlab/commands/bench/rivals.py": {"importlib.import_module"},
    "nnlab/commands/programs.py": {"importlib.import_module"},
    # Files of their own folders.
    "nnlab/data/generated/__init__.py": {"importlib.import_module"},
    "nnlab/models/kinds/__init__.py": {"importlib.import_module"},
    "tests/configs_test.py": {"importlib.import_module"},
    "tests/doctest_test.py": {"importlib.import_module"},
    # Modules that the test itself writes.
    "tests/machine/signals_test.py": {"importlib.import_module"},
}
MARK = "# scan: allowed"


def findings(source):
    """Returns what is dangerous in a Python source: line and name."""
    tree = ast.parse(source)
    allowed = [i for i, line in enumerate(source.splitlines(), 1) if MARK in line]
    names = {}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                short = alias.asname or alias.name.partition(".")[0]
                names[short] = alias.name if alias.asname else short
                if alias.name.partition(".")[0] in MODULES:
                    found.append((node.lineno, alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            if node.module.partition(".")[0] in MODULES:
                found.append((node.lineno, node.module))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func, names)
        given = {k.arg: getattr(k.value, "value", ...) for k in node.keywords}
        leaf = name.rpartition(".")[2]
        wrong = (
            name in FORBIDDEN
            or name.startswith(FAMILIES)
            or given.get("shell", False) is not False
            or given.get("allow_pickle", False) is not False
            or (name == "numpy.load" and "allow_pickle" not in given)
            or (leaf in ("extract", "extractall") and given.get("filter") != "data")
            or (
                name == "jinja2.Environment"
                and not {"autoescape", "finalize"} & {*given}
            )
        )
        if wrong:
            found.append((node.lineno, name))
    return [item for item in found if item[0] not in allowed]


def dotted(node, names):
    """Returns the full name of a called function; "" for one without."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value, names)}.{node.attr}"
    return ""


FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("nnlab", "launch", "configs", "tests", "docs")
    for path in (ROOT / folder).rglob("*.py")
)


def test_nothing_executes_what_it_reads():
    assert len(FILES) > 100
    found = {
        (name, line, what)
        for name in FILES
        for line, what in findings((ROOT / name).read_text())
        if what not in ALLOWED.get(name, ())
    }
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "eval(x)",
        "exec(x)",
        "import pickle",
        "from pickle import loads",
        "import os\nos.system(x)",
        "from os import system as s\ns(x)",
        "import os\nos.execv(x, y)",
        "import subprocess\nsubprocess.run(x, shell=True)",
        "import subprocess\nsubprocess.run(x, shell=y)",
        "import yaml\nyaml.load(x)",
        "import tarfile\ntarfile.open(x).extractall(y)",
        "tar.extract(x, filter='fully_trusted')",
        "import numpy as np\nnp.load(x)",
        "import numpy as np\nnp.load(x, allow_pickle=True)",
        "import numpy\nnumpy.load(x, allow_pickle=y)",
        "import torch\ntorch.load(x)",
        "import importlib\nimportlib.import_module(x)",
        "from markupsafe import Markup\nMarkup(x)",
        "import jinja2\njinja2.Environment(loader=x)",
        "import tempfile\ntempfile.mktemp()",
    ],
)
def test_the_scan_finds(source):
    assert findings(source)


def test_the_scan_lets_pass():
    assert not findings(
        "import ast, subprocess, numpy as np, re\n"
        "ast.literal_eval(x); subprocess.run([x], shell=False); re.compile(x)\n"
        "np.load(x, allow_pickle=False); tar.extractall(x, filter='data')\n"
    )


def test_templates_trust_no_text():
    """Accepts only names of our own, code of our own, and what Python has escaped."""
    trusted = {
        path.name: re.findall(r"\{\{ ([\w.\[\]]+) \| safe \}\}", path.read_text())
        for path in (ROOT / "nnlab" / "report" / "templates").iterdir()
    }
    assert trusted == {
        "copy.js": [],
        "notes.txt.j2": [],
        "chart.js": [],
        "outcome.html.j2": [],
        "report.css.j2": [],
        "report.html.j2": [],
        "report.js": [],
        "report.md.j2": ["figure.name", "figure.name", "section.code"],
    }


# A report of hostile texts.

SCRIPT = "<script>alert('x')</script>"
HOSTILE = (
    *(SCRIPT, '"><img src=x onerror=alert(1)>', "</style><script>x", "</svg></table>"),
    *("<!-- --> ]]> <![CDATA[", "{{7*7}} {% raw %}", "[a](javascript:alert(1))"),
    *("![x](http://evil.example/x.png)", "<http://evil.example>", "`c` ``d`` ```"),
    *("| a | b |", "# h", "> q", "- l", "+ l", "1. l", "2) l", "~~s~~ **b** _i_"),
    *("&lt;b&gt; &#60;script&#62;", "@someone #1", "\\", "\\<b>", "===", "---", "***"),
    *("[r]: http://evil.example", 'url(#a) style="x" href="#b" id="c"', "$x^2$"),
    *("'; DROP TABLE", "\u202eevil", "www.evil.example", "<b", "b>", "    code"),
)
STEERS = "\x1b\a\x9b\u2066\u200b"  # a terminal, or the reader's eye
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "nav", "ol", "li", "a", "main"),
    *("h1", "h2", "ul", "section", "figure", "figcaption", "div", "table", "thead"),
    *("tbody", "tr", "th", "td", "p", "pre", "code", "caption", "details", "summary"),
    *("span", "script"),
    *("svg", "g", "path", "defs", "clippath", "rect", "use", "text", "tspan", "image"),
    *("lineargradient", "radialgradient", "stop", "pattern", "filter"),
}


class Page(html.parser.HTMLParser):
    """Collects tags, attributes, texts, style sheets and scripts of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []
        self.styles, self.scripts, self.data = [], [], []
        self.within = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        # What has a type is no program.
        self.within = "data" if ("type", "application/json") in attrs else tag
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        self.within = ""

    def handle_data(self, data):
        beside = {"style": self.styles, "script": self.scripts, "data": self.data}
        beside.get(self.within, self.texts).append(data)

    def handle_comment(self, data):
        raise AssertionError(data)


def check_page(path):
    """Accepts a page without foreign scripts, inline styles or links elsewhere."""
    page = Page(path.read_text())
    assert set(page.tags) <= TAGS
    for tag, name, value in page.attributes:
        assert not name.startswith("on")
        assert name != "style"
        if name in ("href", "xlink:href", "src"):
            assert re.match("#|data:image/png;base64,", value), (tag, value)
    check_policy(page)
    return page


def check_policy(page):
    """Accepts a policy of one style sheet and one script, by digest, and pictures."""
    (content,) = (
        value
        for tag, name, value in page.attributes
        if (tag, name) == ("meta", "content") and "-src" in value
    )
    directives = dict(part.split(maxsplit=1) for part in content.split(";"))
    sheet, script = "".join(page.styles), "".join(page.scripts)
    templates = ROOT / "nnlab" / "report" / "templates"
    own = ("report.js", "copy.js", *["chart.js"] * bool(page.data))
    assert script == "".join((templates / name).read_text() for name in own)
    assert not any("<" in text for text in page.data)
    digest, own = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (sheet, script)
    )
    assert directives == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "script-src": f"'sha256-{own}'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert page.tags.index("meta") < page.tags.index("style")
    assert page.tags.count("style") == 1
    assert page.tags.count("script") == 1 + len(page.data)
    assert not re.search(r"innerHTML|eval|Function|import|fetch|https?:", script)
    assert not re.search(r"@import|url\((?!#)|expression|javascript", sheet)


def check_markdown(path):
    """Accepts Markdown with no elements but headings, lists, tables and figures."""
    renderer = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    text = path.read_text()
    tokens = [
        t for token in renderer.parse(text) for t in (token, *(token.children or ()))
    ]
    kinds = {
        token.type.removesuffix("_open").removesuffix("_close") for token in tokens
    }
    assert kinds <= {
        *("heading", "paragraph", "inline", "text", "text_special", "softbreak"),
        *("bullet_list", "list_item", "table", "thead", "tbody", "tr", "th", "td"),
        *("image", "fence"),
    }
    for token in tokens:
        if token.type == "image":
            assert re.fullmatch(r"figures/\w+\.png", token.attrs["src"])
    return "".join(token.content for token in tokens if token.type.startswith("text"))


@pytest.mark.parametrize("texts", [HOSTILE[i::5] for i in range(5)])
def test_hostile_texts_of_a_study_stay_texts(tmp_path, texts):
    question, rate = texts[0], "optimizer.learning_rate"
    quantity = Quantity(metric="test_accuracy")
    claims = [
        Claim(text=text, quantity=quantity, left={"label": text}, right=0)
        for text in texts
    ]
    sweep = [{rate: 0.1 + i / 100, "label": text} for i, text in enumerate(texts)]
    found = synthetic.results(
        sweep=[*sweep, {"batch_size": 8, "label": f"2{question}"}],
        num_seeds=2,
        num_evaluations=3,
        question=question,
        claims=claims,
        never_ran=[len(texts)],
        failures={1: f"{question}{STEERS}"},
        diverged={(0, 1): 1},
        layers=tuple(f"{text}{STEERS}" for text in texts),
        fields={"notes": texts, "figures": ("final",)},
        workdir=tmp_path,
    )
    page = check_page(report.write(found.workdir))
    said = check_markdown(tmp_path / "report.md")
    for text in texts:
        shown = numbers.visible(" ".join(text.split()))
        least = 3 if text == question else 2  # title or heading; claim, note, label
        assert "".join(page.texts).count(shown) >= least
        assert said.count(shown) >= least
    for file in [*tmp_path.glob("report.*"), *tmp_path.glob("figures/*.svg")]:
        assert not {*STEERS, "\u202e"} & set(file.read_text()), file
    inline = Page(api.Outcome(found)._repr_html_())  # in a notebook
    assert set(inline.tags) <= TAGS | {"img"} - {"script", "style"}
    assert not [name for _, name, _ in inline.attributes if name.startswith("on")]
    shown = numbers.visible(" ".join(question.split()))
    assert "".join(inline.texts).count(shown) >= 2


MARKS = ("<b>", "](", "&lt;", "://", "www.", "\n", *r"[!`*_|\#&;~$-+1.)= <>a^")
PIECES = st.lists(
    st.one_of(st.sampled_from(MARKS), st.text(max_size=3)), max_size=12
).map("".join)


@hypothesis.given(PIECES.filter(str.strip))
@hypothesis.settings(max_examples=200, deadline=None, derandomize=True, database=None)
def test_markdown_of_any_text_is_that_text(text):
    escaped = copies.escape_markdown(text)
    wanted = numbers.visible(" ".join(text.split()))
    renderer = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    for before, after, tags in (
        ("", "", "p"),
        ("- ", "", "ul li p"),
        ("## ", "", "h2"),
        ("| a |\n| --- |\n| ", " |", "table thead tr th tbody tr td"),
    ):
        page = Page(renderer.render(before + escaped + after))
        found = "".join(page.texts).removeprefix("\n").strip().split("\n")[-1]
        assert set(page.tags) <= set(tags.split())
        assert found == wanted


@pytest.mark.slow
def test_hostile_names_of_data_stay_names(tmp_path, monkeypatch):
    """Trains and draws a table with hostile name, columns and classes."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / ('<img src=x onerror="alert(1)">' + "$(touch owned)`id`.csv")
    rows = [
        f'{i % 7},{-i},"{HOSTILE[i % 2].replace(chr(34), chr(34) * 2)}"'
        for i in range(60)
    ]
    file.write_text(
        f'"{SCRIPT}","../../{SCRIPT.upper().replace("/", "|")}",label\n'
        + "\n".join(rows)
    )
    asked = Study.from_dict(
        {
            "question": SCRIPT,
            "dataset": f"csv:{file}",
            "batch_size": 8,
            "num_epochs": 1,
            "num_seeds": 2,
            "figures": ["final", "confusion", "regions", "costs"],
            "sweep": [{"label": "../../../x"}, {"label": SCRIPT, tiny.RATE: 0.2}],
        }
    )
    before = {path for path in tmp_path.rglob("*")}
    experiment.run(asked, tmp_path / "run")
    page = check_page(report.write(tmp_path / "run"))
    assert "svg" in page.tags
    assert SCRIPT[:20] in "".join(page.texts)
    check_markdown(tmp_path / "run" / "report.md")
    for path in (tmp_path / "run" / "figures").glob("*.svg"):
        assert not re.search("<script|<img", path.read_text())
    made = {path for path in tmp_path.rglob("*")} - before
    run = tmp_path / "run"
    assert all(path == run or path.is_relative_to(run) for path in made)
    # No text of a user becomes part of a file's name.
    names = {part for path in made - {run} for part in path.relative_to(run).parts}
    assert all(re.fullmatch(r"[\w.-]+", name) for name in names)


# Data is never executed.


CODE = (
    "__import__('os').system('touch owned')",
    "exec(\"open('owned', 'w')\")",
    "$(touch owned)",
    "`touch owned`",
    "{{ cycler.__init__.__globals__.os.popen('touch owned') }}",
    "; touch owned",
    "cos\nsystem\n(S'touch owned'\ntR.",
    "!!python/object/apply:os.system ['touch owned']",
)


@pytest.mark.parametrize("code", CODE)
def test_a_study_as_json_or_a_value_is_not_executed(tmp_path, monkeypatch, code):
    monkeypatch.chdir(tmp_path)
    paths = ("dataset", "model.name", "optimizer.name", "batch_size", "model.layers")
    studies = [{"claims": [{"text": code}]}, {"claims": [code]}]
    studies += [{"sweep": [{path: code, "label": code}]} for path in paths]
    studies += [{"dataset": f"{kind}:{code}"} for kind in ("csv", "folder")]
    studies += [{"config": "evil.py"}, {code: 1}, {"__class__": code}]
    pathlib.Path("evil.py").write_text("open('owned', 'w')")
    for one in studies:
        pathlib.Path("study.json").write_text(json.dumps(one))
        assert launched(describe, "--config_json=study.json")[0] == 2
    for path in ("batch_size", "optimizer.learning_rate", "model.hidden", "model.name"):
        for flag in ("--config.", "--sweep="):
            assert launched(describe, QUICKSTART, f"{flag}{path}={code}")[0] == 2
        claim = f"--claim=test_accuracy({path}={code}) > chance"
        assert launched(describe, QUICKSTART, claim)[0] == 2
    pathlib.Path("study.json").write_text(
        json.dumps({"question": code, "notes": [code]})
    )
    asked = ["--config_json=study.json", "--seeds=1"]
    made = []
    assert launched(describe, *asked, main=lambda: made.append(config.study()))[0] == 0
    assert not pathlib.Path("owned").exists()


class Payload:
    """An object that unpickling would execute."""

    def __reduce__(self):
        return os.mkdir, ("owned",)


def pickled():
    buffer = io.BytesIO()
    payload = np.array([Payload()], object)
    arrays = {"best": payload, "train_inputs": payload, "digest": payload}
    np.savez(buffer, **arrays, allow_pickle=True)  # scan: allowed
    return buffer.getvalue()


@pytest.fixture
def owned(tmp_path, monkeypatch):
    """The folder that all payloads would make: a pickle, a module, two programs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    pathlib.Path("bait.py").write_text("import os\nos.mkdir('owned')\nclass X: ...\n")
    for program in ("latex", "gs"):
        pathlib.Path(program).write_text(f"#!/bin/sh\nmkdir '{tmp_path}/owned'\n")
        pathlib.Path(program).chmod(0o755)
    yield tmp_path / "owned"
    sys.modules.pop("bait", None)


def test_the_payloads_would_be_executed(owned):
    pickle.loads(pickle.dumps(Payload()))  # scan: allowed
    owned.rmdir()
    pkgutil.resolve_name("bait.X")
    owned.rmdir()
    subprocess.run("gs", check=True)
    assert owned.exists()


def test_pickles_in_arrays_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / pictures.FILE
    file.parent.mkdir()
    file.write_bytes(pickled())
    with pytest.raises(ValueError, match="is damaged: it cannot be read as an npz"):
        pictures.load(tmp_path)
    assert cache.read(file, name="x", class_names=("a", "b"), digest=None) is None
    assert not (tmp_path / "owned").exists()


FEATURE = {"pythonClassName": "bait.X", "featuresDict": {"features": {}}}
NESTED = {
    "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
    "featuresDict": {"features": {"image": FEATURE}},
}
SPLIT = {
    "name": "train",
    "shardLengths": [str(10**18)],
    "filepathTemplate": "../../../bait.py",
}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("features.json", json.dumps(FEATURE)),
        ("features.json", json.dumps(NESTED)),
        ("features.json", json.dumps({"type": "bait.X", "content": {}})),
        ("features.json", "[" * 100_000),
        ("dataset_info.json", {"moduleName": "bait", "configName": "bait.X"}),
        ("dataset_info.json", {"splits": [SPLIT], "name": "../bait"}),
        ("dataset_info.json", {"alternativeFileFormats": ["bait.X"], "version": "x"}),
        ("mnist.py", "import bait"),
        ("sitecustomize.py", "import bait"),
        ("metadata.json", pickle.dumps(Payload(), 0).decode()),  # scan: allowed
    ],
)
def test_a_data_folder_is_not_executed(tmp_path, monkeypatch, owned, name, content):
    digits = [example(i % 10, Image.new("L", (28, 28), i)) for i in range(20)]
    splits = {"train": digits, "test": digits[:3]}
    folder = prepare(monkeypatch, tmp_path / "data", splits)
    if isinstance(content, dict):
        content = json.dumps({**description(splits), **content})
    for place in (folder, folder.parent, tmp_path / "data", tmp_path):
        (place / name).write_text(content)
    found = data.load("mnist", data_dir="data")
    assert sorted(found.test.inputs[:, 0, 0, 0]) == [0, 1, 2]
    assert not owned.exists()


CLASSES = (
    "orbax.checkpoint._src.handlers.json_checkpoint_handler.JsonCheckpointHandler",
    "orbax.checkpoint._src.handlers.standard_checkpoint_handler."
    "StandardCheckpointHandler",
    "np.ndarray",
)
NAMED_TUPLE = {"category": "namedtuple", "module": "bait", "clazz": "X", "entries": []}


def test_a_checkpoint_is_not_executed(tmp_path, owned):
    folder = tmp_path / "net"
    checkpoint.write_export(folder, {"a": np.arange(3.0)}, {"x": 1})
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        if path.name.endswith("_METADATA"):
            text = path.read_text()
            assert any(name in text for name in CLASSES)
            for name in CLASSES:
                text = text.replace(name, "bait.X")
            content = {**json.loads(text), "value_metadata_tree": NAMED_TUPLE}
            path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"bait\.X"):  # a class that Orbax lacks
        checkpoint.read_export(folder)
    for path in files:
        path.write_bytes(pickle.dumps(Payload()))  # scan: allowed
    with pytest.raises(ValueError, match="Error"):
        checkpoint.read_export(folder)
    assert not owned.exists()


POSTSCRIPT = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\n%%EndComments\nshowpage\n"
)


def test_an_image_is_no_program(tmp_path, monkeypatch, owned):
    """Pillow hands PostScript to Ghostscript, whatever the file's name."""
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "x.png").write_bytes(POSTSCRIPT)
    with pytest.raises(ValueError, match="no image that Pillow can read"):
        data.load("folder:images")
    examples = [example(i % 10, POSTSCRIPT) for i in range(12)]
    prepare(monkeypatch, tmp_path / "data", {"train": examples, "test": examples})
    with pytest.raises(ValueError, match="is damaged"):
        data.load("mnist", data_dir="data")
    assert not owned.exists()


ABOUT = (
    *("version", "question", "trial", "label", "seed", "status", "steps", "dataset"),
    *("classes", "input_shape", "dropout", "frozen"),
)


def test_a_saved_network_is_not_executed(owned):
    file = pathlib.Path("net.safetensors")
    for name, module in (("bait.X", ""), ("mlp", "bait.X")):
        model = {"hyperparameters": {"model": {"name": name}}, "module": module}
        metadata = json.dumps(dict.fromkeys(ABOUT, "") | model)
        safetensors.numpy.save_file({"x": np.ones(1)}, file, {"nnlab": metadata})
        with pytest.raises(ValueError, match=r"bait\.X"):
            saved_network.load(file)
    safetensors.numpy.save_file({"x": np.ones(1)}, file, {"nnlab": "[" * 100_000})
    with pytest.raises(ValueError, match="is no network that nnlab saved"):
        saved_network.load(file)
    file.write_bytes(pickle.dumps(Payload()))  # scan: allowed
    with pytest.raises(ValueError, match="is no network that nnlab saved"):
        saved_network.load(file)
    with pytest.raises(ValueError, match="no intact safetensors file"):
        weights.load_resnet18(file)
    assert not owned.exists()


def test_a_searchs_log_is_not_executed(tmp_path, owned):
    payload = pickle.dumps(Payload())  # scan: allowed
    space = ("optimizer.learning_rate=log(1e-3,1)",)
    workdir = tmp_path / "run"

    def searched(trials, resumes):
        of = {"space": space, "trials": trials, "batch": 2}
        asked = dataclasses.replace(tiny.study(num_epochs=10), search=of)
        return search.run(asked, workdir, train, resumes=resumes)

    def train(of, resume):
        given = {"base": of.base, "num_seeds": of.num_seeds, "sweep": of.sweep}
        fields = {"search": of.search}
        return synthetic.results(**given, fields=fields, workdir=workdir)

    searched(2, resumes=False)
    log = workdir / search.STORAGE
    good = log.read_text()
    named = json.dumps({"name": "bait.X", "attributes": {}})
    for line in (
        {"op_code": 3, "study_id": 0, "system_attr": {"cma:optimizer": payload.hex()}},
        {"op_code": 4, "study_id": 0, "distributions": {"x": named}, "params": {}},
        {"op_code": "bait.X", "study_id": 0},
    ):
        log.write_text(good + json.dumps({"worker_id": "bait.X", **line}) + "\n")
        with contextlib.suppress(Exception):  # it may say anything, but execute nothing
            searched(4, resumes=True)
    log.write_bytes(payload + b"\n")
    with contextlib.suppress(Exception):
        searched(4, resumes=True)
    assert not owned.exists()


def test_tables_are_not_executed(tmp_path, owned):
    found = synthetic.results([[0.9, 0.8]], workdir=tmp_path / "run")
    payload = pickle.dumps(Payload())  # scan: allowed
    extension = {
        "ARROW:extension:name": b"arrow.py_extension_type",
        "ARROW:extension:metadata": payload,
    }
    names = found.curves.schema.names
    kind = {"pandas_type": "object", "numpy_type": "bait.X", "metadata": "bait.X"}
    pandas = {
        "columns": [{"name": name, "field_name": name, **kind} for name in names],
        "index_columns": names[:1],
        "column_indexes": [{"name": "__import__('bait')", **kind}],
    }
    fields = [field.with_metadata(extension) for field in found.curves.schema]
    schema = pa.schema(fields, {"pandas": json.dumps(pandas), "bait": payload})
    content = {name: (tmp_path / "run" / name).read_bytes() for name in results.TABLES}
    content["timings.csv"] = (tmp_path / "run" / "timings.csv").read_bytes()
    content["curves.parquet"] = found.curves.cast(schema)
    results.write(tmp_path / "run", found.config, content)
    again = api.load(tmp_path / "run")
    assert again.curves().equals(api.Outcome(found).curves())
    assert not owned.exists()


def test_a_matplotlibrc_runs_no_program_on_labels(tmp_path, owned):
    """A matplotlibrc may lie in a folder that somebody unpacked and entered."""
    pathlib.Path("matplotlibrc").write_text("backend: module://bait\ntext.usetex: True")
    fields = {"figures": ("final",)}
    synthetic.results([[0.9, 0.8]], fields=fields, workdir=tmp_path / "run")
    with matplotlib.rc_context(fname="matplotlibrc"), contextlib.suppress(OSError):
        report.write(tmp_path / "run")
    assert not owned.exists()
    assert list(tmp_path.glob("run/figures/*.svg"))


def test_programs_of_a_cache_that_all_can_write_are_not_run(tmp_path):
    folder = tmp_path / "programs"
    folder.mkdir()
    folder.chmod(0o777)
    flag = f"--compilation_cache={folder}"
    status, _, said = launched(describe, QUICKSTART, flag)
    assert (status, f"{folder}' can be written by every user" in said) == (2, True)
    assert not list(folder.iterdir())


# Links, paths, and files that never end.


def test_a_file_takes_the_place_of_a_link(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "report.md").symlink_to(victim)
    files.write_atomic(folder / "report.md", b"ours")
    assert victim.read_text() == "mine"
    assert (folder / "report.md").read_bytes() == b"ours"
    assert not (folder / "report.md").is_symlink()
    assert [path.name for path in folder.iterdir()] == ["report.md"]


def endless(tmp_path):
    """Yields paths that are no files, or have no end."""
    (tmp_path / "zero").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    with (tmp_path / "sparse").open("wb") as stream:
        stream.truncate(3 << 30)
    return ("zero", "pipe", "loop", "sparse")


def test_files_without_an_end_are_refused_at_once(tmp_path):
    start = time.monotonic()
    for name in endless(tmp_path):
        path = tmp_path / name
        safetensors = tmp_path / f"{name}.safetensors"
        safetensors.symlink_to(name)
        for read, given in (
            (data.load, f"csv:{path}"),
            (data.load, f"folder:{path}"),
            (weights.load_resnet18, safetensors),
        ):
            with pytest.raises((ValueError, OSError)):
                read(given)
        prepared = tmp_path / f"{name}_data" / "mnist" / "3.0.1"
        prepared.mkdir(parents=True)
        (prepared / "dataset_info.json").symlink_to(path)
        with pytest.raises(ValueError, match=r"dataset_info\.json cannot be read"):
            data.load("mnist", data_dir=tmp_path / f"{name}_data")
        for flag in ("config", "config_json"):
            if (flag, name) != ("config", "sparse"):  # Python reads it
                assert launched(describe, f"--{flag}={path}")[0] == 2
    assert time.monotonic() - start < 10


def test_limits_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(tabular, "_LONGEST_LINE", 100)
    monkeypatch.setattr(config, "_MOST_BYTES", 100)
    file = tmp_path / "long"
    file.write_text("x,label\n" + "1" * 100)
    with pytest.raises(ValueError, match="line 2: it has 100 characters or more"):
        data.load(f"csv:{file}")
    status, _, said = launched(describe, f"--config_json={file}")
    assert (status, "is larger than" in said) == (2, True)


def test_a_path_with_dots_or_a_link_is_the_same_table(tmp_path):
    (tmp_path / "below").mkdir()
    file = tmp_path / "table.csv"
    file.write_text("x,label\n" + "\n".join(f"{i},{i % 2}" for i in range(20)))
    (tmp_path / "link.csv").symlink_to(file)
    paths = (file, tmp_path / "below" / ".." / "table.csv", tmp_path / "link.csv")
    plain, dotted, linked = (data.load(f"csv:{path}") for path in paths)
    assert plain.digest == dotted.digest == linked.digest


def test_a_cache_entry_stays_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NNLAB_CACHE_DIR", str(tmp_path / "cache"))
    file = tmp_path / "x"
    file.write_text("")
    entry = cache.entry("folder", [file], ["../../../etc"])
    assert entry.parent == tmp_path / "cache" / "arrays"


@pytest.mark.parametrize("size", [2**60, 10**9, 100, 0])
def test_weights_whose_header_claims_much_are_refused(tmp_path, size):
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", size) + b'{"a":{}}')
    with pytest.raises(ValueError, match="no intact safetensors file"):
        weights.load_resnet18(path)


# Modes of files.


def modes(folder):
    """Returns the modes of the files and of the folders below a folder."""
    found = {True: set(), False: set()}
    for path in folder.rglob("*"):
        found[path.is_dir()].add(stat.S_IMODE(path.lstat().st_mode))
    return found


@pytest.mark.parametrize("mask", [0o002, 0o027, 0o077])
def test_single_files_follow_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        files.write_atomic(tmp_path / "a", b"x")
        cache.write_whole(tmp_path / "b" / "c", lambda stream: stream.write(b"x"))
    finally:
        os.umask(before)
    assert modes(tmp_path) == {True: {0o777 & ~mask}, False: {0o666 & ~mask}}


@pytest.mark.slow
def test_all_files_of_a_run_follow_the_umask(tmp_path):
    mask = 0o027
    images = tmp_path / "images"
    for number in range(80):
        folder = images / f"class {number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), number).save(folder / f"{number}.png")
    folders = [tmp_path / name for name in ("run", "cache", "compiled", "profile")]
    run, kept, compiled, profile = folders
    flags = [
        *(QUICKSTART, "--config.num_epochs=2", "--seeds=2"),
        *(f"--config.dataset=folder:{images}:8", "--config.batch_size=8"),
        *("--config.figures=curves,confusion,mistakes", "--checkpoint_seconds=0"),
        *("--sweep=optimizer.learning_rate=0.1", f"--workdir={run}"),
        *(f"--compilation_cache={compiled}", f"--profile={profile}"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "launch.train", *flags],
        cwd=ROOT,
        env={**os.environ, "NNLAB_CACHE_DIR": str(kept)},
        umask=mask,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert list(run.glob("checkpoints/program_0/*/state"))
    assert list(kept.glob("arrays/*.npz"))
    assert list(kept.glob("rates/*.json"))
    wanted = {True: {0o777 & ~mask}, False: {0o666 & ~mask}}
    assert modes(run) == modes(kept) == wanted
    assert modes(compiled)[False] == wanted[False]
    assert all(not mode & mask for found in modes(profile).values() for mode in found)


def test_a_report_is_not_written_through_a_link(tmp_path):
    workdir = tmp_path / "run"
    synthetic.results([[0.9, 0.8]], workdir=workdir)
    (tmp_path / "elsewhere").mkdir()
    (workdir / "figures").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="figures' is a link; remove it"):
        report.write(workdir)
    assert not list((tmp_path / "elsewhere").iterdir())
