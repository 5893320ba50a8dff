import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.peers import __main__ as driver
from benchmarks.peers import measuring, work
from benchmarks.peers.cohorts import SEEDS, Folder
from benchmarks.peers.images import write_images
from benchmarks.peers.measuring import CONTESTANTS, OURS, Contestant, Entry, Failure, in_turns
from benchmarks.peers.ours import settings_of
from benchmarks.peers.table import GPU_PEAK, HEADINGS, table
from benchmarks.peers.work import Answer, Record, Work
from eusml.config import OnlineConfig, TrainConfig
from eusml.learning.schedule import _FINAL_DIVISOR, _ONECYCLE_START_DIVISOR

WORK = Work("images", "weights", "resnet34", 32, 4, 2, "default", None, 0.0)
ANSWER = Answer("fp32", 1, 20.0, 30.0, [0.7, 0.5], 1000.0, 2, "2.15.0")
ABSENT = Contestant("absent", "absent", "a_package_that_nobody_has")


def entry(name: str, setting: work.Setting = "default") -> Entry:
    return Entry("resnet34", CONTESTANTS.get(name, ABSENT), setting)


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]


def test_peers_are_given_the_work_that_our_defaults_are(monkeypatch: pytest.MonkeyPatch):
    online, ours = OnlineConfig(enabled=True), TrainConfig()
    assert settings_of(WORK).online == online
    assert (work.ROTATION_DEG, work.SCALE_FRAC, work.SHIFT_FRAC, work.GAMMA_FRAC) == (
        online.rotation_limit_deg, online.scale_frac, online.shift_frac, online.gamma_frac
    )  # fmt: skip
    assert online.flip
    assert (online.contrast_frac, online.brightness, online.tilt) == (0.0, 0.0, 0.0)
    assert (work.LEARNING_RATE, work.WEIGHT_DECAY, work.WARMUP_FRAC) == (ours.lr, ours.weight_decay, ours.warmup_frac)
    assert (work.START_DIVISOR, work.FINAL_DIVISOR) == (_ONECYCLE_START_DIVISOR, _FINAL_DIVISOR)
    assert (ours.optimizer, ours.schedule, ours.label_smoothing, ours.dropout) == ("adamw", "onecycle", 0.0, 0.0)
    assert settings_of(WORK).precision == "fp32"
    for has_bf16, precision in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(work, "cpu_has_bf16", lambda has_bf16=has_bf16: has_bf16)
        assert settings_of(replace(WORK, setting="best")).precision == precision


def test_a_gpu_trains_in_what_it_has_itself(monkeypatch: pytest.MonkeyPatch):
    best = replace(WORK, setting="best", device="cuda")
    for has_bf16, precision in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(work, "cpu_has_bf16", lambda has_bf16=has_bf16: not has_bf16)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation, has=has_bf16: has)
        for setting, expected in (("best", precision), ("compiled", precision), ("default", "fp32")):
            settings = settings_of(replace(best, setting=setting))
            assert (settings.device, settings.precision) == ("cuda", expected)


def test_a_gpu_is_seen_by_who_trains_on_it_only(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    one, other = (replace(WORK, device="cuda", weights=f"{name}/weights") for name in "ab")
    assert measuring._environment(WORK)["CUDA_VISIBLE_DEVICES"] == ""
    assert measuring._environment(one)["CUDA_VISIBLE_DEVICES"] == "1"
    caches = {measuring._environment(each)["TORCHINDUCTOR_CACHE_DIR"] for each in (one, other)}
    assert len(caches) == 2  # nothing compiled is left to the next


def test_images_are_grey_of_one_size_and_half_of_each_class(tmp_path: Path):
    folder = write_images(tmp_path, 6, 32)
    files = {label.name: sorted(label.iterdir()) for label in folder.iterdir()}
    assert {name: len(found) for name, found in files.items()} == {"GIST": 3, "leiomyoma": 3}
    for file in (file for found in files.values() for file in found):
        with Image.open(file) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "L", (32, 32))
            assert np.asarray(image).std() > 0


def test_images_of_a_folder_that_are_held_out_have_no_part_in_a_choice(tmp_path: Path):
    images = write_images(tmp_path / "lesions", 20, 48)
    cohort = Folder(images, positive_class="GIST")
    measured, *inner = (
        [{file.name for file in part.glob("*/*.png")} for part in cohort.parts(tmp_path / "parts", 32, seed)]
        for seed in (SEEDS[0], *cohort.choosing_seeds)
    )
    assert (len(measured[0]), len(measured[1]), len(measured[0] | measured[1])) == (16, 4, 20)
    assert all(not training & held_out and training | held_out == measured[0] for training, held_out in inner)
    assert set.union(*(held_out for _, held_out in inner)) == measured[0]
    assert cohort.parts(tmp_path / "parts", 32, SEEDS[1]) == cohort.parts(tmp_path / "parts", 32, SEEDS[0])
    with Image.open(next((tmp_path / "parts").glob("**/GIST/*.png"))) as image:
        assert (image.mode, image.size) == ("L", (32, 32))


def test_the_first_epoch_is_not_in_the_rate(monkeypatch: pytest.MonkeyPatch):
    times = iter([100.0, 102.0, 103.0, 107.0])
    monkeypatch.setattr(work.time, "monotonic", lambda: next(times))
    record = Record()
    for _ in range(4):
        record.step(1.0, 6)
        record.step(0.5, 2)
        record.end_epoch()
    assert record.losses == [0.875] * 4
    assert record.images_per_second() == 8 / 2


def test_losses_are_read_when_the_epoch_ends_and_before_its_time_is_taken(monkeypatch: pytest.MonkeyPatch):
    done = []

    class Loss:
        """As a tensor on a GPU: whoever reads it waits."""

        def __float__(self) -> float:
            done.append("read")
            return 2.0

    monkeypatch.setattr(work.time, "monotonic", lambda: done.append("timed") or 0.0)
    record = Record()
    for _ in range(2):
        record.step(Loss(), 4)
    assert not done
    record.end_epoch()
    assert done == ["read", "read", "timed"]
    assert record.losses == [2.0]


@pytest.mark.parametrize(
    ("setting", "asked", "expected"), [("default", None, 1), ("best", None, 3), ("default", 0, 1), ("best", 0, 0)]
)
def test_workers_are_those_advised_unless_asked_otherwise(
    setting: work.Setting, asked: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(work, "cores", lambda: 3)
    given = replace(WORK, setting=setting, workers=asked)
    assert given.loader_workers(1, 8) == expected
    assert given.loader_workers(16) == (3 if asked is None or setting == "default" else asked)


def test_entries_take_turns(monkeypatch: pytest.MonkeyPatch):
    seen = []

    def train(one: Entry, given: Work) -> Answer:
        seen.append((one.contestant.name, given))
        return ANSWER

    monkeypatch.setattr(measuring, "train_once", train)
    said: list[str] = []
    outcomes = in_turns([entry("torchvision"), entry("timm"), entry(OURS)], WORK, 2, said.append)
    assert [name for name, _ in seen] == ["torchvision", "timm", OURS, "timm", OURS, "torchvision"]
    assert {len(rounds) for rounds in outcomes.values()} == {2}
    assert said[3].startswith("round 2, resnet34, timm, default: {")


def test_ratios_are_of_the_same_round_and_the_best_peer_is_none_of_ours():
    slow, fast = ANSWER, replace(ANSWER, images_per_second=60.0, seconds=10.0)
    noisy = replace(ANSWER, images_per_second=15.0, seconds=40.0)
    outcomes = {
        entry("torchvision"): [slow, noisy],
        entry("torchvision", "best"): [replace(fast, seconds=16.0), replace(noisy, images_per_second=20.0)],
        entry(OURS): [replace(fast, images_per_second=90.0), replace(fast, images_per_second=45.0)],
    }
    found = [dict(zip(range(len(HEADINGS)), row, strict=True)) for row in rows(table(outcomes, []))]
    assert found[0] == dict(enumerate(HEADINGS))
    plain, best, ours = found[1:]
    assert plain[4] == "22.5 (15.0-30.0)"
    assert (plain[5], plain[6]) == ("1.00", "0.62")  # 30/60 and 15/20
    assert (best[5], best[6], best[9]) == ("1.67", "1.00", "1.00")
    assert (ours[1], ours[5], ours[6]) == (f"**{OURS}**", "3.00", "1.88")  # 90/60 and 45/20
    assert (ours[7], ours[8], ours[9]) == ("10.0 (10.0-10.0)", "3.00", "2.80")  # 16/10 and 40/10
    assert (ours[10], ours[11]) == ("1000", "0.700 → 0.500")


def test_who_fails_or_is_not_installed_has_a_row():
    failed = Failure("exit status 1: out of memory")
    outcomes = {entry("torchvision"): [failed, failed], entry(OURS): [ANSWER, failed]}
    _, plain, ours, absent = rows(table(outcomes, [entry("absent")]))
    assert plain[:4] == ["resnet34", "torchvision", "default: failed", "–"]
    assert ours[2] == "default: fp32 (1 of 2 rounds)"
    assert ours[5] == "–"
    assert absent[:4] == ["resnet34", "absent", "default: not installed", "–"]
    assert {len(row) for row in (plain, ours, absent)} == {len(HEADINGS)}


def test_a_gpu_and_what_its_memory_is_are_named():
    asked = driver.options(["--device", "cuda"])
    outcomes = {entry(OURS): [replace(ANSWER, gpu="NVIDIA H100"), Failure("none")]}
    assert driver.header(asked, outcomes[entry(OURS)]).startswith("NVIDIA H100; ")
    assert rows(table(outcomes, [], asked.device))[0][10] == GPU_PEAK
    assert driver.header(driver.options([]), [ANSWER]).startswith(driver._cpu())


def test_who_compiles_is_asked_for_and_compiles_the_best_setting():
    assert driver.options([]).settings == ["default", "best"]
    assert driver.options(["--settings", "best,compiled"]).settings == ["best", "compiled"]
    assert [name for name, one in CONTESTANTS.items() if "compiled" in one.settings] == ["torchvision", "timm"]
    compiled = replace(WORK, setting="compiled", workers=0)
    assert (compiled.best, compiled.compiled, compiled.loader_workers(16)) == (True, True, 0)
    assert not replace(WORK, setting="best").compiled


@pytest.mark.parametrize(
    "words",
    [
        ["--images", "48"],
        ["--epochs", "1"],
        ["--rounds", "0"],
        ["--images", "64", "--epochs", "2"],
        ["--peers", "x"],
        ["--device", "tpu"],
    ],
)
def test_work_that_would_not_be_the_same_for_all_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        driver.options(words)
    assert "error: " in capsys.readouterr().err


def test_nothing_of_ours_is_imported_for_peers():
    code = "import sys, json, benchmarks.peers.work; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=measuring.ROOT, capture_output=True, text=True, check=True)
    assert not {"eusml", "torch", "numpy"} & set(json.loads(done.stdout))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_nobody_trains_on_the_cpu_who_is_to_train_on_a_gpu(tmp_path: Path):
    given = replace(WORK, folder=str(write_images(tmp_path, 4, 32)), device="cuda")
    outcome = measuring.train_once(entry("torchvision", "best"), given)
    assert isinstance(outcome, Failure)
    assert "CUDA" in outcome.message or "NVIDIA" in outcome.message


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
            ],
        ),
    ],
)
def test_ours_and_torchvision_train(
    device: work.Device, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(CONTESTANTS, "absent", ABSENT)
    given = {"size": 32, "images": 16, "batch": 4, "epochs": 2, "rounds": 1, "archs": "resnet34", "settings": "best"}
    given["device"] = device
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    driver.main([*words, "--peers", f"torchvision,absent,{OURS}", "--no-rehearsal"])
    printed = capsys.readouterr()
    _, plain, ours, absent = rows(printed.out)
    assert (plain[1], plain[3], ours[1], ours[3]) == ("torchvision", "3", f"**{OURS}**", "1"), printed.err
    assert ours[2] == f"best: {'bf16' if work.has_bf16(device) else 'fp32'}"
    assert absent[2] == "best: not installed"
    assert "32 px, batch 4, 16 images, 2 epochs, rounds: 1" in printed.out
    answers = [Answer(**json.loads(line.split(": ", 1)[1])) for line in printed.err.splitlines()]
    assert all(answer.seconds > 0 and answer.images_per_second > 0 and answer.peak_mb > 100 for answer in answers)
    assert all(bool(answer.gpu) == (device == "cuda") for answer in answers)
    assert all(len(answer.losses) == 2 and np.isfinite(answer.losses).all() for answer in answers)
