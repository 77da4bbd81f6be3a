"""The crash tests tested: a right engine passes, each wrong one is caught."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from images.build import Disk, build_disk
from images.kinds import MIB, Kind

from blockrep.disk.device import Device
from fault.campaign import Effort, Score, run_campaign
from fault.fake import MISTAKES, FakeEngine, shrunk_copy
from fault.recorder import RecordingDevice
from fault.truth import Truth, learn_truth

FAKE = Kind(
    "fake",
    ("-t", "ext4", "-b", "1024", "-J", "size=1", "-N", "2048", "-O", "^metadata_csum"),
    table="dos",
    disk_mib=40,
    first_mib=25,
    spare_mib=12,
)
NEW_LENGTH = 24 * MIB


class Fakes:
    """The disk, its new state, and engines on it."""

    def __init__(self, folder: Path) -> None:
        self.disk: Disk = build_disk(FAKE)
        self.initial = self.disk.path
        self.final = folder / "final.img"
        start, length = self.disk.host_start_bytes, self.disk.host_length_bytes
        shrunk_copy(self.initial, self.final, start, length, NEW_LENGTH)
        self.truth: Truth = learn_truth(self.initial, self.final, start, table=True, mountable=True)
        self.folder = folder

    def campaign(self, mistake: str, effort: Effort, kind: type[FakeEngine] = FakeEngine) -> Score:
        superblocks = self.truth.old.superblock_offsets()
        log_at = self.disk.host_start_bytes + self.disk.host_length_bytes
        old, new = bytes(self.truth.old.content), bytes(self.truth.new.content)
        engine = kind(old, new, superblocks, log_at, mistake)
        image = self.folder / "run.img"
        shutil.copyfile(self.initial, image)
        image.chmod(0o600)
        with RecordingDevice(image) as device:
            engine.run(device)
            log = device.log
        return run_campaign(self.truth, log, engine, effort)


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Fakes:
    return Fakes(tmp_path_factory.mktemp("fake"))


def test_right_engine_passes(fakes: Fakes, seed: int) -> None:
    score = fakes.campaign("", Effort(seed, budget_s=8))
    print(score)
    assert not score.failures, "\n".join(score.failures)
    assert score.tried > 30
    assert set(score.before) == {"old", "locked", "new"}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_wrong_engine_is_caught(fakes: Fakes, mistake: str, seed: int) -> None:
    score = fakes.campaign(mistake, Effort(seed, budget_s=15, back_share=1.0, nested_share=0.5))
    print(score, *score.failures[:2], sep="\n")
    assert score.failed, f"nobody noticed: {mistake}"


class _Moody(FakeEngine):
    """Every other recovery clears the log once more: it depends on more than the disk."""

    runs = 0

    def recover(self, device: Device, *, back: bool) -> str:
        said = super().recover(device, back=back)
        self.runs += 1
        if self.runs % 2:
            self._clear(device)
        return said


class _Bypass(FakeEngine):
    """Writes a sector past the device that is recorded."""

    def recover(self, device: Device, *, back: bool) -> str:
        said = super().recover(device, back=back)
        with device.path.open("r+b") as file:
            file.seek(self.new_end)
            file.write(b"past the device")
        return said


@pytest.mark.parametrize(
    ("engine", "noticed"),
    [(_Moody, "does not do the same on the same bytes"), (_Bypass, "wrote past the device")],
)
def test_an_engine_that_cannot_be_remembered_is_caught(
    engine: type[FakeEngine], noticed: str, fakes: Fakes, seed: int
) -> None:
    score = fakes.campaign("", Effort(seed, budget_s=15, doubt=0.5), engine)
    assert any(noticed in failure for failure in score.failures), score
