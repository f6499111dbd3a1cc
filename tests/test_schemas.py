"""The JSON that hdrvid writes follows the schemas that come with it."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import jsonschema
import pytest
from test_cli import hdrvid
from test_reconstruct import write_frames, write_video


def schema(name: str) -> dict[str, Any]:
    return json.loads((resources.files("hdrvid") / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8"))


def described(part: dict[str, Any]) -> bool:
    """Whether a schema and all that it is made of say what they are."""
    return all("description" in p and described(p) for p in part.get("properties", {}).values())


@pytest.mark.parametrize("name", ["info", "reconstruct"])
def test_schemas_are_schemas(name):
    jsonschema.Draft7Validator.check_schema(schema(name))
    assert described(schema(name))


@pytest.mark.parametrize("exposures", ["0,3", "auto"])
def test_info(exposures, tmp_path, capfd):
    clip = write_frames(tmp_path / "shot", num_frames=9)
    code, out, _ = hdrvid(capfd, "info", clip, "--exposures", exposures, "--json")
    assert code == 0
    jsonschema.validate(json.loads(out), schema("info"))


def test_info_of_a_clip_without_exposures(tmp_path, capfd):
    clip = write_frames(tmp_path / "shot", num_frames=2)
    _, out, _ = hdrvid(capfd, "info", clip, "--json")
    found = json.loads(out)
    assert found["stops"] is None
    jsonschema.validate(found, schema("info"))


@pytest.mark.parametrize(
    "options",
    [(), ("--only", "long", "--format", "hdr"), ("--hlg", "--prores", "slog3", "--frames", "1-4"), ("--no-preview",)],
)
def test_reconstruct(options, tmp_path, capfd):
    clip = write_video(tmp_path / "shot.mkv", write_frames(tmp_path / "frames", num_frames=7))
    command = ("reconstruct", clip, "-o", tmp_path / "out", "--model", "classical", "--exposures", "0,3", "--json")
    code, out, _ = hdrvid(capfd, *command, *options)
    assert code == 0
    jsonschema.validate(json.loads(out), schema("reconstruct"))
    (report,) = (tmp_path / "out").glob("*.json")
    jsonschema.validate(json.loads(report.read_text(encoding="utf-8")), schema("reconstruct"))


def test_reconstruct_with_a_list_of_exposures_and_a_gap(tmp_path, capfd):
    clip = write_frames(tmp_path / "shot", num_frames=14)
    listed = tmp_path / "stops.txt"
    stops = [(0, 3)[i % 2] + 0.1 * (i == 9) for i in range(14)]
    listed.write_text("\n".join(map(str, stops)))
    command = ("reconstruct", clip, "-o", tmp_path / "out", "--model", "classical", "--exposures", listed)
    code, _, _ = hdrvid(capfd, *command)
    assert code == 0
    found = json.loads((tmp_path / "out" / "shot.json").read_text(encoding="utf-8"))
    jsonschema.validate(found, schema("reconstruct"))
    assert found["cycle"] is None
    assert found["stops"] == stops


def test_another_key_is_noticed():
    empty = {"source": "x"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(empty, schema("info"))
