"""Training for a camera that its user describes."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from training import TINY, made_in_process

from hdrvid.data.camera import SynthesisOptions
from hdrvid.data.described_camera import described_camera
from hdrvid.data.windows import PROCEDURAL, CacheOptions, SampleOptions, TrainingWindows, build_cache
from hdrvid.errors import InputError
from hdrvid.options.parse import read_json_text
from hdrvid.train.loop import train
from hdrvid.weights import read_weights

CAMERA = {"stops": [4, 0], "read_noise": 0.0, "full_well": None, "bits": None, "contrast": [0.3, 0.4]}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    with made_in_process():
        build_cache(folder, CacheOptions(4, 64, 1, (PROCEDURAL,), 1.0))
    return folder


def test_what_is_left_out_is_as_in_other_cameras() -> None:
    found = described_camera(json.dumps(CAMERA), 2)
    assert found.stops == (4.0, 0.0)
    assert found.camera == SynthesisOptions(read_noise=0.0, full_well=None, bits=None, contrast=(0.3, 0.4))
    assert described_camera("{}", 3).stops is None
    whole = SynthesisOptions(h264_crf=(20.0, 24.0), crushed=0.05)
    assert described_camera(json.dumps(asdict(whole)), 2).camera == whole  # as synth.json has it


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[1]", "no JSON object"),
        ("{", "no JSON"),
        ('{"iso": 100}', "'iso', which no camera has"),
        ('{"bits": 9}', "8, 10, 12 or 16 bits"),
        ('{"read_noise": "much"}', "describes no camera"),
        ('{"contrast": [0.1, 0.2, 0.3]}', "describes no camera"),
        ('{"response": "kodak"}', "kodak"),
        ('{"stops": [0]}', "no cycle"),
        ('{"stops": "03"}', "no list of numbers"),
        ('{"bits": "8"}', 'bits is "8"'),
        ('{"full_well": true}', "full_well is true"),
        ('{"response": 3}', "response is 3"),
        ('{"contrast": [0.1]}', "two numbers"),
        ('{"stops": "0,3"}', "no cycle"),
        ('{"stops": [0, 2, 4]}', "--cycle 3"),
        ('{"stops": [0, 1, 2, 3]}', "2 or 3 exposures"),
    ],
)
def test_files_that_describe_none(text: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        described_camera(text, 2)


def test_it_films_its_share_of_the_samples(cache: Path) -> None:
    text = json.dumps(CAMERA)
    all_of_them = TrainingWindows(cache, SampleOptions(2, 48, search="", camera=text, camera_share=1.0), 20)
    half = TrainingWindows(cache, SampleOptions(2, 48, search="", camera=text, camera_share=0.5), 60)
    none = TrainingWindows(cache, SampleOptions(2, 48, search="", camera=text, camera_share=0.0), 20)

    def is_described(sample: dict) -> bool:
        return sorted(set(sample["exposures"].tolist())) == [1.0, 16.0]

    assert all(is_described(all_of_them[i]) for i in range(20))
    assert {all_of_them[i]["exposures"][1].item() for i in range(20)} == {1.0, 16.0}
    assert 0.3 < np.mean([is_described(half[i]) for i in range(60)]) < 0.7
    assert not any(is_described(none[i]) for i in range(20))
    plain = TrainingWindows(cache, SampleOptions(2, 48, search=""), 20)
    assert (plain[3]["ldr"] != all_of_them[3]["ldr"]).any()


def test_it_films_what_is_validated(cache: Path) -> None:
    options = SampleOptions(2, 48, search="", camera=json.dumps(CAMERA), augment=False)
    windows = TrainingWindows(cache, options, 4)
    assert [windows[i]["exposures"].tolist() for i in (0, 1)] == [[16.0, 1.0, 16.0], [1.0, 16.0, 1.0]]
    truth, code = windows[1]["truth"][0], windows[1]["ldr"][0]
    linear = code**2.2
    inside = (linear > 0.05) & (linear < 0.9)
    assert (linear - truth)[inside].abs().median() > 0.005  # the contrast that nobody knows of


def test_a_training_for_it(tmp_path: Path) -> None:
    file = tmp_path / "camera.json"
    file.write_text(json.dumps(CAMERA))
    options = replace(TINY, preset="fast", camera=read_json_text(str(file)), steps_per_epoch=2)
    with made_in_process():
        weights = train(tmp_path / "run", options)
    assert read_weights(weights)[1].preset == "fast"
    with pytest.raises(InputError, match="--cycle 2"), made_in_process():
        train(tmp_path / "other", replace(options, num_exposures=3))
