"""The real cron daemon and the real `crontab`, with a spool of their own: a mount namespace covers the machine's."""

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest
from campaign_world import CLIENT, Ground, ground
from keeper_world import alive, await_that

__all__ = ["ground"]

MINUTE_AND_MORE_SECONDS = 100.0
MACHINE = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /etc/cron.d
mount -t tmpfs -o mode=1730 tmpfs /var/spool/cron/crontabs
chgrp crontab /var/spool/cron/crontabs
cron
sleep 2  # cron compares whole seconds: a table of the second in which it began would be overlooked
"$@" supervisor install --yes
"$@" supervisor install --json
crontab -l
echo ready
read line
"$@" supervisor install --uninstall
crontab -l || true
kill $(cat /run/crond.pid)
"""


@pytest.fixture
def machine(ground: Ground) -> Iterator[tuple[Ground, "subprocess.Popen[str]"]]:
    """A root that is installed with a living cron."""
    ground.root.mkdir(parents=True)
    env = {name: value for name, value in ground.env.items() if name != "OVERNIGHT_ROOT"}
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", MACHINE, "sh", *CLIENT, "--root", str(ground.root)], env=env,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ground.work,
    )  # fmt: skip
    try:
        yield ground, process
    finally:
        process.kill()
        process.communicate()


def test_cron_brings_both_back_within_a_minute_and_is_forgotten(
    machine: tuple[Ground, "subprocess.Popen[str]"],
) -> None:
    """Guards against a line that looks right and that cron reads as something else: nobody came back all night."""
    ground, process = machine
    assert process.stdin is not None and process.stdout is not None
    said = []
    while (line := process.stdout.readline()) and line != "ready\n":
        said.append(line)
    assert line == "ready\n", "".join(said)
    assert sum("overnight.keeper" in each and each.startswith("* * * * *") for each in said) == 1
    assert '"changed":false' in "".join(said).replace(" ", ""), "the second install changed nothing"
    campaign = ground.launch("--", "sh", "-c", "until [ -e go ]; do sleep 0.2; done")
    await_that(lambda: ground.counts(campaign).get("running"))
    term, dead = int(ground.holder["term"]), (ground.keeper(), ground.supervisor())
    for pid in dead:
        os.kill(pid, signal.SIGKILL)
    back = await_that(lambda: (now := ground.holder).get("term", 0) > term and now.get("pid"), MINUTE_AND_MORE_SECONDS)
    assert alive(back)
    ground.file("go", "")
    await_that(lambda: ground.counts(campaign) == {"succeeded": 1})
    rest, _ = process.communicate("\n")
    assert "removed: the line in your crontab" in rest and "no crontab for" in rest
    assert process.returncode == 0
