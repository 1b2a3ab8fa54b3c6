"""Imports go down only, the command line is light, and what the manifests and README name exists."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dataforge import manifest, plugins, prompts

ROOT = Path(__file__).parents[1]

LAYERS = [
    set("__init__ errors geometry records".split()),
    set("plugins prompts recipe manifest runs media video workspace controls".split())
    | set("answers reading workers marks ordering".split())
    | set("alike.likeness alike.wording filter.verdicts".split())
    | set("ask.request ask.replies ask.tolerant ask.prices ask.tokens ask.budget".split()),
    set("episode chat dialect transcript operations shown ask alike".split())
    | set("posters staged scenes pages sentences".split()),
    set("locate compose write pose sources teachers checks exporters".split()),
    set("synth filter ask.batch ask.batch_api ask.gathering ask.cache report survey show view diff doctor".split())
    | set("evaluate publish".split()),
    set("cli".split()),
]
"""From the bottom; a module imports from its own layer or below. `ask.budget` wins over its folder's `ask`."""


def layer_of(name: str) -> int:
    known = {entry: number for number, layer in enumerate(LAYERS) for entry in layer}
    return known[name] if name in known else known[name.partition(".")[0]]


def imports(path: Path) -> set[str]:
    """The project's own modules that a file imports at its top level, by the name under dataforge."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "dataforge":
            folder = node.module.partition(".")[2]
            inside = ROOT / "dataforge" / folder.replace(".", "/")
            modules = [a.name for a in node.names if (inside / f"{a.name}.py").exists() or (inside / a.name).is_dir()]
            found |= {f"{folder}.{name}".strip(".") for name in modules} or {folder or "__init__"}
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "dataforge").rglob("*.py")), ids=lambda path: path.stem)
def test_imports_go_down(path: Path) -> None:
    name = ".".join(path.relative_to(ROOT / "dataforge").with_suffix("").parts).removesuffix(".__init__")
    for used in imports(path):
        assert layer_of(used) <= layer_of(name), f"{name} imports {used} from above"


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    heavy = ["torch", "transformers", "datasets", "pandas", "openai", "numpy", "decord", "av", "pyarrow", "PIL"]
    code = f"import sys, dataforge.cli; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_only_the_command_line_prints() -> None:
    for path in (ROOT / "dataforge").rglob("*.py"):
        if path.parent.name != "cli":
            calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
            assert not [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"], path


@pytest.mark.parametrize("name", manifest.shipped_names())
def test_every_shipped_manifest_loads(name: str, tmp_path: Path) -> None:
    source = yaml.safe_load(manifest.shipped(name).read_text(encoding="utf-8")).get("source", "mixed")
    plugin = plugins.find("source", source if isinstance(source, str) else source["name"])
    path = tmp_path if "path" in plugin.model_fields and plugin.model_fields["path"].is_required() else None
    loaded = manifest.load(manifest.shipped(name), source_path=path)
    assert loaded.name == name
    assert len(loaded.digest()) == 12


@pytest.mark.parametrize("family", list(plugins.FAMILIES))
def test_every_plugin_is_found_by_its_name_and_has_help(family: plugins.Family) -> None:
    assert plugins.names(family)
    for name in plugins.names(family):
        plugin = plugins.find(family, name)
        assert plugin.__doc__
        assert plugin.__module__.endswith(f".{name}")


def test_no_plugin_of_that_name_names_the_nearest() -> None:
    with pytest.raises(plugins.UsageError, match="did you mean 'grounded'"):
        plugins.find("check", "grouned")


def test_a_plugin_from_outside_loads_by_dotted_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "short.py").write_text(
        "from dataforge.plugins import Check, Kit\n"
        "from dataforge.records import Trace, Verdict\n"
        "class Short(Check):\n"
        "    '''At most so many steps.'''\n"
        "    most: int = 3\n"
        "    reasons = ('too_long',)\n"
        "    def judge(self, trace: Trace, kit: Kit) -> Verdict:\n"
        "        return self.passed()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    check = plugins.build("check", {"name": "mine.short", "most": 2})
    assert check.most == 2
    assert check.name == "mine.short"
    with pytest.raises(plugins.UsageError, match="did you mean 'most'"):
        plugins.build("check", {"name": "mine.short", "mosst": 2})


def test_prompts_beside_the_manifest_win_and_are_strict(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "verify.md").write_text("Only $question here")
    mine = prompts.find_prompt("verify", tmp_path)
    assert mine.fill(question="this") == "Only this here"
    assert mine.fingerprint != prompts.find_prompt("verify").fingerprint
    with pytest.raises(prompts.UsageError, match="missing"):
        mine.fill(other="x")
    with pytest.raises(prompts.UsageError, match=r"no prompt nothing\.md"):
        prompts.find_prompt("nothing", tmp_path)


def test_the_readmes_tree_names_every_module_and_no_other() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = next(block for block in re.findall(r"```\w*\n(.*?)```", readme, re.S) if "\ndataforge/" in block)
    package = ROOT / "dataforge"
    inside = tree.split("\ndataforge/")[1].split("\ntraining/")[0]
    named = set(re.findall(r"^  ([a-z_]+)(?:\.py|/) ", inside, re.M))
    there = {path.stem for path in package.glob("*.py")} | {path.parent.name for path in package.glob("*/__init__.py")}
    assert named == there - {"__init__", "dataforge"}
