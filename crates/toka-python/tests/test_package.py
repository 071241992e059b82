"""What the wheel holds beside code: stubs that say the truth, documentation, examples that run."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import toka_vault
from conftest import Cluster
from toka_vault import _native

EXAMPLES = Path(__file__).parent.parent / "examples"
DOCUMENTS = [EXAMPLES.parents[2] / "docs" / "python.md", EXAMPLES.parent / "README.md"]
LICENSES = ["LICENSE-APACHE", "LICENSE-MIT"]
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


def parameters(node: ast.FunctionDef) -> list[tuple[str, bool, bool]]:
    """Of a stub: names, whether they are given by name alone, and whether they may be left out."""
    plain, named = node.args.args, node.args.kwonlyargs
    required = len(plain) - len(node.args.defaults)
    stated = [(argument.arg, False, index >= required) for index, argument in enumerate(plain)]
    defaults = zip(named, node.args.kw_defaults, strict=True)
    return stated + [(argument.arg, True, default is not None) for argument, default in defaults]


def real_parameters(callable: object) -> list[tuple[str, bool, bool]]:
    """The same of what is in the module."""
    signature = inspect.signature(callable)  # type: ignore[arg-type]
    return [
        (name, parameter.kind is parameter.KEYWORD_ONLY, parameter.default is not parameter.empty)
        for name, parameter in signature.parameters.items()
    ]


def test_stub_says_how_functions_and_methods_are_called() -> None:
    for node in stubs():
        if isinstance(node, ast.FunctionDef):
            assert parameters(node) == real_parameters(getattr(_native, node.name)), node.name
        if not isinstance(node, ast.ClassDef):
            continue
        for item in node.body:
            if not isinstance(item, ast.FunctionDef):
                continue
            name = f"{node.name}.{item.name}"
            decorators = {getattr(decorator, "id", "") for decorator in item.decorator_list}
            real = getattr(getattr(_native, node.name), item.name)
            if "property" in decorators:
                assert inspect.isdatadescriptor(real), name
            elif item.name == "__new__":
                assert parameters(item)[1:] == real_parameters(getattr(_native, node.name)), name
            elif not item.name.startswith("__"):
                assert parameters(item) == real_parameters(real), name


def test_extension_is_of_the_stable_abi() -> None:
    assert Path(str(_native.__file__)).name == "_native.abi3.so"


def test_wheel_carries_the_licences_of_the_repository() -> None:
    wheel = distribution("toka-vault")
    assert wheel.metadata["License-Expression"] == "MIT OR Apache-2.0"
    assert wheel.metadata.get_all("License-File") == LICENSES
    for name in LICENSES:
        assert wheel.read_text(f"licenses/{name}") == (EXAMPLES.parents[2] / name).read_text(), name


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


def test_messages_of_langchain_are_imported_as_those_that_were_written_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import_messages = importlib.import_module("import_messages").import_messages
    written = json.loads((EXAMPLES / "langgraph.json").read_text())

    def message(of: dict[str, Any]) -> SimpleNamespace:
        # As LangChain's have them, those that are empty too.
        fields = {"name": None, "additional_kwargs": {}, "response_metadata": {"model": "m"}, "type": of["type"]}
        return SimpleNamespace(type=of["type"], model_dump=lambda: {**fields, **of["data"]})

    with toka_vault.Vault.in_memory() as vault:
        stored = import_messages(vault, "t1", written)
        assert import_messages(vault, "t1", map(message, written)) == stored
        assert vault.head() == len(stored) == len(written)
        called, result = stored[1], stored[2]
        assert result.parents == [called.id] and result.kind == "message.tool"


def programs(document: Path) -> list[str]:
    """What a document shows of Python."""
    return re.findall(r"^```python\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE)


PROGRAMS = [program for document in DOCUMENTS for program in programs(document)]


def test_types_of_the_programs_in_documents_hold(tmp_path: Path) -> None:
    assert len(PROGRAMS) >= 4, "the documents show none"
    paths = [tmp_path / f"program_{index}.py" for index in range(len(PROGRAMS))]
    for path, program in zip(paths, PROGRAMS, strict=True):
        path.write_text(program)
    arguments = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", "/dev/null", *map(str, paths)]
    checked = subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr


# The others follow a cluster for ever.
@pytest.mark.parametrize("program", [program for program in PROGRAMS if "Vault.open(" in program])
def test_program_of_a_document_runs(program: str, tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", program]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_notebook_runs_from_top_to_bottom(tmp_path: Path) -> None:
    assert "nearest to" in run("notebook.py", str(tmp_path / "data"))
