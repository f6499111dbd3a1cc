"""Training on tiny scenes: what is planned, what is minimised, resuming bit for bit, stopping, failing, learning."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from test_layers import PACKAGE
from training import TINY, batch_of, log_of, made_in_process, numbered, write_sequence

from hdrvid.cli.train import result_line
from hdrvid.color.radiance import mu_law
from hdrvid.data.layouts import fewshot_trial, validation_shots
from hdrvid.data.synth import synth_to_folder
from hdrvid.data.windows import CacheOptions, LdrCacheOptions, SampleOptions, build_cache, build_ldr_cache
from hdrvid.errors import InputError, ModelError, OutputError, UsageError
from hdrvid.io.exr import write_exr
from hdrvid.models.classical import blend, candidates_and_prior
from hdrvid.models.config import PRESETS, ModelConfig
from hdrvid.models.flow_net import EVIDENCE_CHANNELS
from hdrvid.models.forward import build
from hdrvid.options import train as options_train
from hdrvid.options.synth import SynthOptions
from hdrvid.predict.int8 import QuantisedNetworks
from hdrvid.ranks import Ranks, piece
from hdrvid.train import TERMS, RunOptions, TrainOptions, narrow, reuse, train
from hdrvid.train.log import TrainLog, picture_strip
from hdrvid.train.loop import CHECKPOINT, initial_networks, transfer, validate
from hdrvid.train.material import plan
from hdrvid.train.objective import Objective, prepared, run
from hdrvid.train.options import Stage, learning_rate, published, stage_at, stages
from hdrvid.weights import read_ranges, read_weights, save_weights

pytestmark = pytest.mark.usefixtures("one_thread")
FEW_SHOT = replace(TINY, shots=1, windows=4, epochs=3, steps_per_epoch=2, patience=5)


@pytest.fixture(scope="module", autouse=True)
def _in_process():
    with made_in_process():
        yield


@pytest.fixture(scope="module")
def caches(tmp_path_factory) -> Path:
    """Where the caches of TINY and FEW_SHOT runs are built by the first test that needs them."""
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(scope="module")
def batches(tmp_path_factory):
    """A labelled and an unlabelled batch of four samples with the classical flow."""
    folder = tmp_path_factory.mktemp("batches")
    build_cache(folder / "hdr", CacheOptions(4, 64, 1, ("procedural",), 1.0))
    build_ldr_cache(folder / "ldr", LdrCacheOptions(4, 64, 2, 2, ("procedural",), 1.0))
    sample = SampleOptions(2, 64, seed=1, exact_flow=True)
    return batch_of(folder / "hdr", sample, 4), batch_of(folder / "ldr", sample, 4, labelled=False)


def here(caches: Path, options: TrainOptions, **more) -> RunOptions:
    """A run on the shared caches."""
    return RunOptions(device="cpu", cache=caches / f"cache-{options.shots}", **({"workers": 0} | more))


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return read_weights(path)[0].state_dict()


def equal(x: dict[str, torch.Tensor], y: dict[str, torch.Tensor]) -> bool:
    return x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x)


def same(a: Path, b: Path) -> bool:
    return equal(tensors(a), tensors(b))


def trained_state(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(out / CHECKPOINT, weights_only=True)["networks"]


class TestOptions:
    @pytest.mark.parametrize("more", [{}, {"preset": "memo"}, {"refine_flow": True}, {"epochs": 1}])
    def test_stages_cover_every_step(self, more):
        options = replace(TINY, steps_per_epoch=100, **more)
        parts = stages(options)
        assert parts[0].start == 0
        assert parts[-1].stop == options.total_steps
        assert all(a.stop == b.start for a, b in pairwise(parts))

    def test_stages_of_the_presets(self):
        memo = replace(TINY, preset="memo", steps_per_epoch=100)
        assert [s.name for s in stages(memo)] == ["flow", "imitation", "merge", "joint"]
        few_shot = replace(memo, shots=1)
        assert [stage_at(few_shot, s).name for s in (0, 50, 99)] == ["flow", "merge", "joint"]
        assert [s.name for s in stages(replace(memo, stages=("joint", "merge")))] == ["merge", "joint"]
        alone = stages(replace(memo, stages=("joint",)))
        assert [(s.start, s.stop, s.rate) for s in alone] == [(0, 100, 1.0)]
        assert [s.name for s in stages(replace(TINY, refine_flow=False))] == ["merge"]

    def test_cosine_warms_up_and_falls(self):
        options = replace(TINY, refine_flow=False, steps_per_epoch=1000)
        rates = [learning_rate(options, s) for s in range(1000)]
        assert rates[0] < options.learning_rate / 5
        assert max(rates) <= options.learning_rate
        assert rates[-1] < 0.03 * options.learning_rate
        assert max(range(1000), key=rates.__getitem__) < 50

    def test_halve_is_the_memo(self):
        options = replace(TINY, refine_flow=False, schedule="halve", epochs=30, steps_per_epoch=10)
        factors = [learning_rate(options, 10 * e + 5) / options.learning_rate for e in (1, 9, 10, 19, 20, 29)]
        assert factors == [1, 1, 0.5, 0.5, 0.25, 0.25]

    @pytest.mark.parametrize(
        ("more", "names"),
        [
            ({"without": ("colour",)}, "colour"),
            ({"without": ("l1", "structure")}, "keep one"),
            ({"schedule": "flat"}, "--schedule"),
            ({"precision": "fp16"}, "fp32 or bf16"),
            ({"crop": 40}, "--crop"),
            ({"crop": 0}, "--crop"),
            ({"crop": 64}, "--window-size"),
            ({"stages": ("last",)}, "--stage"),
            ({"preset": "memo", "shots": 1, "stages": ("imitation",)}, "--stage takes flow, merge, joint"),
            ({"flow_crop": 80}, "fits a window"),
            ({"stall_steps": 10}, "--stall"),
            ({"camera_share": 0.5}, "--camera-share"),
            ({"agree": 0.1, "batch": 3}, "--batch is a multiple of 2"),
            ({"agree": 0.1, "preset": "memo"}, "--agree is for"),
        ],
    )
    def test_options_without_meaning(self, more, names):
        with pytest.raises(UsageError, match=names):
            replace(TINY, **more)

    def test_a_batch_is_cut_evenly_or_refused(self):
        assert piece(12, Ranks(0, 2), 3) == 2
        with pytest.raises(UsageError, match=r"a batch of 6 cannot be cut into 4 .*--batch a multiple of 4"):
            piece(6, Ranks(1, 2), 2)


class TestObjective:
    """Numbers of the few-shot loss through a small network."""

    def terms(self, batches, without=(), epoch=12, **more):
        options = replace(FEW_SHOT, without=without, **more)
        torch.manual_seed(0)
        networks = build(ModelConfig("default", 2, width=12, refine_flow=options.refine_flow))
        torch.nn.init.normal_(networks["merge"].head.weight, std=0.05)
        objective = Objective(networks, options, Stage("merge", 0, 6, 1.0))
        labelled, unlabelled = batches
        result = objective(labelled, unlabelled if options.uses_unlabelled else None, epoch)
        return {k: float(v.detach()) for k, v in result.items()}

    @pytest.mark.parametrize("epoch", [0, 12, 45])
    @pytest.mark.parametrize(
        "without", [(), ("l1",), ("structure",), ("self",), ("smoothness",), ("self", "smoothness"), TERMS[1:]]
    )
    def test_every_term_can_be_left_out(self, batches, without, epoch):
        values = self.terms(batches, without, epoch)
        assert set(values) == set(TERMS) - set(without) | {"loss"}
        beta = 0.05 * math.exp(-0.01 * (30 - min(epoch, 30)) ** 2)
        theta = {0: 1.0, 12: 1.1, 45: 1.4}[epoch]
        weights = {"l1": 1.0, "structure": 0.01, "self": beta * theta, "smoothness": beta * 5e-6}
        assert values["loss"] == pytest.approx(sum(weights[k] * values[k] for k in values if k != "loss"), rel=1e-5)
        assert all(values[k] > 1e-5 for k in values)

    def test_the_others_are_as_they_were(self, batches):
        whole = self.terms(batches)
        for term in TERMS:
            rest = self.terms(batches, (term,))
            assert all(rest[k] == whole[k] for k in rest if k != "loss")

    def test_both_kinds_of_data_give_gradients(self, batches):
        torch.manual_seed(0)
        networks = build(ModelConfig("default", 2, width=12))
        objective = Objective(networks, replace(FEW_SHOT, without=("structure", "smoothness")), Stage("merge", 0, 6, 1))
        gradients = []
        for epoch in (0, 40):  # the unlabelled term weighs nothing, and 0.05
            networks.zero_grad()
            objective(*batches, epoch)["loss"].backward()
            gradients.append(networks["merge"].head.weight.grad.clone())
        assert gradients[0].abs().sum() > 0
        assert (gradients[1] - gradients[0]).abs().sum() > 1e-3 * gradients[0].abs().sum()

    @pytest.mark.parametrize("shots", [0, 1])
    def test_gradients_of_pieces_add_up(self, batches, shots):
        options = replace(FEW_SHOT, shots=shots)
        torch.manual_seed(0)
        networks = build(ModelConfig("default", 2, width=12))
        objective = Objective(networks, options, Stage("merge", 0, 6, 1.0))

        def gradient(*pieces: slice) -> torch.Tensor:
            networks.zero_grad()
            for part in pieces:
                labelled, unlabelled = ({k: v[part] for k, v in b.items()} for b in batches)
                (objective(labelled, unlabelled if shots else None, 40)["loss"] / len(pieces)).backward()
            return torch.cat([p.grad.flatten() for p in networks.parameters() if p.grad is not None])

        whole, halves = gradient(slice(None)), gradient(slice(2), slice(2, 4))
        assert whole.norm() > 0
        assert (whole - halves).norm() < 1e-5 * whole.norm()

    @pytest.mark.parametrize("stage", ["flow", "merge", "joint"])
    def test_a_stage_trains_its_networks_alone(self, batches, stage):
        torch.manual_seed(0)
        networks = build(ModelConfig("memo", 2, base_width=32))
        objective = Objective(networks, replace(FEW_SHOT, preset="memo"), Stage(stage, 0, 6, 1.0))
        labelled, unlabelled = ({k: v for k, v in b.items() if "dis" not in k} for b in batches)
        terms = objective(labelled, None if stage == "flow" else unlabelled, 40)
        terms["loss"].backward()
        trained = {n for n, network in networks.items() if any(p.grad is not None for p in network.parameters())}
        assert trained == {"flow": {"flow"}, "merge": {"merge"}, "joint": {"flow", "merge"}}[stage]
        assert all(torch.isfinite(p.grad).all() for p in networks.parameters() if p.grad is not None)
        assert ("alignment" in terms) == (stage != "merge")

    @pytest.mark.parametrize("shots", [0, 1])
    def test_half_precision_is_close(self, batches, shots):
        torch.manual_seed(0)
        networks = build(ModelConfig("default", 2, width=12))
        torch.nn.init.normal_(networks["merge"].head.weight, std=0.02)
        objective = Objective(networks, replace(FEW_SHOT, shots=shots), Stage("merge", 0, 6, 1.0))
        arguments = (*batches, 40) if shots else (batches[0], None, 40)
        exact = objective(*arguments)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = objective(*arguments)
        for name, value in exact.items():
            assert half[name].dtype == torch.float32
            assert float(half[name].detach()) == pytest.approx(float(value.detach()), rel=0.05), name


class TestPlan:
    def test_shots_of_own_scenes(self):
        planned = plan(replace(FEW_SHOT, shots=3))
        assert planned.labelled.rows == 24
        assert planned.labelled.patches
        assert planned.unlabelled.rows == FEW_SHOT.windows
        assert planned.labelled.seed != plan(replace(FEW_SHOT, shots=3, trial=2)).labelled.seed
        assert planned.labelled == plan(replace(FEW_SHOT, shots=3)).labelled
        assert len({planned.labelled.seed, planned.unlabelled.seed, planned.validation.seed}) == 3

    def test_without_the_unlabelled_terms_nothing_unlabelled_is_planned(self):
        assert plan(replace(FEW_SHOT, without=("self", "smoothness"))).unlabelled is None
        assert plan(replace(FEW_SHOT, without=("self",))).unlabelled is not None
        assert plan(TINY).unlabelled is None

    def test_shots_of_sequences_are_drawn_by_trial(self, tmp_path):
        for scene in ("attic", "beach"):
            write_sequence(tmp_path / scene, numbered(f"{scene}.", 1, 42, 4), (20, 24))
        options = replace(FEW_SHOT, shots=3, data=(str(tmp_path),))
        drawn = [tuple(w.name for w in plan(replace(options, trial=t)).labelled.files) for t in range(1, 6)]
        assert all(len(set(names)) == 3 for names in drawn)
        assert len(set(drawn)) > 2
        assert drawn[1] == tuple(w.name for w in plan(replace(options, trial=2)).labelled.files)
        assert plan(options).labelled.count == 0  # nothing but the shots is labelled
        with pytest.raises(InputError, match=r"holds 12 windows, not 13: give --shots 12 or less"):
            plan(replace(options, shots=13))

    def test_supervised_training_takes_all_windows_and_pictures(self, tmp_path):
        write_sequence(tmp_path / "attic", numbered("attic.", 1, 14, 4), (20, 24))
        write_exr(tmp_path / "still.exr", np.ones((8, 16, 3), np.float32))
        labelled = plan(replace(TINY, data=(str(tmp_path),))).labelled
        assert sorted(w.name for w in labelled.files) == ["attic.0004_0", "attic.0011_0"]
        assert str(tmp_path / "still.exr") in labelled.sources
        assert labelled.count == TINY.windows

    def test_held_out_pictures_validate(self, tmp_path):
        for name in ("forest", "sea"):
            write_exr(tmp_path / f"{name}.exr", np.ones((8, 16, 3), np.float32))
        planned = plan(replace(TINY, data=(str(tmp_path),), hold_out=("sea",)))
        assert not any("sea" in s for s in planned.labelled.sources)
        assert any("sea" in s for s in planned.validation.sources)
        assert not any("forest" in s for s in planned.validation.sources)

    @pytest.fixture
    def memo_sets(self, tmp_path) -> Path:
        """The frames of trial 2 and of its validation."""
        for shot in (*fewshot_trial(2), *validation_shots()):
            stem, number = shot.frame[:-4], int(shot.frame[-4:])
            step = 2 if shot.scene == "water" else 1
            names = [f"{stem}{number + step * d:04d}" for d in range(-3, 4)]
            write_sequence(tmp_path / shot.set / shot.scene, names, (20, 24))
        return tmp_path

    def test_the_trial_of_the_memo(self, memo_sets):
        options = replace(FEW_SHOT, shots=5, trial=2, data=(str(memo_sets / "HdM"), str(memo_sets / "LiU")))
        planned = plan(options)
        assert [w.name for w in planned.labelled.files] == [f"{s.frame}_0" for s in fewshot_trial(2)]
        assert [w.name for w in planned.validation.files] == ["bistro_01_000304_0", "clip_000005.000204_0"]
        assert planned.labelled.count == planned.validation.count == 0
        # any other number of shots is drawn
        assert len(plan(replace(options, shots=4)).labelled.files) == 4

    def test_everything_that_is_missing_is_told_before_anything_is_rendered(self, memo_sets, tmp_path):
        for stem in ("fireplace_01_000689", "clip_000005.000203"):
            (path,) = memo_sets.rglob(f"{stem}.exr")
            path.unlink()
        options = replace(FEW_SHOT, shots=5, trial=2, data=(str(memo_sets),))
        with pytest.raises(InputError, match="2 labelled windows are missing or incomplete") as caught:
            train(tmp_path / "run", options, RunOptions(device="cpu", workers=0))
        assert "fireplace_01_000686.exr to fireplace_01_000692.exr" in str(caught.value)
        assert "clip_000005.000203.exr, a neighbour of clip_000005.000204" in str(caught.value)
        assert not list(tmp_path.glob("run/*"))

    def test_unlabelled_clips(self, tmp_path):
        synth_to_folder(tmp_path / "two", SynthOptions("0,3", 14, (48, 32), 1))
        options = replace(FEW_SHOT, unlabelled=(str(tmp_path),))
        (first, second) = plan(options).unlabelled.files
        assert (first.start, second.start) == (0, 7)
        assert plan(options).unlabelled.count == 0
        assert len(plan(replace(options, windows=1)).unlabelled.files) == 1
        with pytest.raises(InputError, match=r"none of the 2 unlabelled windows alternates 3 exposures: give --cycle"):
            plan(replace(options, num_exposures=3))


class TestResuming:
    @pytest.mark.parametrize(
        "options",
        [replace(TINY, refine_flow=True), replace(TINY, preset="memo", batch=1, steps_per_epoch=5), FEW_SHOT],
        ids=["default", "memo", "few-shot"],
    )
    def test_it_continues_bit_for_bit(self, tmp_path, caches, options):
        more = here(caches, options, validate_every=3)
        whole = train(tmp_path / "whole", options, more)

        def stop(progress):
            signal.raise_signal(signal.SIGINT)  # Ctrl-C at the first report

        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "cut", options, more, on_step=stop)
        model = tmp_path / "cut" / "model.safetensors"
        cut_at = log_of(tmp_path / "cut")[-1]["step"]
        assert 0 < cut_at < options.total_steps
        assert int(read_weights(model)[2]["steps"]) <= cut_at  # usable already
        ended = trained_state(tmp_path / "whole")
        assert not equal(trained_state(tmp_path / "cut"), ended)
        train(tmp_path / "cut", options, replace(more, resume=True))
        assert same(model, whole)
        assert equal(trained_state(tmp_path / "cut"), ended)
        assert [e["step"] for e in log_of(tmp_path / "cut")] == [e["step"] for e in log_of(tmp_path / "whole")]

    def test_time_that_is_up_ends_a_run_with_a_checkpoint(self, tmp_path, caches):
        more = here(caches, TINY, minutes=0.0)
        model = train(tmp_path, TINY, more)
        assert read_weights(model)[2]["steps"] == "1"
        train(tmp_path, TINY, replace(more, resume=True))
        assert read_weights(model)[2]["steps"] == "2"

    def test_a_run_is_not_mixed_with_another(self, tmp_path, caches):
        options = replace(TINY, steps_per_epoch=2)
        more = here(caches, options)
        model = train(tmp_path, options, more)
        before = model.read_bytes()
        with pytest.raises(OutputError, match="--resume"):
            train(tmp_path, options, more)
        with pytest.raises(InputError, match="other options"):
            train(tmp_path, replace(options, batch=1), replace(more, resume=True))
        train(tmp_path, options, replace(more, resume=True))  # it has ended already
        assert model.read_bytes() == before
        assert [e["step"] for e in log_of(tmp_path)] == [2]

    @pytest.mark.parametrize("size", [0, 1000, 60_000])
    def test_a_damaged_checkpoint_is_named(self, tmp_path, caches, size):
        options = replace(TINY, steps_per_epoch=1)
        train(tmp_path, options, here(caches, options))
        checkpoint = tmp_path / "checkpoint.pt"
        checkpoint.write_bytes(checkpoint.read_bytes()[:size])
        with pytest.raises(InputError, match=r"checkpoint\.pt .*damaged"):
            train(tmp_path, options, here(caches, options, resume=True))

    def test_processes_that_prepare_data_change_nothing(self, tmp_path, caches):
        options = replace(TINY, steps_per_epoch=2)
        a = train(tmp_path / "a", options, here(caches, options))
        b = train(tmp_path / "b", options, here(caches, options, workers=1))
        assert same(a, b)
        ranges = read_ranges(a)
        assert ranges is not None
        QuantisedNetworks("x", read_weights(a)[0], ranges)


class TestEnding:
    def test_early_stopping_ships_the_best_weights(self, tmp_path, caches):
        destroying = replace(TINY, refine_flow=False, steps_per_epoch=1, epochs=12, learning_rate=0.01, ema=0.0)
        options = replace(destroying, patience=2, schedule="halve")
        model = train(tmp_path, options, here(caches, options))
        scores = {e["step"]: e["validation_psnr_t"] for e in log_of(tmp_path)}
        best = max(scores, key=scores.__getitem__)
        assert list(scores) == list(range(1, best + 3))  # two more epochs, and no more
        assert best + 2 < options.total_steps
        networks, _, provenance = read_weights(model)
        assert provenance["steps"] == str(best)
        assert float(provenance["validation_psnr_t"]) == pytest.approx(scores[best], abs=1e-3)
        sample = SampleOptions(2, 64, seed=options.seed, augment=False)
        batch = batch_of(caches / "cache-0-validation", sample, 4)
        score = validate(networks, options, [batch]).psnr_t
        assert score == pytest.approx(scores[best], abs=0.1)  # the file is in half precision
        assert scores[best + 2] < scores[best] - 0.3

    def test_without_patience_the_last_weights_are_shipped(self, tmp_path, caches):
        options = replace(TINY, refine_flow=False, steps_per_epoch=1, epochs=2, learning_rate=3e-3, ema=0.0)
        options = replace(options, schedule="halve")
        model = train(tmp_path, options, here(caches, options, validate_every=1))
        scores = [e["validation_psnr_t"] for e in log_of(tmp_path)]
        assert float(read_weights(model)[2]["validation_psnr_t"]) == pytest.approx(scores[-1], abs=1e-3)
        assert scores[-1] < max(scores)

    def test_gradients_that_overflow_do_not_destroy_the_weights(self, tmp_path, caches):
        options = replace(TINY, refine_flow=False, learning_rate=0.3, ema=0.0)
        model = train(tmp_path, options, here(caches, options))
        assert all(torch.isfinite(t).all() for t in tensors(model).values())
        assert int(read_weights(model)[2]["steps"]) == options.total_steps

    def test_networks_that_are_not_trained_yet_do_not_stop_a_run(self, tmp_path, caches):
        # while the flow is trained nothing is blended by it yet: the score says little
        options = replace(TINY, refine_flow=True, steps_per_epoch=1, epochs=10, patience=1, learning_rate=0.0)
        train(tmp_path, options, here(caches, options))
        stage = {s.name: s for s in stages(options)}
        steps = [e["step"] for e in log_of(tmp_path)]
        assert steps[-1] == stage["merge"].start + 1

    def test_a_full_disk_does_not_end_a_run(self, tmp_path, caches, monkeypatch):
        more = here(caches, TINY)
        checkpoint = tmp_path / "checkpoint.pt"
        train(tmp_path, TINY, replace(more, minutes=0.0))
        before, full, warnings = checkpoint.read_bytes(), [True], []
        write = Path.write_bytes

        def refuse(path, data):
            if full and "checkpoint" in path.name:
                write(path, data[:100])
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(path, data)

        def warned(text):
            warnings.append(text)
            assert checkpoint.read_bytes() == before
            assert not list(tmp_path.glob(".*.partial-*"))
            if len(warnings) == 3:
                full.clear()

        monkeypatch.setattr(Path, "write_bytes", refuse)
        train(tmp_path, TINY, replace(more, resume=True, checkpoint_seconds=0.0), on_warning=warned)
        assert len(warnings) == 3
        assert all("the disk is full" in w and "training goes on" in w for w in warnings)
        assert read_weights(tmp_path / "model.safetensors")[2]["steps"] == str(TINY.total_steps)

    def test_a_last_checkpoint_that_cannot_be_written_is_an_error(self, tmp_path, caches, monkeypatch):
        def refuse(path, data):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", refuse)
        with pytest.raises(OutputError, match="the disk is full"):
            train(tmp_path, replace(TINY, steps_per_epoch=1), here(caches, TINY))

    def test_a_file_in_the_way_is_named(self, tmp_path, caches):
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(OutputError, match="file is not a folder"):
            train(tmp_path / "file", TINY, here(caches, TINY))


class TestRunning:
    def test_accumulation_changes_the_memory_alone(self, tmp_path, caches):
        options = replace(FEW_SHOT, batch=4, epochs=1)
        entries = []
        for accumulate in (1, 2):
            out = tmp_path / str(accumulate)
            train(out, replace(options, accumulate=accumulate), here(caches, options))
            entries.append(log_of(out))
        for a, b in zip(*entries, strict=True):
            for name in (*TERMS, "loss", "validation_psnr_t"):
                assert a[name] == pytest.approx(b[name], rel=1e-5), name

    def test_half_precision_trains(self, tmp_path, caches):
        entries = []
        for precision in ("fp32", "bf16"):
            out = tmp_path / precision
            options = replace(FEW_SHOT, precision=precision, epochs=1)
            train(out, options, here(caches, options))
            entries.append(log_of(out)[-1])
        exact, half = entries
        for name in ("l1", "structure", "self", "loss"):
            assert half[name] == pytest.approx(exact[name], rel=0.1), name
        assert half["validation_psnr_t"] == pytest.approx(exact["validation_psnr_t"], abs=0.5)

    def test_without_the_unlabelled_terms_nothing_unlabelled_is_made(self, tmp_path):
        options = replace(FEW_SHOT, without=("self", "smoothness"), epochs=1)
        train(tmp_path / "run", options, RunOptions(device="cpu", workers=0))
        assert {p.name for p in (tmp_path / "run").iterdir() if p.is_dir()} <= {
            "cache",
            "cache-validation",
            "tensorboard",
        }
        (entry,) = log_of(tmp_path / "run")
        assert {"l1", "structure", "loss"} <= set(entry)
        assert not {"self", "smoothness"} & set(entry)

    def test_people_s_own_data(self, tmp_path):
        """Labelled frames and unlabelled clips from disk, through the whole loop."""
        write_sequence(tmp_path / "films" / "walk", numbered("walk.", 1, 14, 4))
        synth_to_folder(tmp_path / "clips", SynthOptions("0,3", 7, (80, 70), 1))
        data, unlabelled = (str(tmp_path / "films"),), (str(tmp_path / "clips"),)
        options = replace(FEW_SHOT, data=data, unlabelled=unlabelled, epochs=1)
        model = train(tmp_path / "run", options, RunOptions(device="cpu", workers=0))
        assert (tmp_path / "run" / "cache-unlabelled").is_dir()
        (entry,) = log_of(tmp_path / "run")
        assert all(np.isfinite(entry[t]) for t in TERMS)
        _, _, provenance = read_weights(model)
        text = json.dumps(provenance)
        assert str(tmp_path) not in text
        assert tmp_path.name not in text
        told = json.loads(provenance["options"])
        assert (told["data"], told["unlabelled"]) == (["films"], ["clips"])

    def test_weights_carry_no_path_of_the_machine(self):
        options = replace(TINY, data=("/some/where/pictures/",), init="/else/where/model.safetensors")
        assert "where" not in json.dumps(published(options))
        assert published(options)["data"] == ["pictures"]

    def test_training_learns(self, tmp_path, caches):
        options = replace(TINY, refine_flow=False, steps_per_epoch=30, learning_rate=2e-3, batch=4, ema=0.9)
        model = train(tmp_path, options, here(caches, options))
        sample = SampleOptions(2, 64, seed=3, augment=False)
        batch = batch_of(caches / "cache-0-validation", sample, 4)
        (_, radiance, prior, _), _ = candidates_and_prior(
            batch["ldr"], batch["exposures"], batch["dis"], batch["dis_back"]
        )
        middle = slice(16, -16)
        error = (mu_law(blend(radiance, prior)) - mu_law(batch["truth"][:, 1]))[..., middle, middle]
        classical = float((-10 * torch.log10(error.square().mean((1, 2, 3)))).mean())
        assert float(read_weights(model)[2]["validation_psnr_t"]) > classical + 0.3


class TestLog:
    def test_without_tensorboard_there_is_the_log_alone(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
        log = TrainLog(tmp_path)
        log.scalars(3, {"stage": "merge", "loss": 0.5})
        log.scalars(4, {"stage": "merge", "loss": 0.25})
        log.close()
        assert log_of(tmp_path) == [
            {"step": 3, "stage": "merge", "loss": 0.5},
            {"step": 4, "stage": "merge", "loss": 0.25},
        ]
        assert [p.name for p in tmp_path.iterdir()] == ["log.jsonl"]

    def test_with_tensorboard_there_are_events(self, tmp_path, caches):
        pytest.importorskip("tensorboard")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        options = replace(TINY, steps_per_epoch=2)
        train(tmp_path, options, here(caches, options))
        events = EventAccumulator(str(tmp_path / "tensorboard"))
        events.Reload()
        assert {"loss", "validation_psnr_t", "lr"} <= set(events.Tags()["scalars"])
        assert [e.step for e in events.Scalars("loss")] == [2]
        assert events.Tags()["images"] == ["validation"]

    def test_a_line_that_cannot_be_written_does_not_end_a_run(self, tmp_path):
        (tmp_path / "log.jsonl").mkdir()
        log = TrainLog(tmp_path)
        log.scalars(3, {"stage": "merge", "loss": 0.5})
        log.close()
        assert list((tmp_path / "log.jsonl").iterdir()) == []

    @pytest.mark.parametrize("preset", ["default", "memo"])
    def test_a_strip_of_five_pictures(self, batches, preset):
        networks = build(ModelConfig(preset, 2, width=12, base_width=32))
        batch = {k: v for k, v in batches[0].items() if preset == "default" or "dis" not in k}
        with torch.no_grad():
            result = run(networks, batch, 0)
        truth = batch["truth"][:, 1]
        strip = picture_strip(result, truth)
        assert strip.shape == (64, 5 * 64, 3)
        assert strip.dtype == np.float32
        assert 0 <= strip.min() < strip.max() <= 1
        np.testing.assert_allclose(strip[:, -64:], mu_law(truth[0]).permute(1, 2, 0), atol=1e-6)
        np.testing.assert_allclose(strip[:, :64], batch["ldr"][0, 1].permute(1, 2, 0), atol=1e-6)


class TestStartingWeights:
    def test_two_exposure_weights_start_a_three_exposure_network(self):
        torch.manual_seed(0)
        source = build(ModelConfig("default", 2, width=24))
        torch.nn.init.normal_(source["merge"].head.weight, std=0.05)
        target = build(ModelConfig("default", 3, width=24))
        transfer(source, target)
        codes = torch.rand(1, 3, 3, 32, 32)
        radiance, prior = torch.rand(1, 3, 3, 32, 32), torch.rand(1, 3, 1, 32, 32) + 0.1
        doubled = [0, 1, 1, 2, 2]
        # every neighbour twice at half its weight is the same problem
        half = torch.tensor([1, 0.5, 0.5, 0.5, 0.5])[None, :, None, None, None]
        a = source["merge"](codes, radiance, prior, prior.expand(-1, -1, 3, -1, -1))[0]
        halved = prior[:, doubled] * half
        b = target["merge"](codes[:, doubled], radiance[:, doubled], halved, halved.expand(-1, -1, 3, -1, -1))[0]
        assert (mu_law(a) - mu_law(b)).abs().mean() < 0.02
        with pytest.raises(ModelError):
            transfer(target, source)

    @pytest.mark.parametrize(("preset", "exposures"), [("default", 2), ("default", 3), ("fast", 2)])
    @pytest.mark.parametrize("field", narrow.CHANNEL_SETS)
    def test_what_is_left_of_a_network_without_its_weakest_channels_is_that_network(self, preset, exposures, field):
        torch.manual_seed(0)
        config = ModelConfig(preset, exposures, width=24, refine_flow=preset == "default")
        networks = build(config)
        changed, sets = narrow.CHANNEL_SETS[field]
        if changed not in networks:
            with pytest.raises(ModelError, match="--flow-half-width"):
                narrow.narrowed(networks, config, {field: 11})
            return
        network = networks[changed]
        torch.nn.init.normal_(network.head.weight, std=0.05)
        if changed == "merge":
            inputs = (torch.rand(1, network.stem.in_channels // 4, 32, 32),)
        else:
            inputs = torch.rand(1, EVIDENCE_CHANNELS - 1, 32, 32), torch.rand(1, 1, 16, 16), torch.rand(1, 81, 8, 8)
        with torch.no_grad():
            before = network.network(*inputs)
            for makers, _ in sets:  # others in every set
                width = network.get_submodule(makers[0]).out_channels
                silent = torch.randperm(width)[: width - 11]
                for name in makers:
                    layer = network.get_submodule(name)
                    layer.weight[silent] = 0
                    layer.bias[silent] = 0
            silenced = network.network(*inputs)
            assert not torch.allclose(before, silenced, atol=1e-3)
            small, small_config = narrow.narrowed(networks, config, {field: 11})
            torch.testing.assert_close(small[changed].network(*inputs), silenced, rtol=1e-4, atol=1e-5)
        assert small_config == replace(config, **{field: 11})
        assert {len(small[changed].get_submodule(name).weight) for makers, _ in sets for name in makers} == {11}
        with pytest.raises(ModelError, match="at most 11"):
            narrow.narrowed(small, small_config, {field: 12})

    @pytest.mark.parametrize(("preset", "exposures"), [("default", 2), ("fast", 3)])
    def test_a_smaller_first_convolution_keeps_the_middle_of_the_larger_one(self, preset, exposures):
        torch.manual_seed(0)
        config = ModelConfig(preset, exposures, width=24)
        networks = build(config)
        network = networks["merge"]
        torch.nn.init.normal_(network.head.weight, std=0.05)
        x = torch.rand(1, network.stem.in_channels // 4, 32, 32)
        with torch.no_grad():
            before = network.network(x)
            network.stem.weight[..., [0, 2], :] = 0
            network.stem.weight[..., [0, 2]] = 0
            silenced = network.network(x)
            assert not torch.allclose(before, silenced, atol=1e-3)
            small, small_config = narrow.narrowed(networks, config, {"stem_kernel": 1})
            torch.testing.assert_close(small["merge"].network(x), silenced, rtol=1e-4, atol=1e-5)
        assert small_config == replace(config, stem_kernel=1)
        with pytest.raises(ModelError, match="leave --stem-kernel out"):
            narrow.narrowed(small, small_config, {"stem_kernel": 3})

    def test_the_first_convolution_has_one_of_two_sizes(self):
        with pytest.raises(UsageError, match="--stem-kernel is 3 or 1, not 2"):
            replace(TINY, stem_kernel=2)
        with pytest.raises(ModelError, match="stem_kernel is 3 or 1, not 5"):
            ModelConfig(stem_kernel=5)

    @pytest.mark.parametrize("exposures", [2, 3])
    def test_narrower_weights_begin_as_the_wide_ones_and_are_read_again(self, tmp_path, exposures):
        config = ModelConfig("default", 2, width=24, refine_flow=True)
        torch.manual_seed(3)
        save_weights(tmp_path / "wide.safetensors", build(config), config, {}, half=False)
        widths = {"half_width": 12, "quarter_width": 20, "flow_half_width": 8, "stem_kernel": 1}
        options = replace(
            TINY, init=str(tmp_path / "wide.safetensors"), refine_flow=True, num_exposures=exposures, **widths
        )
        networks, narrow_config = initial_networks(options)
        assert narrow_config == replace(config, num_exposures=exposures, **widths)
        save_weights(tmp_path / "narrow.safetensors", networks, narrow_config, {}, half=False)
        again, read_config, _ = read_weights(tmp_path / "narrow.safetensors")
        assert read_config == narrow_config
        assert again["merge"].stem.weight.shape[::2] == (12, 1)
        assert again["merge"].down1.out_channels == 20
        assert again["flow"].stem.out_channels == 8
        for name, value in again.state_dict().items():
            assert torch.equal(value, networks.state_dict()[name])

    def test_weights_are_taken_up(self, tmp_path):
        config = ModelConfig("default", 2)
        torch.manual_seed(9)
        save_weights(tmp_path / "start.safetensors", build(config), config, {}, half=False)
        networks, _ = initial_networks(replace(TINY, init=str(tmp_path / "start.safetensors")))
        started = tensors(tmp_path / "start.safetensors")
        state = networks.state_dict()
        assert all(torch.equal(started[k], state[k]) for k in started)

    @pytest.mark.parametrize("options", [replace(TINY, num_exposures=3), replace(TINY, preset="fast"), TINY])
    def test_weights_that_do_not_fit_are_refused(self, tmp_path, options):
        config = ModelConfig("memo", 2)
        save_weights(tmp_path / "start.safetensors", build(config), config, {})
        with pytest.raises(ModelError):
            initial_networks(replace(options, init=str(tmp_path / "start.safetensors")))


class TestReuse:
    """Samples of the merge that several steps use."""

    def test_every_sample_is_drawn_so_often_and_never_twice_in_a_batch(self):
        size, uses, count = 3, 4, 20
        fresh = iter([{"exposures": torch.arange(n * size, (n + 1) * size)[:, None]} for n in range(count)])
        drawn = [batch["exposures"][:, 0].tolist() for batch in reuse.reused(fresh, uses, seed=5)]
        assert all(len(set(batch)) == size for batch in drawn)
        assert len(drawn) > (count - 1) * uses - size
        times = Counter(number for batch in drawn for number in batch)
        assert set(times.values()) <= set(range(1, uses + 1))
        assert sum(value == uses for value in times.values()) > 0.9 * count * size
        first = [batch for batch in drawn if 0 in batch]
        assert len({tuple(sorted(batch)) for batch in first}) > 1  # beside others each time

    def test_the_same_seed_draws_the_same(self):
        def drawn(seed):
            fresh = iter([{"exposures": torch.arange(n, n + 2.0)[:, None]} for n in range(12)])
            return [batch["exposures"].tolist() for batch in reuse.reused(fresh, 3, seed)]

        assert drawn(1) == drawn(1) != drawn(2)

    def test_a_sample_is_turned_in_eight_ways_all_pictures_alike(self):
        picture = torch.arange(16.0).reshape(1, 1, 4, 4)
        sample = {"truth": picture, "codes": picture[:, None] + 1, "exposures": torch.ones(1, 3)}
        ways = [reuse.turned(sample, way) for way in range(8)]
        assert len({tuple(way["truth"].flatten().tolist()) for way in ways}) == 8
        for way in ways:
            assert torch.equal(way["codes"][:, 0], way["truth"] + 1)
            assert torch.equal(way["exposures"], sample["exposures"])

    @pytest.mark.parametrize("refine", [True, False])
    def test_a_prepared_batch_has_the_loss_of_its_frames(self, batches, refine):
        options = replace(TINY, refine_flow=refine, stages=("merge",))
        torch.manual_seed(2)
        networks = build(ModelConfig("default", 2, width=16, refine_flow=refine))
        torch.nn.init.normal_(networks["merge"].head.weight, std=0.05)
        batch, margin = batches[0], options.margin
        batch = batch | {"taught": torch.rand(4, 3, *(side - 2 * margin for side in batch["ldr"].shape[-2:]))}
        objective = Objective(networks, options, Stage("merge", 0, 6, 1.0))
        expected = objective(batch, None, 0)
        terms = objective(prepared(networks, batch, margin) | {"taught": batch["taught"]}, None, 0)
        assert terms.keys() == expected.keys()
        assert all(torch.equal(terms[name], expected[name]) for name in terms)

    def test_a_training_reuses_its_samples(self, tmp_path, caches):
        options = replace(TINY, refine_flow=True, init="default", distill="default", half_width=16, stages=("merge",))
        options = replace(options, reuse=3, epochs=2, steps_per_epoch=4)
        train(tmp_path / "run", options, here(caches, options))
        assert read_weights(tmp_path / "run" / "model.safetensors")[1].half_width == 16

    @pytest.mark.parametrize(
        "changed",
        [
            *({"stages": ()}, {"stages": ("joint",), "refine_flow": True}, {"preset": "memo"}),
            *({"shots": 5}, {"agree": 0.1}, {"accumulate": 2}),
        ],
    )
    def test_where_samples_cannot_be_reused(self, changed):
        with pytest.raises(UsageError, match="--reuse"):
            replace(TINY, **{"stages": ("merge",), "reuse": 3} | changed)


class TestWhatIsSaid:
    """An option without effect is refused. A training that ends early says why."""

    @pytest.mark.parametrize(
        ("more", "sentence"),
        [
            ({"preset": "memoo"}, "--preset takes default, fast, memo, not 'memoo'"),
            ({"preset": "memo", "width": 16}, "--width is for the presets default and fast"),
            ({"preset": "memo", "real": 0.9}, "--real is for"),
            ({"init": "default", "width": 16}, "--width is for networks from nothing: beside --init give --half-width"),
            ({"plain": 0.3}, "--plain is for preset memo"),
            ({"flow_crop": 48}, "--flow-crop is for preset memo"),
            ({"without": ("l1",)}, "--without belongs to few-shot training: give --shots"),
            ({"trial": 4}, "--trial belongs to few-shot training"),
        ],
    )
    def test_an_option_without_effect_is_an_error(self, more, sentence):
        with pytest.raises(UsageError, match=sentence):
            replace(TINY, **more)

    def test_presets_are_those_that_can_be_built(self):
        assert tuple(options_train.PRESETS.split("|")) == PRESETS

    def test_the_time_is_over(self, tmp_path, caches):
        reports = []
        options = replace(TINY, epochs=4)
        train(tmp_path / "run", options, here(caches, options, minutes=1e-6), on_step=reports.append)
        assert [(p.step, p.stopped) for p in reports] == [(1, "time")]
        assert result_line(reports[0], 60) == (
            f"1 of {options.total_steps} steps in 1:00, not validated; "
            "the time of --minutes is over, the same command with --resume goes on"
        )

    def test_the_log_of_others_is_kept_and_that_of_a_former_run_replaced(self, tmp_path, caches):
        out = tmp_path / "run"
        out.mkdir()
        (out / "log.jsonl").write_text("mine\n")
        with pytest.raises(OutputError, match=r"log\.jsonl exists already"):
            train(out, TINY, here(caches, TINY))
        assert [path.name for path in out.iterdir()] == ["log.jsonl"]
        (out / "log.jsonl").write_text('{"step": 99}\n')
        train(out, TINY, here(caches, TINY))
        assert [entry["step"] for entry in log_of(out)][-1] == TINY.total_steps
        assert 99 not in [entry["step"] for entry in log_of(out)]

    def test_a_cache_of_other_options_is_not_replaced_without_a_word(self, tmp_path):
        said = []
        build_cache(tmp_path / "c", CacheOptions(2, 64, 1, ("procedural",), 1.0), 1, None, said.append)
        assert said == []
        build_cache(tmp_path / "c", CacheOptions(2, 64, 2, ("procedural",), 1.0), 1, None, said.append)
        assert said == [
            f"the cache in {tmp_path / 'c'} holds windows of other options and is built anew: to keep one, give --cache"
        ]

    def test_workers_never_see_ctrl_c(self, tmp_path):
        """Not even while they import what they need, nor the first one of a process."""
        code = (
            "import signal, multiprocessing\n"
            "from hdrvid.workers import without_interrupts\n"
            "def blocked(): return sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))\n"
            "if __name__ == '__main__':\n"
            "    with without_interrupts():\n"
            "        pool = multiprocessing.get_context('spawn').Pool(1)\n"
            "    with pool: print(blocked(), pool.apply(blocked) == [signal.SIGINT])"
        )
        path = tmp_path / "started.py"
        path.write_text(code)
        done = subprocess.run(
            [sys.executable, str(path)],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
        )
        assert done.stdout == "[] True\n"

    def test_processes_are_started_where_ctrl_c_waits(self):
        sources = {path: path.read_text("utf-8") for path in PACKAGE.rglob("*.py")}
        starting = {path.name for path, text in sources.items() if '"spawn"' in text}
        assert starting == {path.name for path, text in sources.items() if "with without_interrupts():" in text}
