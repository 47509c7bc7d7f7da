"""A person's own configuration file."""

from pathlib import Path

import pytest

from overnight.manifest.own_config import own_config_path, read_own_config
from overnight.model.manifest import Refusal
from overnight.model.settings import Settings


def written(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    return path


def refused(folder: Path, text: str) -> str:
    with pytest.raises(Refusal) as refusal:
        read_own_config(written(folder, text))
    return " | ".join(f"{fault.line}: {fault.message} ({fault.hint})" for fault in refusal.value.faults)


def test_no_file_is_no_error(tmp_path: Path) -> None:
    """Whoever wants no notices need not write a file that says so."""
    assert read_own_config(tmp_path / "none.toml") == Settings()


def test_all_that_may_stand_in_it(tmp_path: Path) -> None:
    """Every key of the reference page is read."""
    text = """
[notify]
tell = ["needs-you", "digest"]
digest = "08:30"
cooldown = "2h"
command = ["notify-send", "overnight"]
webhook = "https://example.org/hook"
apprise = ["ntfy://topic", "mailto://me"]
[ping]
url = "https://example.org/ping"
every = "1m"
"""
    found = read_own_config(written(tmp_path, text))
    assert found.notify.tell == ("needs-you", "digest")
    assert (found.notify.digest, found.notify.cooldown) == (510, 7200.0)
    assert (found.notify.command, found.notify.webhook) == (
        ("notify-send", "overnight"),
        ("https://example.org/hook",),
    )
    assert found.notify.apprise == ("ntfy://topic", "mailto://me")
    assert (found.ping.url, found.ping.every) == ("https://example.org/ping", 60.0)
    assert found.notify.configured


def test_a_slip_is_named_with_its_line_and_the_nearest(tmp_path: Path) -> None:
    """A misspelt `webhok` was ignored, and the first night that needed a person told nobody."""
    words = refused(tmp_path, '[notify]\nwebhok = "https://x.org"\ntell = ["needs-me"]\ndigest = "8"\n[pings]\n')
    assert "2: notify.webhok is not known (did you mean webhook?)" in words
    assert '3: notify.tell: "needs-me" is not known' in words
    assert '4: notify.digest: "8" is no time of day' in words
    assert "pings is not known (did you mean ping?)" in words


def test_an_address_that_is_none_is_refused_without_being_repeated(tmp_path: Path) -> None:
    """A token in a mistyped address ended in a log that everybody reads."""
    words = refused(tmp_path, '[notify]\nwebhook = "hooks.example.org/SECRETSECRET"\n[ping]\nevery = "1s"\n')
    assert "is no web address" in words and "SECRETSECRET" not in words
    assert "ping.every: too often" in words


def test_what_is_no_toml_says_so(tmp_path: Path) -> None:
    """Half a file, saved while it was being written."""
    assert "is no TOML" in refused(tmp_path, "[notify\n")
    assert "cannot be read" in refused_folder(tmp_path)


def refused_folder(folder: Path) -> str:
    with pytest.raises(Refusal) as refusal:
        read_own_config(folder)
    return str(refusal.value.faults[0].message)


def test_the_environment_names_another_file(tmp_path: Path) -> None:
    """Two people on one account, or a test that must not touch the real file."""
    assert own_config_path({"OVERNIGHT_CONFIG": str(tmp_path / "mine.toml")}) == tmp_path / "mine.toml"
    assert own_config_path({}).name == "config.toml"
