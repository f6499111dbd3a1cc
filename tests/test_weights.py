"""Weights files: round trip with every hyperparameter, strictness, provenance, and one sentence for each damage."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from hdrvid.errors import ModelError
from hdrvid.models.config import ModelConfig
from hdrvid.models.forward import build
from hdrvid.predict.registry import FOR_COMPRESSED, available_models, find_weights, load_reconstructor, weights_folder
from hdrvid.weights import read_weights, save_weights, sha256_of

CONFIGS = [
    ModelConfig("default", 2, width=24),
    ModelConfig("default", 3, width=36),
    ModelConfig("memo", 2, base_width=64, flow_finest="full"),
    ModelConfig("memo", 3, base_width=128, flow_finest="half"),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.preset}-{c.num_exposures}")
@pytest.mark.parametrize("half", [True, False])
def test_round_trip_recovers_every_hyperparameter(tmp_path, config, half):
    torch.manual_seed(0)
    networks = build(config)
    path = tmp_path / "model.safetensors"
    save_weights(path, networks, config, {"data": "none", "steps": "0"}, half=half)
    loaded, loaded_config, provenance = read_weights(path)
    assert loaded_config == config
    assert provenance == {"data": "none", "steps": "0"}
    for (name, a), (other, b) in zip(networks.state_dict().items(), loaded.state_dict().items(), strict=True):
        assert name == other
        assert b.dtype == torch.float32
        assert torch.allclose(a, b, rtol=1e-3 if half else 0, atol=1e-7 if half else 0)
    runner = load_reconstructor(str(path), config.num_exposures, device="cpu")
    assert runner.name == "model"
    assert runner.provenance["sha256"] == sha256_of(path)


def damaged(path, how):
    save_weights(path, build(CONFIGS[0]), CONFIGS[0], {})
    tensors = load_file(path)
    meta = {"format": "hdrvid-1", "config": CONFIGS[0].to_json(), "provenance": "{}"}
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
        return
    if how == "text":
        path.write_text("these are no weights")
        return
    if how == "foreign":
        meta = {}
    elif how == "missing tensor":
        tensors.popitem()
    elif how == "extra tensor":
        tensors["merge.more.weight"] = torch.zeros(3)
    elif how == "other shape":
        name = next(iter(tensors))
        tensors[name] = tensors[name][:1].contiguous()
    elif how == "not finite":
        tensors["merge.stem.bias"][0] = float("nan")
    elif how == "unknown preset":
        meta["config"] = json.dumps({"preset": "other"})
    elif how == "unknown field":
        meta["config"] = json.dumps({"preset": "default", "layers": 7})
    elif how == "config is no json":
        meta["config"] = "{"
    elif how == "provenance is no object":
        meta["provenance"] = "[1]"
    save_file(tensors, path, metadata=meta)


@pytest.mark.parametrize(
    "how",
    [
        "truncated",
        "text",
        "foreign",
        "missing tensor",
        "extra tensor",
        "other shape",
        "not finite",
        "unknown preset",
        "unknown field",
        "config is no json",
        "provenance is no object",
    ],
)
def test_damage_is_one_sentence(tmp_path, how):
    path = tmp_path / "model.safetensors"
    damaged(path, how)
    with pytest.raises(ModelError) as caught:
        load_reconstructor(str(path), 2, device="cpu")
    assert "\n" not in str(caught.value)


def test_unknown_names_list_what_there_is():
    with pytest.raises(ModelError, match="classical"):
        find_weights("best", 2)
    with pytest.raises(ModelError, match="no weights file"):
        find_weights("nowhere/model.safetensors", 2)


def test_a_model_for_another_cycle_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(path, build(CONFIGS[1]), CONFIGS[1], {})
    with pytest.raises(ModelError, match="3 exposures"):
        load_reconstructor(str(path), 2, device="cpu")


SHIPPED = sorted(weights_folder().glob("*.safetensors"))


def test_the_default_is_shipped_for_both_cycles():
    names = {p.name for p in SHIPPED}
    assert {"default-2exp.safetensors", "default-3exp.safetensors", "memo-2exp.safetensors"} <= names
    assert available_models()[0] == "default"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_weights_load_and_are_on_the_card(path):
    _, config, provenance = read_weights(path)
    name, cycle = path.stem.rsplit("-", 1)
    assert (config.preset, f"{config.num_exposures}exp") == (name.removesuffix(FOR_COMPRESSED), cycle)
    assert int(provenance["steps"]) > 0
    card = (weights_folder() / "README.md").read_text(encoding="utf-8")
    assert sha256_of(path) in card
