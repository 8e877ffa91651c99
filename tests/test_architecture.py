"""The architecture as a test: who may import whom, and what no module may contain.

The tables below are the architecture. A new module that none of them names fails `test_no_module_breaks_a_rule`.
A name that ends in `.*` stands for a package and everything in it; any other name for exactly one module.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src"
PACKAGE = "light_peft"


class Layer(NamedTuple):
    """Members import from the layers below and from themselves; from one another only if `mutual`."""

    members: tuple[str, ...]
    mutual: bool = False


# Lowest first.
FOUNDATION = (
    *("artifacts", "backward_memory", "checkout", "checkpoints", "config.*", "hub", "imports", "interrupts"),
    *("isolation", "launchers", "meter", "naming", "opening", "processes", "runtime", "settings", "states"),
    *("supervisor", "unread", "validation", "writing"),
)
SWEEPS = ("attempts", "board", "cells", "table", "watch")
LAYERS = (
    Layer(("light_peft.pruning", *(f"light_peft.pruning.{name}" for name in ("scores", "plan", "budget")))),
    Layer(tuple(f"light_peft.{name}" for name in FOUNDATION), mutual=True),
    Layer(("light_peft.sweeps", *(f"light_peft.sweeps.{name}" for name in SWEEPS)), mutual=True),
    Layer(("light_peft.data.*", "light_peft.model.*")),
    Layer(("light_peft.tasks.*",)),
    Layer(("light_peft.peft_modules.*", "light_peft.pruning.masks", "light_peft.pruning.surgery"), mutual=True),
    Layer(("light_peft.pruning.averages", "light_peft.pruning.criteria.*")),
    Layer(("light_peft.pruning.moments", "light_peft.pruning.recovery"), mutual=True),
    Layer(("light_peft.training.*", "light_peft.evaluation.*")),
    Layer(tuple(f"light_peft.pruning.{name}" for name in ("decision", "estimate", "probe", "settle")), mutual=True),
    Layer(("light_peft.estimates",)),
    Layer(("light_peft.keeping",)),
    Layer(
        (
            *(
                "light_peft.asked",
                "light_peft.estimation",
                "light_peft.launch",
                "light_peft.loading",
                "light_peft.phases",
                "light_peft.pipeline",
                "light_peft.prefix_cache",
                "light_peft.tracking",
            ),
            *("light_peft.report.*", "light_peft.rescoring", "light_peft.session", "light_peft.worker"),
        ),
        mutual=True,
    ),
    Layer(("light_peft",)),
    Layer(("light_peft.words",)),
    Layer(("light_peft.door.*",)),
    Layer(("light_peft.search.*",)),
    Layer(("run",)),
)

# The equations and the decision: nothing of the package but each other, and of other packages these alone.
PURE = ("light_peft.pruning", "light_peft.pruning.scores", "light_peft.pruning.plan", "light_peft.pruning.budget")
PURE_LIBRARIES = {"numpy", "torch"}

# (who, what it never imports although the layers would allow it)
FORBIDDEN = tuple((f"light_peft.{who}.*", "light_peft.pruning.*") for who in ("training", "evaluation"))

# Below the door nobody sees Hydra or its DictConfig, so that the package is a library as well.
HYDRA_DOORS = ("run", "light_peft.door.*", "light_peft.search.words", "light_peft.words")

PICKLES = ("pickle", "dill", "cloudpickle", "joblib", "shelve")
PICKLING_CALLS = ("torch.save", "torch.load")
FORBIDDEN_ARGUMENTS = (("strict", False), ("trust_remote_code", True), ("allow_pickle", True))

MACHINE_PATH = re.compile(r"(?<![\w.~$}-])/(?:home|root|Users|work)/\w|[A-Z]:\\Users\\\w")


class Module(NamedTuple):
    """One parsed file of the source tree and the dotted names it imports."""

    name: str
    tree: ast.Module

    def imports(self) -> Iterator[str]:
        """Every dotted name imported anywhere in the file, `from a import b` as `a.b`."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from (f"{node.module or ''}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.Call) and dotted(node.func).split(".")[-1] in ("import_module", "__import__"):
                yield from (arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant))


def dotted(node: ast.AST) -> str:
    """`a.b.c` of an attribute chain on a name; empty for any other expression."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def load_modules(src: Path) -> dict[str, Module]:
    """All modules below `src` by dotted name."""
    modules = {}
    for path in sorted(src.rglob("*.py")):
        name = ".".join(path.relative_to(src).with_suffix("").parts).removesuffix(".__init__")
        modules[name] = Module(name, ast.parse(path.read_text(encoding="utf-8"), str(path)))
    return modules


def matches(name: str, *patterns: str) -> bool:
    """Whether one of the patterns (see the top of the file) names this module."""
    packages = tuple(pattern[:-1] for pattern in patterns if pattern.endswith(".*"))
    return name in patterns or f"{name}.".startswith(packages)


def place(name: str) -> tuple[int, str] | None:
    """Number of the layer and the member that the module belongs to; None if the table lacks it."""
    places = [(i, m) for i, layer in enumerate(LAYERS) for m in layer.members if matches(name, m)]
    assert len(places) < 2, f"{name} is in the table twice: {places}"
    return places[0] if places else None


def internal_imports(module: Module, modules: dict[str, Module]) -> set[str]:
    """Modules of this source tree that `module` imports; a name inside a module counts as that module."""
    found = set()
    for target in module.imports():
        while target and target not in modules:
            target = target.rpartition(".")[0]
        found.add(target)
    return found - {"", module.name}


def layer_violations(modules: dict[str, Module]) -> list[str]:
    """One line per module without a layer and per import that the tables forbid, and one for an import cycle."""
    advice = "name it in LAYERS, above all that it imports and below all that import it"
    problems = [f"{name} has no layer: {advice}" for name in modules if place(name) is None]
    graph = {name: internal_imports(module, modules) for name, module in modules.items()}
    for name, targets in graph.items():
        for target in sorted(targets):
            if place(name) and place(target) and not allowed(name, target):
                problems.append(f"{name} must not import {target}")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        problems.append(f"import cycle: {' -> '.join(error.args[1])}")
    return problems


def allowed(name: str, target: str) -> bool:
    """Whether the tables let module `name` import module `target`; both have a place."""
    if name in PURE:
        return target in PURE
    if any(matches(name, who) and matches(target, what) for who, what in FORBIDDEN):
        return False
    (layer, member), (target_layer, target_member) = place(name), place(target)
    if layer == target_layer:
        return member == target_member or LAYERS[layer].mutual
    return target_layer < layer


def library_violations(module: Module) -> Iterator[str]:
    """Hydra outside its door, pickle anywhere, libraries in a pure module."""
    for target in module.imports():
        library = target.split(".")[0]
        if library == "hydra" and not matches(module.name, *HYDRA_DOORS):
            yield f"{module.name} imports hydra; only {' and '.join(HYDRA_DOORS)} may"
        if library in PICKLES:
            yield f"{module.name} imports {library}; a file is JSON or safetensors"
        if module.name in PURE and library not in {*PURE_LIBRARIES, PACKAGE, *sys.stdlib_module_names}:
            yield f"{module.name} imports {library}; it is pure and may use {sorted(PURE_LIBRARIES)} only"


def code_violations(module: Module) -> Iterator[str]:
    """What no module may contain, one line per place."""
    for node in ast.walk(module.tree):
        where = f"{module.name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Call):
            yield from (f"{where}: {problem}" for problem in call_violations(node))
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"{where}: bare except"
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield f"{where}: relative import"
        elif isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            yield f"{where}: import *"
        if names_dict_config(node) and not matches(module.name, *HYDRA_DOORS):
            yield f"{where}: DictConfig; only {' and '.join(HYDRA_DOORS)} may see one"


def call_violations(call: ast.Call) -> Iterator[str]:
    function = dotted(call.func)
    if function == "print":
        yield "print; use the module's logger"
    if function in PICKLING_CALLS:
        yield f"{function} pickles; a file is JSON or safetensors"
    for keyword in call.keywords:
        value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
        if any(keyword.arg == name and value is forbidden for name, forbidden in FORBIDDEN_ARGUMENTS):
            yield f"{keyword.arg}={value}"


def names_dict_config(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return any(alias.name == "DictConfig" for alias in node.names)
    return isinstance(node, ast.Attribute | ast.Name) and dotted(node).split(".")[-1] == "DictConfig"


def violations(modules: dict[str, Module]) -> list[str]:
    """Everything that is wrong with a source tree."""
    each = [p for module in modules.values() for check in (library_violations, code_violations) for p in check(module)]
    return layer_violations(modules) + each


@pytest.fixture(scope="module")
def modules() -> dict[str, Module]:
    return load_modules(SRC)


def test_every_file_is_checked(modules: dict[str, Module]) -> None:
    files = [name for _, _, names in os.walk(SRC) for name in names if name.endswith(".py")]
    assert len(modules) == len(files) > 0


def test_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for path in (SRC / PACKAGE).rglob("*.py")}
    assert [str(folder.relative_to(SRC)) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_no_module_breaks_a_rule(modules: dict[str, Module]) -> None:
    assert not violations(modules), "\n".join(["", *violations(modules)])


def test_no_file_names_a_folder_of_one_machine() -> None:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs a git checkout: {error}")
    files = [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]
    assert files, "git lists no file"
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in files
        for number, line in enumerate(path.read_bytes().decode("utf-8", "ignore").splitlines(), start=1)
        if MACHINE_PATH.search(line) or f"{ROOT}/" in line
    ]
    assert not found, "\n".join(["", *found])


# The checks are checked on a small tree of their own: it passes, and each single change to it is caught.

SMALL_TREE = {
    "run.py": "import hydra\nfrom omegaconf import DictConfig\nfrom light_peft import door\n",
    "light_peft/artifacts.py": "import json\n",
    "light_peft/config.py": "from omegaconf import MISSING\n",
    "light_peft/data/task.py": "from light_peft.config import TaskConfig\n",
    "light_peft/door.py": "from light_peft.pipeline import execute\n",
    "light_peft/model/site.py": "import torch\n",
    "light_peft/pipeline.py": "from light_peft.pruning import estimate, plan\nfrom light_peft import training\n",
    "light_peft/pruning/estimate.py": "from light_peft.pruning.masks import MaskSet\nimport light_peft.training.loop\n",
    "light_peft/pruning/masks.py": "from light_peft.model.site import Site\n",
    "light_peft/pruning/plan.py": "import json\nimport torch\n",
    "light_peft/pruning/surgery.py": "from light_peft.pruning import masks, plan\n",
    "light_peft/training/loop.py": "from light_peft.data import Task\n",
    **{f"light_peft/{name}/__init__.py": "" for name in (".", "evaluation", "model", "pruning", "training")},
    "light_peft/data/__init__.py": "from light_peft.data.task import Task\n",
}


def small_tree(folder: Path, changes: dict[str, str]) -> dict[str, Module]:
    for name, text in (SMALL_TREE | changes).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return load_modules(folder)


def test_the_small_tree_passes(tmp_path: Path) -> None:
    modules = small_tree(tmp_path, {})
    assert len(modules) == len(SMALL_TREE)
    assert violations(modules) == []


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("utils.py", "", "light_peft.utils has no layer"),
        ("pruning/helper.py", "", "light_peft.pruning.helper has no layer"),
        ("artifacts.py", "from light_peft.data.task import Task", "artifacts must not import light_peft.data.task"),
        ("artifacts.py", "def f():\n    from light_peft.model import site", "must not import light_peft.model.site"),
        ("artifacts.py", "importlib.import_module('light_peft.door')", "must not import light_peft.door"),
        ("config.py", "import light_peft", "light_peft.config must not import light_peft"),
        ("model/site.py", "from light_peft.data import task", "model.site must not import light_peft.data.task"),
        ("training/loop.py", "from light_peft import evaluation", "must not import light_peft.evaluation"),
        ("training/loop.py", "from light_peft.pruning import masks", "must not import light_peft.pruning.masks"),
        ("evaluation/__init__.py", "import light_peft.pruning.plan", "must not import light_peft.pruning.plan"),
        ("pruning/masks.py", "from light_peft.pruning.estimate import f", "must not import light_peft.pruning.est"),
        ("pruning/masks.py", "from light_peft.pruning import surgery", "import cycle: light_peft.pruning.surgery"),
        ("pruning/plan.py", "from light_peft.artifacts import write", "plan must not import light_peft.artifacts"),
        ("pruning/plan.py", "import scipy.stats", "light_peft.pruning.plan imports scipy"),
        ("pipeline.py", "from hydra.utils import instantiate", "light_peft.pipeline imports hydra"),
        ("pipeline.py", "from omegaconf import DictConfig", "light_peft.pipeline:1: DictConfig"),
        ("pipeline.py", "import omegaconf\nx: omegaconf.DictConfig", "light_peft.pipeline:2: DictConfig"),
        ("pipeline.py", "print('x')", "light_peft.pipeline:1: print"),
        ("pipeline.py", "from . import report", "light_peft.pipeline:1: relative import"),
        ("pipeline.py", "from torch import *", "light_peft.pipeline:1: import *"),
        ("pipeline.py", "try:\n    x = 1\nexcept:\n    pass", "light_peft.pipeline:3: bare except"),
        ("pipeline.py", "import pickle", "light_peft.pipeline imports pickle"),
        ("pipeline.py", "import torch\ntorch.save({}, 'x')", "light_peft.pipeline:2: torch.save pickles"),
        ("pipeline.py", "model.load_state_dict(x, strict=False)", "light_peft.pipeline:1: strict=False"),
        ("pipeline.py", "load(x, trust_remote_code=True)", "light_peft.pipeline:1: trust_remote_code=True"),
    ],
)
def test_each_violation_is_caught(tmp_path: Path, name: str, text: str, problem: str) -> None:
    found = violations(small_tree(tmp_path, {f"{PACKAGE}/{name}": text}))
    assert any(problem in line for line in found), found


@pytest.mark.parametrize("folder", ["/home", "/root", "/Users", "/work"])
def test_a_machine_path_is_recognised(folder: str) -> None:
    assert MACHINE_PATH.search(f"cd {folder}/someone")
    assert not MACHINE_PATH.search(f"cd ~{folder}/x docs{folder}/x $HOME{folder}/x https://host{folder}/x {folder}")
