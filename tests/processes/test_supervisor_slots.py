"""Slots are the host's: two supervisors that know nothing of each other never share a GPU."""

from itertools import pairwise

from campaign_world import lines, standing
from keeper_world import await_that

# `from until gpu`, in nanoseconds of the wall clock of one host.
TIMED = 'begun=$(date +%s%N); sleep 0.1; echo $begun $(date +%s%N) $CUDA_VISIBLE_DEVICES >> "$1"'


def test_two_roots_never_share_a_gpu(tmp_path):
    """Guards against two people's campaigns on one box that train on the same GPU at the same time."""
    told = tmp_path / "told"
    with (
        standing(tmp_path / "ada", slots=tmp_path / "slots") as ada,
        standing(tmp_path / "bob", slots=tmp_path / "slots") as bob,
    ):
        launched = []
        for ground in (ada, bob):
            rows = ground.file("sweep.csv", "n\n" + "".join(f"{n}\n" for n in range(8)))
            words = ["--name", ground.base.name, "--gpus", 1, "--runs", rows, "--", "sh", "-c", TIMED, "{n}", told]
            env = ground.env | {"CUDA_VISIBLE_DEVICES": "0,1", "PATH": "/usr/bin:/bin"}
            launched.append((ground, ground.launch(*words, env=env)))
        for ground, campaign in launched:
            await_that(lambda ground=ground, campaign=campaign: ground.counts(campaign) == {"succeeded": 8}, 60)
    runs = [(int(begun), int(ended), gpu) for begun, ended, gpu in map(str.split, lines(told))]
    assert len(runs) == 16
    assert {gpu for *_, gpu in runs} == {"0", "1"}
    for gpu in ("0", "1"):
        mine = sorted(run for run in runs if run[2] == gpu)
        shared = [pair for pair in pairwise(mine) if pair[0][1] > pair[1][0]]
        assert not shared, shared


def test_why_names_who_holds_the_gpu(tmp_path):
    """Guards against a run that waits all night for a slot, and nobody says for whom."""
    with (
        standing(tmp_path / "ada", slots=tmp_path / "slots") as ada,
        standing(tmp_path / "bob", slots=tmp_path / "slots") as bob,
    ):
        waiting = ["--gpus", 1, "--", "sh", "-c", "while [ ! -e go ]; do sleep 0.05; done"]
        gpu = {"CUDA_VISIBLE_DEVICES": "0", "PATH": "/usr/bin:/bin"}
        first = ada.launch("--name", "first", *waiting, env=ada.env | gpu)
        await_that(lambda: ada.counts(first) == {"running": 1})
        second = bob.launch("--name", "second", *waiting, env=bob.env | gpu)
        await_that(lambda: first in bob.overnight("why", second, "run-1").out)
        ada.file("go", "")
        bob.file("go", "")
        await_that(lambda: bob.counts(second) == {"succeeded": 1})
