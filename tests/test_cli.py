"""The command line as a person meets it: exit codes, one-line errors that name the fix, nothing lost."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
import yaml
from typer.core import TyperGroup

from dataforge.cli import app
from dataforge.cli.later import Later
from dataforge.errors import UsageError
from dataforge.records import Failure
from dataforge.runs import Run, append_line, writing
from tests.servers import TeacherServer

COMMAND = [sys.executable, "-c", "import sys, dataforge.cli; sys.argv[0] = 'dataforge'; dataforge.cli.main()"]


def call(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if key != "OPENAI_API_KEY"} | environment
    argv = [*COMMAND, *map(str, arguments)]
    return subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, timeout=120)


def refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 2 and one line on stderr with all these words; nothing on stdout, no traceback."""
    assert result.returncode == 2, (result.stdout, result.stderr)
    lines = [line for line in result.stderr.splitlines() if not line.startswith("note:")]
    assert len(lines) == 1, result.stderr
    for word in words:
        assert word in lines[0], lines[0]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished run."""
    folder = tmp_path_factory.mktemp("home")
    result = call("synth", "--source", "infographics", "--limit", 3, cwd=folder)
    assert result.returncode == 0, result.stderr
    assert "traces.jsonl" in result.stdout
    return folder


def write(folder: Path, **content: object) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"name": "mine", "source": "infographics", "limit": 2} | content))
    return path


# ---------------------------------------------------------------------------------------------- what works


def test_results_go_to_stdout_and_the_rest_to_stderr(home: Path) -> None:
    result = call("synth", "--source", "infographics", "--limit", 3, "--json", cwd=home)
    assert result.returncode == 0
    summary = json.loads(result.stdout)
    assert summary["read"] == summary["kept"] + summary["rejected"] + summary["failed"] == 3
    assert "scripted teacher" in result.stderr


def test_filter_show_schema_plugins_doctor(home: Path) -> None:
    result = call("filter", "--json", cwd=home)
    assert (result.returncode, json.loads(result.stdout)["kept"]) == (0, 3)
    trace = next(Run.open(home / "runs" / "latest").traces())
    shown = call("show", trace.id, cwd=home)
    assert shown.returncode == 0
    assert trace.answer in shown.stdout
    assert json.loads(call("show", trace.id, "--json", cwd=home).stdout)["id"] == trace.id
    schema = json.loads(call("schema", cwd=home).stdout)
    assert set(schema["required"]) >= {"id", "example", "steps", "answer"}
    listed = json.loads(call("plugins", "--json", cwd=home).stdout)
    assert "zoom_in" in listed["operation"]
    assert "padding" in listed["operation"]["zoom_in"]["options"]
    assert call("doctor", cwd=home).returncode == 0


def test_a_manifest_changes_the_thresholds_of_a_stored_run(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "runs", tmp_path / "runs", symlinks=True)
    strict = write(tmp_path, filter=["well_formed", {"name": "legible", "plain_px": 0.1, "plain_side_px": 0.1}])
    result = call("filter", "--manifest", strict, "--json", cwd=tmp_path)
    assert (result.returncode, json.loads(result.stdout)["rejections"]) == (1, {"legible: zoom_not_needed": 3})
    again = call("filter", "--json", cwd=tmp_path)
    assert json.loads(again.stdout)["rejected"] == 3, "the run's own from now on"
    loose = write(tmp_path, filter=["well_formed", {"name": "legible", "least_px": 1.0}])
    assert json.loads(call("filter", "-m", loose, "--json", cwd=tmp_path).stdout)["kept"] == 3
    digest = json.loads((home / "runs" / "latest" / "manifest.json").read_text())["digest"]
    assert json.loads((tmp_path / "runs" / "latest" / "manifest.json").read_text())["digest"] == digest
    assert call("synth", "--source", "infographics", "--limit", 3, cwd=tmp_path).returncode == 0
    refused(call("filter", "-m", loose, "--check", "answer", cwd=tmp_path), "--check or --manifest")


def test_report_holds_its_pictures_and_asks_for_nothing(home: Path) -> None:
    page = (home / "runs" / "latest" / "report.html").read_text()
    assert "data:image/jpeg;base64," in page
    assert 'src="http' not in page
    assert 'href="http' not in page


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    flags = ["--teacher", "gpt-4.1-mini", "--limit", 2, "--dry-run", "--json"]
    result = call("synth", "--source", "infographics", *flags, cwd=tmp_path)
    assert result.returncode == 0
    estimate = json.loads(result.stdout)
    assert (estimate["rows"], estimate["calls"]) == (2, 2)
    assert estimate["input_tokens"] > 1000
    assert estimate["cost_usd"] == pytest.approx((0.4 * estimate["input_tokens"] + 1.6 * 700) / 1e6)
    assert "list prices of 20" in estimate["prices"]
    halved = json.loads(call("synth", "--source", "infographics", *flags, "--batch", cwd=tmp_path).stdout)
    assert halved["cost_usd"] == pytest.approx(estimate["cost_usd"] / 2)
    assert list(tmp_path.iterdir()) == []


def test_doctor_asks_the_teacher(tmp_path: Path) -> None:
    with TeacherServer() as server:
        result = call("doctor", "--teacher", "tiny-vision", "--base-url", server.url, cwd=tmp_path)
        assert result.returncode == 0, result.stdout
        assert server.requests == 0
        wrong = call("doctor", "--teacher", "other", "--base-url", server.url, cwd=tmp_path)
        assert wrong.returncode == 1
        assert "tiny-vision" in wrong.stdout


def test_every_command_has_help_with_an_example(tmp_path: Path) -> None:
    for command in ("synth", "filter", "show", "schema", "plugins", "doctor", "cache", "eval", "train rl"):
        result = call(*command.split(), "--help", cwd=tmp_path)
        assert result.returncode == 0
        assert f"dataforge {command}" in result.stdout.split("Examples:")[1]


def test_a_key_never_reaches_a_file_or_a_line(tmp_path: Path) -> None:
    key = "sk-very-secret-0123456789"
    with TeacherServer("wrong_key") as server:
        flags = ["--teacher", "tiny-vision", "--base-url", server.url]
        source = ["--source", "infographics", "--limit", 1]
        result = call("synth", *source, *flags, cwd=tmp_path, OPENAI_API_KEY=key)
        assert server.keys[0] == key
    refused(result, "OPENAI_API_KEY")
    assert key not in result.stdout + result.stderr
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or key.encode() not in path.read_bytes(), path


def test_a_budget_ends_a_run_with_exit_1_and_says_how_to_go_on(tmp_path: Path) -> None:
    with TeacherServer() as server:
        flags = ["--source", "infographics", "--limit", 4, "--teacher", "tiny-vision", "--base-url", server.url]
        refused(call("synth", *flags, "--budget", "2", cwd=tmp_path), "no price is known", "5Mtok")
        refused(call("synth", *flags, "--budget", "lots", cwd=tmp_path), "no budget 'lots'", "20usd")
        teacher = {"name": "openai_api", "model": "tiny-vision", "base_url": server.url}
        named = write(tmp_path, teacher=teacher, budget=20)
        refused(call("synth", "--manifest", named, cwd=tmp_path), "no price is known")
        assert server.requests == 0
        result = call("synth", *flags, "--budget", "7ktok", cwd=tmp_path)
        assert result.returncode == 1
        assert "budget reached" in result.stderr
        assert "no price" in result.stdout or "tokens" not in result.stdout
        assert server.requests * 1100 <= 7000


def test_a_command_that_is_refused_leaves_no_run_behind(home: Path, tmp_path: Path) -> None:
    before = os.readlink(home / "runs" / "latest")
    refused(call("synth", "--source", "infographics", "--path", "nowhere", cwd=home), "nowhere is not a folder")
    assert os.readlink(home / "runs" / "latest") == before
    assert [path.name for path in (home / "runs").glob("infographics-*")] == [before]
    refused(call("synth", "--source", "infographics", "--path", "nowhere", cwd=tmp_path), "nowhere is not a folder")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["replies.sqlite"]


def test_a_run_without_traces_is_refused_by_filter_in_a_line(home: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    shutil.copy(home / "runs" / "latest" / "manifest.json", empty)
    refused(call("filter", empty, cwd=tmp_path), "holds no traces")
    assert "0 traces" in call("filter", empty, "--dry-run", cwd=tmp_path).stdout
    (empty / "traces.jsonl").write_text("garbage\n")
    refused(call("filter", empty, cwd=tmp_path), "line 1")
    refused(call("export", "openai", empty, cwd=tmp_path), "line 1")


def test_a_hub_that_is_away_is_said_in_a_line(tmp_path: Path) -> None:
    away = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "HF_TOKEN": "hf_secretsecret"}
    for command in ("verify", "pull"):
        result = call(command, "hub:me/traces", cwd=tmp_path, **away)
        refused(result, "hub:me/traces", "can't be reached", "run the same command again")
        assert "upload" not in result.stderr
        assert "secretsecret" not in result.stdout + result.stderr


def test_options_are_listed_as_a_manifest_writes_them(tmp_path: Path) -> None:
    options = json.loads(call("plugins", "source", "--json", cwd=tmp_path).stdout)["source"]["table"]["options"]
    assert options["licence"].startswith('text, default "unknown"')
    assert options["path"].startswith("path, optional")
    assert options["box_order"] == "one of xyxy, xywh, yxyx, optional"
    assert all("typing" not in text and "|" not in text.split(";")[0] for text in options.values())


def test_the_cache_is_shown_and_pruned(tmp_path: Path) -> None:
    refused(call("cache", cwd=tmp_path), "no reply cache")
    with TeacherServer() as server:
        flags = ["--source", "infographics", "--limit", 2, "--base-url", server.url]
        for model in ("tiny-vision", "other-model"):
            call("synth", *flags, "--teacher", model, cwd=tmp_path)
    shown = json.loads(call("cache", "--json", cwd=tmp_path).stdout)
    assert {(one["teacher"], one["purpose"]) for one in shown["held"]} == {
        ("openai_api tiny-vision", "write"),
        ("openai_api other-model", "write"),
    }
    total = sum(one["replies"] for one in shown["held"])
    assert shown["bytes"] > 0
    assert f"{total} replies" in call("cache", cwd=tmp_path).stdout
    refused(call("cache", "--prune", cwd=tmp_path), "--model", "--unused")
    refused(call("cache", "--model", "tiny-vision", cwd=tmp_path), "--prune")
    planned = call("cache", "--prune", "--model", "tiny-vision", "--dry-run", cwd=tmp_path)
    assert "would be deleted" in planned.stdout
    assert json.loads(call("cache", "--json", cwd=tmp_path).stdout)["held"] == shown["held"]
    call("cache", "--prune", "--model", "tiny-vision", cwd=tmp_path)
    left = json.loads(call("cache", "--json", cwd=tmp_path).stdout)["held"]
    assert [one["teacher"] for one in left] == ["openai_api other-model"]
    for folder in (tmp_path / "runs").glob("infographics-*"):
        shutil.rmtree(folder)
    gone = json.loads(call("cache", "--prune", "--unused", "--json", cwd=tmp_path).stdout)
    assert gone["deleted"] == left[0]["replies"]
    assert json.loads(call("cache", "--json", cwd=tmp_path).stdout)["held"] == []


# ---------------------------------------------------------------------------------------------- what is refused


def test_no_source_or_two(tmp_path: Path) -> None:
    refused(call("synth", cwd=tmp_path), "--source", "infographics", "--manifest")
    refused(call("synth", "--source", "infografics", cwd=tmp_path), "did you mean 'infographics'")


def test_a_manifest_that_is_not_there_or_not_yaml(tmp_path: Path) -> None:
    refused(call("synth", "--manifest", "gone.yaml", cwd=tmp_path), "gone.yaml", "infographics")
    (tmp_path / "bad.yaml").write_text("name: [\n")
    refused(call("synth", "--manifest", "bad.yaml", cwd=tmp_path), "bad.yaml", "line")
    (tmp_path / "list.yaml").write_text("- name\n")
    refused(call("synth", "--manifest", "list.yaml", cwd=tmp_path), "mapping")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"filtr": []}, ["filtr", "did you mean 'filter'"]),
        ({"student": {"patchh": 14}}, ["student.patchh", "did you mean 'patch'"]),
        ({"limit": "many"}, ["limit", "many"]),
        ({"limit": 0}, ["limit"]),
        ({"mix": {"singel": 1}}, ["mix"]),
        ({"mix": {"single": 0}}, ["mix"]),
        ({"source": "infografics"}, ["source", "did you mean 'infographics'"]),
        ({"source": {"name": "infographics", "per_postr": 1}}, ["did you mean 'per_poster'"]),
        ({"operations": [{"name": "zoom_in", "padding": 3}]}, ["zoom_in", "padding"]),
        ({"teacher": {"name": "openai_api"}}, ["openai_api", "model"]),
        ({"validate": ["grounded", "plausible"]}, ["plausible"]),
        ({"filter": ["replai"]}, ["did you mean 'replay'"]),
        ({"name": "../up"}, ["name"]),
        ({"seed": None}, ["seed"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_manifest_is_told_in_one_line(tmp_path: Path, content: dict[str, object], words: list[str]) -> None:
    refused(call("synth", "--manifest", write(tmp_path, **content), cwd=tmp_path), *words)
    assert not (tmp_path / "runs").exists()


def test_a_missing_path_and_a_missing_key(tmp_path: Path) -> None:
    refused(call("synth", "--source", "infographics", "--path", "gone", cwd=tmp_path), "gone")
    refused(call("synth", "--source", "infographics", "--teacher", "gpt-4.1-mini", cwd=tmp_path), "OPENAI_API_KEY")
    refused(call("synth", "--source", "infographics", "--base-url", "http://x/v1", cwd=tmp_path), "--teacher")


def test_no_run_no_trace_no_check(home: Path, tmp_path: Path) -> None:
    refused(call("filter", cwd=tmp_path), "no run 'latest'")
    refused(call("filter", "other", cwd=home), "no run 'other'", "infographics-")
    refused(call("show", "nothing", cwd=home), "nothing")
    refused(call("filter", "--check", "replai", cwd=home), "did you mean 'replay'")
    refused(call("schema", "Thing", cwd=home), "Trace")
    refused(call("plugins", "teachers", cwd=home), "teacher")


def copied(home: Path, tmp_path: Path) -> Path:
    shutil.copytree(home / "runs", tmp_path / "runs", symlinks=True)
    return next((tmp_path / "runs").glob("infographics-*"))


def test_a_stored_line_that_does_not_fit_names_file_line_and_field(home: Path, tmp_path: Path) -> None:
    folder = copied(home, tmp_path)
    lines = (folder / "traces.jsonl").read_text().splitlines()
    spoiled = json.loads(lines[1])
    spoiled["steps"][0]["thougt"] = spoiled["steps"][0].pop("thought")
    (folder / "traces.jsonl").write_text("\n".join([lines[0], json.dumps(spoiled), lines[2], ""]))
    refused(call("filter", cwd=tmp_path), "traces.jsonl line 2", "steps.0.thou")


def test_a_folder_of_another_manifest_is_refused(home: Path, tmp_path: Path) -> None:
    folder = copied(home, tmp_path)
    stored = json.loads((folder / "manifest.json").read_text())
    stored |= {"seed": 99, "digest": "0" * 12}
    (folder / "manifest.json").write_text(json.dumps(stored))
    result = call("synth", "--source", "infographics", "--limit", 3, cwd=tmp_path)
    refused(result, "another manifest", "seed")


def test_a_file_in_the_way_of_the_runs_folder(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    refused(call("synth", "--source", "infographics", "--limit", 1, cwd=tmp_path), "runs", "--runs")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, where nobody can make a folder")
@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("synth --source infographics --limit 1 --runs /proc/x", "--runs"),
        ("pull published --runs /proc/x", "--runs"),
        ("export openai --out /proc/x", "--out"),
        ("push --force --to /proc/x", "--to"),
        ("sources infographics --limit 1 --out /proc/x/page.html", "--out"),
        ("sources infographics --limit 1 --out /proc/x", "--out"),
        ("fingerprint latest --out /proc/x/prints", "--out"),
        ("fingerprint latest --out /proc/x", "--out"),
        ("train tiny /proc/x", "train tiny FOLDER"),
        ("train rl --source infographics --student tiny --out /proc/x", "--out"),
        ("train miniature --out /proc/x", "--out"),
    ],
)
def test_a_folder_that_cant_be_made_is_told_in_one_line(published: Path, command: str, option: str) -> None:
    if command.startswith("train"):
        pytest.importorskip("torch")
    refused(call(*command.split(), cwd=published), "/proc/x", "choose another folder with", option)


@pytest.fixture(scope="module")
def published(home: Path) -> Path:
    assert call("push", "--force", "--to", "published", cwd=home).returncode == 0
    return home


def test_a_name_too_long_for_a_folder_is_told_in_one_line(tmp_path: Path) -> None:
    refused(call("synth", "--source", "infographics", "--limit", 1, "--runs", "x" * 300, cwd=tmp_path), "too long")


def test_what_is_missing_elsewhere_stays_a_bug(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), writing(tmp_path / "runs" / "a"):
        (tmp_path / "pictures" / "gone.png").read_bytes()


def test_a_run_is_fingerprinted_by_folder_or_name(home: Path, tmp_path: Path) -> None:
    name = os.readlink(home / "runs" / "latest")
    told = [
        json.loads(call("fingerprint", what, "--out", tmp_path / "made" / what, "--json", cwd=home).stdout)
        for what in ("latest", name, f"runs/{name}")
    ]
    assert told[0]["pictures"] == 3
    assert [one["set"] for one in told] == [name] * 3
    refused(call("fingerprint", "infographics-other", "--out", "x", cwd=home), "no set 'infographics-other'")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_to_write(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir(mode=0o500)
    refused(call("synth", "--source", "infographics", "--limit", 1, cwd=tmp_path), "no permission", "--runs")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_in_one_line() -> None:
    with pytest.raises(UsageError, match="full: free some space and run again"):
        append_line(Path("/dev/full"), Failure(id="e", stage="read", reason="no_answer"))


def test_a_line_torn_by_a_kill_is_no_obstacle(home: Path, tmp_path: Path) -> None:
    folder = copied(home, tmp_path)
    with (folder / "traces.jsonl").open("a") as lines:
        lines.write('{"schema_version":1,"id":"poster-tr')
    result = call("filter", "--json", cwd=tmp_path)
    assert (result.returncode, json.loads(result.stdout)["kept"]) == (0, 3)
    assert call("synth", "--source", "infographics", "--limit", 3, cwd=tmp_path).returncode == 0
    assert (folder / "traces.jsonl").read_bytes() == (home / "runs" / folder.name / "traces.jsonl").read_bytes()


def test_nothing_kept_is_exit_1(tmp_path: Path) -> None:
    path = write(tmp_path, mix={"direct": 1}, limit=2)
    result = call("synth", "--manifest", path, cwd=tmp_path)
    assert result.returncode == 1
    assert "failed 2" in result.stdout
    assert "no_kind_fits" in result.stdout


def test_completion_script(tmp_path: Path) -> None:
    result = call("--show-completion", cwd=tmp_path, SHELL="/bin/bash")
    assert result.returncode in (0, 1)
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("ev",), {"eval"}),
        (("train", ""), {"sft", "preview", "tiny", "rl", "miniature"}),
        (("train", "rl", "--st"), {"--student"}),
        (("eval", "--box"), {"--box-unit"}),
        (("eval", "re"), {"report"}),
    ],
)
def test_the_shell_completes_commands_and_options(tmp_path: Path, words: tuple[str, ...], found: set[str]) -> None:
    asked = {"COMP_WORDS": " ".join(["dataforge", *words]), "COMP_CWORD": str(len(words))}
    result = call(cwd=tmp_path, _DATAFORGE_COMPLETE="complete_bash", **asked)
    assert set(result.stdout.split()) == found


def imported(*arguments: str) -> tuple[str, set[str]]:
    """What a command prints, and the files under dataforge/cli that it imports."""
    code = f"import sys, atexit; sys.argv = {['dataforge', *arguments]}; import dataforge.cli; " + (
        "atexit.register(lambda: print(*(n for n in sys.modules if n.startswith('dataforge.cli.')), file=sys.stderr));"
        " dataforge.cli.main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return result.stdout, {name.removeprefix("dataforge.cli.") for name in result.stderr.split()} - {"app", "later"}


def test_help_lists_all_commands_and_imports_none_of_their_files() -> None:
    said, files = imported("--help")
    assert files == set()
    rows = dict(line.split(maxsplit=1) for line in said.split("Commands:")[1].strip().splitlines())
    assert (
        list(rows)
        == (
            "sources synth filter show view diff push verify pull export import train eval"
            " fingerprint cache plugins schema doctor"
        ).split()
    ), "as the work goes"
    assert all(text.endswith(".") for text in rows.values()), "none is cut off"


@pytest.mark.parametrize(
    ("command", "files"),
    [
        ("filter", {"make"}),
        ("eval report", {"evaluate"}),
        ("train sft", {"train"}),
        ("train rl", {"train", "train_rl"}),
    ],
)
def test_a_commands_help_imports_its_own_file_alone(command: str, files: set[str]) -> None:
    said, there = imported(*command.split(), "--help")
    assert f"Usage: dataforge {command} " in said
    assert there == files


def test_what_is_listed_is_there_and_a_typo_names_the_nearest(tmp_path: Path) -> None:
    groups = [typer.main.get_group(app)]
    for group in groups:
        for name, later in group.commands.items():
            real = later.real() if isinstance(later, Later) else later
            assert (real.name or name) == name
            assert later.short_help
            groups += [real] if isinstance(real, TyperGroup) else []
    assert len(groups) == 3, "train and eval have commands of their own"
    refused_words = call("synht", cwd=tmp_path)
    assert refused_words.returncode == 2
    assert "synth" in refused_words.stderr
