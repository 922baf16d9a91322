"""The house rules that a parser can check, over every file of the library.

Imports go only down the floors, never in circles; CuPy, pickle, environment variables
and global random numbers each have one room or none; no file is long, and none has the
name of something it exports; what the library and Chainer's names have in common is
written once. Each rule is tried on an offender, too.
"""

import ast
import functools
from dataclasses import dataclass
from pathlib import Path

import pytest

import dyrnn.functions as core_functions
from dyrnn.chainer import functions as F
from dyrnn.chainer.bridging import bridge
from dyrnn.chainer.worlds import from_core
from dyrnn.functions import activation
from tests import repertoires
from tests.chainer.toys import Exp

ROOT = Path(__file__).resolve().parents[1]
MAX_LINES = 600
# Rooms by floor: an import may stay on its floor or go down. `dyrnn/__init__.py` is the
# table of contents: it stands above the library, and only Chainer's names above it.
FLOORS = [
    "arguments config console errors backend typing version",
    "kernels random initializers",
    "engine",
    "functions",
    "description link reporter serializers testing",
    "links optimizers iterators datasets metrics sampling prediction",
    "training",
    "extensions distributed command_line interchange",
    "__init__",
    "chainer __main__",
]
FLOOR = {room: i for i, rooms in enumerate(FLOORS) for room in rooms.split()}
# config.py is read as `config.train`: the settings are its one object.
NAMED_LIKE_THEIR_EXPORT = {"dyrnn.config"}
# Chainer's scripts may pickle; worker processes are sent their dataset.
PICKLE_ROOMS = ("dyrnn.chainer", "dyrnn.iterators.prefetch")
SERIALIZERS_OF_CODE = {"pickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve"}
# Chainer's scripts seed NumPy's global generator and expect draws from it.
GLOBAL_RANDOM_ROOM = "dyrnn.chainer"
# Chainer has environment variables of its own.
ENVIRONMENT_ROOMS = ("dyrnn.config", "dyrnn.chainer.configuration")
# Names of both repertoires with two implementations, and why; the reasons there may be.
CLOSED_LIST = {
    "layout of weights",
    "order of draws",
    "dtype rules",
    "version 1",
    "a pinned private name",
}
REASONS = {
    "datasets.TextDataset": "a pinned private name",
    "functions.identity": "a pinned private name",
    "functions.gumbel_softmax": "order of draws",
    "functions.simplified_dropconnect": "order of draws",
    "functions.zoneout": "order of draws",
    "iterators.ShuffleOrderSampler": "order of draws",
    "links.Parameter": "version 1",
    "training.extensions.MicroAverage": "a pinned private name",
}
AT_MOST = 8
NUMPY_RANDOM = {"BitGenerator", "Generator", "Philox", "SeedSequence"}


@dataclass
class Module:
    """One source file: its dotted name, whether it is a package's, and its tree."""

    name: str
    source: str
    is_package: bool = False

    def __post_init__(self):
        self.tree = ast.parse(self.source)
        self.nodes = list(ast.walk(self.tree))

    @property
    def room(self):
        return (self.name.split(".") + ["__init__"])[1]

    @property
    def package(self):
        return self.name if self.is_package else self.name.rpartition(".")[0]


@functools.cache
def library(root=ROOT):
    """Return every module of dyrnn by name."""
    modules = {}
    for path in (root / "dyrnn").rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        modules[name] = Module(name, path.read_text(encoding="utf-8"), is_package)
    return modules


def imports(module, known):
    """Yield (line, name) of all modules imported, inside functions too.

    ``from dyrnn import X`` imports the module dyrnn.X where there is one, else dyrnn.
    """
    for node in module.nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.package.split(".")
                parents = parents[: len(parents) - node.level + 1]
                base = ".".join(parents + ([base] if base else []))
            for alias in node.names:
                child = f"{base}.{alias.name}"
                yield node.lineno, child if child in known else base
        elif isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            first = node.args[0]
            if name in ("import_module", "__import__") and isinstance(
                first, ast.Constant
            ):
                yield node.lineno, str(first.value)


def upward_imports(modules):
    """Importing a room of a higher floor, or one that is on no floor."""
    for module in modules.values():
        if module.room not in FLOOR:
            yield f"{module.name}: add {module.room!r} to a floor"
            continue
        for line, name in imports(module, modules):
            if name.partition(".")[0] != "dyrnn":
                continue
            room = (name.split(".") + ["__init__"])[1]
            if FLOOR.get(room, len(FLOORS)) > FLOOR[module.room]:
                yield f"{module.name}:{line} imports {name} from a floor above"


def circles(modules):
    """Files that import each other; a package's __init__ counts when it is named."""
    graph = {
        name: {target for _, target in imports(module, modules)} & modules.keys()
        for name, module in modules.items()
    }
    done: set[str] = set()

    def visit(name, path):
        if name in path:
            yield "circle: " + " -> ".join([*path[path.index(name) :], name])
        elif name not in done:
            for target in sorted(graph[name]):
                yield from visit(target, [*path, name])
            done.add(name)

    for name in sorted(graph):
        yield from visit(name, [])


def long_files(modules):
    """A file is a room to overlook."""
    for module in modules.values():
        lines = module.source.count("\n")
        if lines > MAX_LINES:
            yield f"{module.name} has {lines} lines; split it by topic"


def cupy_imports(modules):
    """CuPy is imported by backend.py and kernels/cuda/ only."""
    for module in modules.values():
        allowed = module.name == "dyrnn.backend" or module.name.startswith(
            "dyrnn.kernels.cuda"
        )
        for line, name in imports(module, modules):
            if name.partition(".")[0] in ("cupy", "cupyx", "cupy_backends"):
                if not allowed:
                    yield f"{module.name}:{line} imports {name}"


def exports_of_its_own_name(modules):
    """After ``from dyrnn.x import x`` in a package, x would mean two things."""
    for module in modules.values():
        stem = module.name.rpartition(".")[2]
        if module.is_package or module.name in NAMED_LIKE_THEIR_EXPORT:
            continue
        for node in module.tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else [node]
            for target in targets:
                name = getattr(target, "name", getattr(target, "id", None))
                if name == stem:
                    yield f"{module.name}:{node.lineno} exports its own name"


def global_random_numbers(modules):
    """All randomness comes from the named streams of dyrnn.random."""
    for module in modules.values():
        if module.name.startswith(GLOBAL_RANDOM_ROOM):
            continue
        calls = [n for n in module.nodes if isinstance(n, ast.Call) and n.args]
        seeded = {n.func for n in calls if ast.unparse(n.func).endswith("default_rng")}
        for node in module.nodes:
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in (
                "np.random",
                "numpy.random",
            ):
                if node.attr not in NUMPY_RANDOM and node not in seeded:
                    yield f"{module.name}:{node.lineno} uses np.random.{node.attr}"
        for line, name in imports(module, modules):
            if name in ("random", "numpy.random"):
                yield f"{module.name}:{line} imports {name}"


def pickles(modules):
    """Files hold data, not code."""
    for module in modules.values():
        if module.name.startswith(PICKLE_ROOMS):
            continue
        for line, name in imports(module, modules):
            if name.partition(".")[0] in SERIALIZERS_OF_CODE:
                yield f"{module.name}:{line} imports {name}"
        for node in module.nodes:
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                if ast.unparse(node.value) != "False":
                    yield f"{module.name}:{node.value.lineno} allows pickle"


def environment_variables(modules):
    """Environment variables are read in files of configuration only."""
    for module in modules.values():
        for node in module.nodes:
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"):
                if module.name not in ENVIRONMENT_ROOMS:
                    yield f"{module.name}:{node.lineno} uses os.{node.attr}"


OFFENDERS = [
    (
        upward_imports,
        {"dyrnn.config": "def f():\n    from dyrnn.engine.core import grad"},
    ),
    (upward_imports, {"dyrnn.engine": "import dyrnn"}),
    (upward_imports, {"dyrnn.engine": "from dyrnn import Chain"}),
    (upward_imports, {"dyrnn.engine": "from . import training"}),
    (upward_imports, {"dyrnn.engine": "from .links.rnn import LSTM"}),
    (upward_imports, {"dyrnn.attic": ""}),
    (upward_imports, {"dyrnn.training.trainer": "from dyrnn.extensions import a"}),
    (circles, {"dyrnn.a": "from dyrnn import b", "dyrnn.b": "import dyrnn.a"}),
    (circles, {"dyrnn.f.a": "from .b import x", "dyrnn.f.b": "from dyrnn.f import a"}),
    (long_files, {"dyrnn.engine": "x = 1\n" * (MAX_LINES + 1)}),
    (cupy_imports, {"dyrnn.engine": "import cupy"}),
    (cupy_imports, {"dyrnn.engine": "from cupyx.scipy import sparse"}),
    (
        cupy_imports,
        {"dyrnn.a": "import importlib\nimportlib.import_module('cupy')"},
    ),
    (exports_of_its_own_name, {"dyrnn.extensions.snapshot": "def snapshot(): ..."}),
    (exports_of_its_own_name, {"dyrnn.link": "link = 1"}),
    (global_random_numbers, {"dyrnn.engine": "np.random.permutation(3)"}),
    (global_random_numbers, {"dyrnn.engine": "np.random.default_rng()"}),
    (global_random_numbers, {"dyrnn.engine": "from numpy.random import rand"}),
    (global_random_numbers, {"dyrnn.engine": "import random"}),
    (pickles, {"dyrnn.engine": "import pickle"}),
    (pickles, {"dyrnn.engine": "np.load(f, allow_pickle=True)"}),
    (environment_variables, {"dyrnn.engine": "os.environ['HOME']"}),
]
RULES = sorted({rule for rule, _ in OFFENDERS}, key=lambda rule: rule.__name__)


@pytest.mark.parametrize("rule", RULES)
def test_library_keeps(rule):
    found = list(rule(library()))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("rule", "sources"), OFFENDERS)
def test_rule_finds_an_offender(rule, sources):
    modules = {name: Module(name, source) for name, source in sources.items()}
    modules["dyrnn.training"] = Module("dyrnn.training", "", is_package=True)
    assert len(list(rule(modules))) == 1


def test_rules_let_good_modules_pass():
    sources = {
        "dyrnn.backend": "import cupy, numpy as np",
        "dyrnn.random": "np.random.Generator(np.random.Philox(1))",
        "dyrnn.datasets": "np.random.default_rng(seed)",
        "dyrnn.engine": "from dyrnn import backend\nfrom dyrnn.random import stream",
        "dyrnn.extensions.snapshots": "from dyrnn.training import Extension",
        "dyrnn.chainer.main": "import dyrnn, pickle\nnp.random.rand()",
        "dyrnn.chainer.configuration": "import os\nos.environ['CHAINER_DTYPE']",
    }
    modules = {name: Module(name, source) for name, source in sources.items()}
    assert [found for rule in RULES for found in rule(modules)] == []


def test_every_module_is_looked_at():
    modules = library()
    assert {"dyrnn", "dyrnn.engine", "dyrnn.extensions"} <= modules.keys()
    rooms = {module.room for module in modules.values()}
    folders = {path.parent for path in (ROOT / "dyrnn").glob("*/*.py")}
    assert {folder.name for folder in folders} <= rooms


def test_a_name_of_both_repertoires_has_one_implementation():
    twice = repertoires.named_twice()
    assert len(twice) <= AT_MOST, "\n".join(twice)
    unexplained = [path for path in twice if path not in REASONS]
    assert not unexplained, "\n".join(unexplained)
    assert REASONS.keys() <= set(twice), "These have one: take their reasons out."
    assert set(REASONS.values()) <= CLOSED_LIST


def own_sigmoid(x):
    return Exp().apply((-x,))[0]


def own_softplus(x):
    return F.log(1 + F.exp(x))


def used(x):
    return Tanh().apply((x,))[0]


def bridged(x):
    return bridge(lambda a: core_functions.huber_loss(a, a, 1), x)


Tanh = from_core(activation.Tanh)


@pytest.mark.parametrize(
    ("own", "core", "is_one"),
    [
        (own_sigmoid, core_functions.sigmoid, False),
        (own_softplus, core_functions.softplus, False),
        (used, core_functions.tanh, True),
        (used, core_functions.sigmoid, False),
        (bridged, core_functions.huber_loss, True),
        (core_functions.tanh, core_functions.tanh, True),
    ],
)
def test_second_implementations_are_found(own, core, is_one, monkeypatch):
    followed = (*repertoires.FOLLOWED, __name__)
    monkeypatch.setattr(repertoires.reached, "__defaults__", (followed,))
    assert repertoires.is_one(own, core) is is_one
