"""Several sources with shares in one manifest: rows in turn, stand-ins, one run with all of them."""

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from dataforge import manifest, plugins
from dataforge.cli.app import chosen_manifest
from dataforge.errors import UsageError
from dataforge.manifest import Manifest
from dataforge.pages import chromium
from dataforge.runs import Run
from dataforge.sources.mixed import Mixed, stand_ins
from dataforge.synth import synth


def mixed(*parts: dict[str, Any]) -> Mixed:
    source: Mixed = plugins.build("source", {"name": "mixed", "of": list(parts)})
    return source


def part(name: str, share: float, **options: Any) -> dict[str, Any]:
    return {"name": name, "share": share, **options}


def taken(source: Mixed, count: int) -> Counter[str]:
    return Counter(item.id.split("-")[0] for item in itertools.islice(source.read(), count))


def test_any_stretch_has_the_shares_of_the_whole() -> None:
    source = mixed(part("photos", 0.5), part("infographics", 0.3), part("web_pages", 0.2))
    assert taken(source, 10) == {"scene": 5, "poster": 3, "page": 2}
    assert taken(source, 1000) == {"scene": 500, "poster": 300, "page": 200}
    ids = [item.id for item in itertools.islice(source.read(), 60)]
    for start in range(0, 50, 10):
        found = Counter(name.split("-")[0] for name in ids[start : start + 10])
        assert abs(found["scene"] - 5) <= 1, found
    assert ids == [item.id for item in itertools.islice(source.read(), 60)]


def test_reading_ends_with_the_first_part_that_does() -> None:
    source = mixed(part("photos", 3, count=4), part("infographics", 1))
    assert not source.endless
    found = Counter(item.id.split("-")[0] for item in source.read())
    assert found["scene"] == 4
    assert found["poster"] in (1, 2), "the shares hold to the end"


def test_what_a_mixture_is_follows_from_its_parts(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    drawn, both = part("infographics", 1), part("photos", 1, path=str(tmp_path), licence="CC BY 4.0")
    assert (mixed(drawn).redistributable, mixed(drawn).poses) == (True, False)
    source = mixed(drawn, both)
    assert (source.redistributable, source.poses, source.endless) == (False, True, False)
    assert source.licence == "infographics: Apache-2.0; photos: CC BY 4.0"


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ([{"name": "photos"}], "share above 0"),
        ([part("photos", 0)], "share above 0"),
        ([part("photos", 1), part("photos", 1)], "once"),
        ([], "at least 1"),
        ([part("photo", 1)], "did you mean 'photos'"),
        ([part("photos", 1, seeed=3)], "did you mean 'seed'"),
        ([part("sa1b", 1)], "path"),
    ],
)
def test_a_mixture_that_makes_no_sense_is_explained(parts: list[dict[str, Any]], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        mixed(*parts)


def parsed(tmp_path: Path, sources: list[dict[str, Any]], **changes: Any) -> Manifest:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"name": "mine", "limit": 6, "sources": sources}))
    return manifest.load(path, changes)


def test_a_stand_in_takes_the_place_of_what_is_not_given_and_stays_in_the_run(tmp_path: Path) -> None:
    sources = [part("sa1b", 2, **{"else": {"name": "photos", "seed": 5}}), part("infographics", 1)]
    loaded = parsed(tmp_path, sources)
    source = plugins.build("source", loaded.source)
    assert [one.source.name for one in source.parts] == ["photos", "infographics"]
    assert source.parts[0].source.seed == 5
    assert stand_ins(source) == ["photos stands in for sa1b: no path is given"]
    stored = json.loads(loaded.model_dump_json(by_alias=True))
    again = manifest.parse(stored, "stored")
    assert again.digest() == loaded.digest()
    assert again.source == loaded.source
    given = manifest.load(tmp_path / "mine.yaml", paths={"sa1b": tmp_path})
    assert [one.source.name for one in plugins.build("source", given.source).parts] == ["sa1b", "infographics"]
    assert stand_ins(plugins.build("source", given.source)) == []
    assert given.digest() != loaded.digest()


def test_without_a_browser_the_drawn_pages_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if chromium.MAC.is_file():
        pytest.skip("this Chrome isn't found by PATH")
    monkeypatch.setenv("PATH", str(tmp_path))
    loaded = manifest.load(manifest.shipped("pixel_reasoner"))
    names = [one.source.name for one in plugins.build("source", loaded.source).parts]
    assert "web_pages" not in names
    assert "infographics" in names


def test_paths_name_the_source_that_they_are_for(tmp_path: Path) -> None:
    def load(*paths: str) -> Manifest:
        return chosen_manifest("pixel_reasoner", None, paths, None, None)

    with pytest.raises(UsageError, match="NAME="):
        load(str(tmp_path))
    with pytest.raises(UsageError, match="no source 'chartqa' among several: sa1b"):
        load(f"chartqa={tmp_path}")
    with pytest.raises(UsageError, match="one --path"):
        load(f"sa1b={tmp_path}", str(tmp_path))
    source = plugins.build("source", load(f"sa1b={tmp_path}").source)
    assert source.parts[0].source.path == tmp_path
    odd = chosen_manifest("photos", None, ["a=b"], None, None)
    assert isinstance(odd.source, dict)
    assert odd.source["path"] == "a=b", "a folder may be called so"
    with pytest.raises(UsageError, match="give source or sources"):
        manifest.parse({"name": "x", "source": "photos", "sources": []}, "here")


def test_one_run_makes_the_papers_composition_offline(tmp_path: Path) -> None:
    chosen = manifest.load(manifest.shipped("pixel_reasoner"), {"limit": 3, "workers": 2})
    with Run.start(tmp_path, chosen) as run:
        progress = synth(run)
    traces = list(run.traces())
    assert (progress.read, len(traces)) == (3, progress.kept + progress.rejected)
    assert progress.kept >= 3
    sources = Counter(trace.example.source for trace in traces)
    parts = plugins.build("source", chosen.source).parts
    assert set(sources) == {one.source.name for one in parts}
    assert {trace.provenance.posed for trace in traces if trace.example.source == "photos"} == {True}
    assert {trace.provenance.posed for trace in traces if trace.example.source != "photos"} == {False}
    again = manifest.load(manifest.shipped("pixel_reasoner"), {"limit": 3, "workers": 1})
    with Run.start(tmp_path / "again", again) as other:
        synth(other)
    assert other.traces_path.read_bytes() == run.traces_path.read_bytes()
