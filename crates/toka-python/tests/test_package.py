"""What the wheel holds beside code: stubs that say the truth, documentation, examples that run."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import toka_vault
from conftest import Cluster
from toka_vault import _native

EXAMPLES = Path(__file__).parent.parent / "examples"
STUB = Path(str(toka_vault.__file__)).with_name("_native.pyi")


def stubs() -> list[ast.stmt]:
    return ast.parse(STUB.read_text()).body


def public(owner: object) -> set[str]:
    return {name for name in vars(owner) if not name.startswith("_")}


def test_stub_has_what_the_module_has_and_nothing_else() -> None:
    classes = {node.name: node for node in stubs() if isinstance(node, ast.ClassDef)}
    functions = {node.name: node for node in stubs() if isinstance(node, ast.FunctionDef)}
    assert public(_native) == classes.keys() | functions.keys()
    for name, node in classes.items():
        methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
        stated = {method for method in methods if not method.startswith("_")}
        assert stated == public(getattr(_native, name)), name


def test_stub_names_the_parameters_of_functions_as_they_are() -> None:
    for node in stubs():
        if isinstance(node, ast.FunctionDef):
            stated = [argument.arg for argument in [*node.args.args, *node.args.kwonlyargs]]
            assert stated == list(inspect.signature(getattr(_native, node.name)).parameters), node.name


def test_package_is_typed_and_everything_is_documented() -> None:
    assert STUB.with_name("py.typed").is_file()
    for name in toka_vault.__all__:
        if name in ["__version__", "errors"]:
            continue
        thing = getattr(toka_vault, name)
        assert thing.__doc__, name
        for member in public(thing):
            assert getattr(thing, member).__doc__, f"{name}.{member}"


def test_types_of_package_and_examples_hold() -> None:
    arguments = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", "/dev/null", "-p", "toka_vault"]
    for paths in [arguments, [*arguments[:-2], *sorted(map(str, EXAMPLES.glob("*.py")))]]:
        checked = subprocess.run(paths, capture_output=True, text=True, cwd=EXAMPLES)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def run(example: str, *arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / example), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_agents_of_the_example_do_each_task_once(cluster: Cluster) -> None:
    said = run("agent_loop.py", "--tasks", "6", "--agents", "3", *cluster.endpoints)
    assert "6 tasks, each done once" in said, said


@pytest.mark.parametrize("history", ["messages.json", "langgraph.json"])
def test_history_is_imported_once_however_often(history: str, tmp_path: Path) -> None:
    arguments = ["--data", str(tmp_path / "data"), "--thread", "t1", str(EXAMPLES / history)]
    first = run("import_messages.py", *arguments)
    again = run("import_messages.py", *arguments)
    assert "0 of them were there" in first, first
    new, there = first.split()[0], again.split()[4]
    assert new == there != "0", (first, again)


def test_notebook_runs_from_top_to_bottom(tmp_path: Path) -> None:
    assert "nearest to" in run("notebook.py", str(tmp_path / "data"))
