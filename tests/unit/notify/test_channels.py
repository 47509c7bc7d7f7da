"""The ways to a person, with real commands and a real web server."""

import json
import os
import select
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # its neighbour, by name
from web_world import web

from overnight.model.notices import Delivery, NoticeText
from overnight.model.settings import NotifySettings, Settings
from overnight.notify import OwnNotifier, bounded
from overnight.notify import channels as room
from overnight.notify.bounded import run

STATUS = "overnight status bat-1"
TEXT = NoticeText("bat-1/end/1", "end", "bat-1", "bat: ended: all 2 done", STATUS, STATUS, 1.0)


@pytest.fixture(autouse=True)
def without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's own would answer in place of the servers here."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def told(settings: NotifySettings, text: NoticeText = TEXT, already: tuple[str, ...] = ()) -> tuple[Delivery, ...]:
    return OwnNotifier(Settings).deliver(settings, text, already)


def living(own: Path) -> list[str]:
    """Processes with that path, which is one test's alone, in their environment."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                if os.fsencode(own) in Path(f"/proc/{name}/environ").read_bytes():
                    found.append(name)
            except OSError:
                continue
    return found


def test_a_command_gets_the_words_on_its_input_and_in_its_environment(tmp_path: Path) -> None:
    """`mail` reads its input, `notify-send` its words, a script JSON: each found nothing in one of the others."""
    line = f'cat > {tmp_path}/in; printf %s "$OVERNIGHT_NOTICE_TITLE" > {tmp_path}/title; ' + (
        f'printf %s "$OVERNIGHT_NOTICE_JSON" > {tmp_path}/json'
    )
    assert told(NotifySettings(command=line)) == (Delivery("command", True),)
    assert (tmp_path / "in").read_text() == f"{TEXT.title}\n\n{TEXT.body}\n"
    assert (tmp_path / "title").read_text() == TEXT.title
    document = json.loads((tmp_path / "json").read_text())
    assert (document["key"], document["kind"], document["schema"]) == ("bat-1/end/1", "end", 1)


def test_a_command_that_fails_or_is_not_there_says_so() -> None:
    """A misspelt program counted as told."""
    (broken,) = told(NotifySettings(command=("sh", "-c", "echo no such room >&2; exit 3")))
    assert not broken.took and broken.words == "exit 3: no such room"
    (missing,) = told(NotifySettings(command=("/no/such/program",)))
    assert not missing.took and "cannot be started" in missing.words


def test_a_command_that_never_ends_is_killed_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mailer that waited for a password hung for ever, twice a night, with its children."""
    began = tmp_path / "began"
    # Its time is over once all of it is there.
    clock = SimpleNamespace(monotonic=lambda: 100.0 if began.exists() else 0.0, sleep=time.sleep)
    monkeypatch.setattr(bounded, "time", clock)
    monkeypatch.setattr(room, "COMMAND_SECONDS", 1.0)
    line = (
        "sleep 7311 & setsid sleep 7312 & (setsid sh -c 'trap \"\" TERM HUP; touch $BEGAN; sleep 7313' &) ; sleep 7314"
    )
    monkeypatch.setenv("BEGAN", str(began))
    (outcome,) = told(NotifySettings(command=line))
    assert not outcome.took and "did not end within 1 s" in outcome.words
    assert began.exists() and living(tmp_path) == []


def test_what_a_command_leaves_behind_keeps_nobody_waiting(tmp_path: Path) -> None:
    """A background process held the output open, and the delivery waited for it instead of for the command."""
    began = time.monotonic()
    outcome = run(["sh", "-c", "sleep 7321 & echo said"], "", {**os.environ, "OWN": str(tmp_path)}, 30.0)
    assert outcome.well and outcome.said == "said"
    assert time.monotonic() - began < 10 and living(tmp_path) == []


def test_the_last_words_are_heard_whatever_is_seen_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """It said why and ended between the look at its output and the look at itself: "exit 1: no words"."""
    looks = []

    class Poll:
        def __init__(self) -> None:
            self._real = select.poll()
            self.register, self.unregister = self._real.register, self._real.unregister

        def poll(self, milliseconds: float) -> list[tuple[int, int]]:
            found = self._real.poll(milliseconds)
            while not looks and len(found) < 2:
                found = self._real.poll(milliseconds)
            looks.append(found)
            return found if len(looks) > 1 else found[1:]

    monkeypatch.setattr(bounded, "select", SimpleNamespace(poll=Poll, POLLIN=select.POLLIN))
    outcome = run(["sh", "-c", "echo no such room; exit 1"], "", os.environ, 30.0)
    assert len(looks[0]) == 2
    assert (outcome.code, outcome.said) == (1, "no such room")


def test_a_look_that_misses_somebody_is_not_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in the middle of exec has no environment: nobody seemed to be left, and a mailer's helper stayed."""
    real, looks = bounded._marked, list[list[int]]()

    def marked(mark: bytes) -> list[int]:
        looks.append(real(mark) if looks else [])
        return looks[-1]

    monkeypatch.setattr(bounded, "_marked", marked)
    line = "setsid sh -c 'touch $OWN/began; sleep 7331' & until [ -e $OWN/began ]; do sleep 0.01; done"
    assert run(["sh", "-c", line], "", {**os.environ, "OWN": str(tmp_path)}, 30.0).well
    assert any(looks) and living(tmp_path) == []


def test_endless_output_is_not_kept() -> None:
    """A command that printed without end filled the memory of the one that watches."""
    outcome = run(["sh", "-c", "exec yes"], "", os.environ, 0.5)
    assert outcome.code is None and len(outcome.said) < 3000


def test_a_webhook_gets_json_and_the_key() -> None:
    """A receiver that cannot tell a repetition rings twice."""
    with web(204) as server:
        (outcome,) = told(NotifySettings(webhook=(server.url,)))
        assert outcome.took and outcome.channel.startswith("webhook 127.0.0.1 #") and "SECRET" not in outcome.channel
        (heard,) = server.heard
    assert heard["headers"]["Idempotency-Key"] == TEXT.key
    assert heard["body"]["title"] == TEXT.title and heard["body"]["text"] == f"{TEXT.title}\n{TEXT.body}"


@pytest.mark.parametrize(("answer", "words"), [(500, "answered 500"), (302, "redirection"), (404, "answered 404")])
def test_a_webhook_that_refuses_says_how(answer: int, words: str) -> None:
    """An answer that was no yes counted as told; a redirected POST arrived as a GET without its words."""
    with web(answer) as server:
        (outcome,) = told(NotifySettings(webhook=(server.url,)))
        assert not outcome.took and words in outcome.words and "SECRET" not in outcome.words
        assert len(server.heard) == 1


@pytest.mark.parametrize("answer", ["hang", "drip"])
def test_a_webhook_that_hangs_or_drips_is_bounded_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    """A time limit for each byte is none: a server that sent one every few seconds held the call for a day."""
    monkeypatch.setattr(room, "WEB_SECONDS", 1.0)
    monkeypatch.setenv("OWN", str(tmp_path))
    with web(answer) as server:
        began = time.monotonic()
        (outcome,) = told(NotifySettings(webhook=(server.url,)))
        assert not outcome.took and time.monotonic() - began < 10
        assert living(tmp_path) == []


def test_nobody_there() -> None:
    """A refused connection is tried again, not raised."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        (outcome,) = told(NotifySettings(webhook=(url,)))
    assert not outcome.took and "not reached" in outcome.words


def test_only_what_was_asked_for_and_only_who_has_not_been_told() -> None:
    """Whoever wants the end alone was rung up for a digest; a channel that took it got it again."""
    with web(200) as server:
        settings = NotifySettings(tell=("needs-you",), webhook=(server.url,))
        assert told(settings) == ()
        settings = NotifySettings(command=("true",), webhook=(server.url,))
        (first, second) = told(settings)
        assert first.took and second.took
        assert told(settings, already=(first.channel, second.channel)) == ()
        assert len(server.heard) == 1


def test_a_channel_that_cannot_even_be_tried_is_no_other_ones_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptor was left for the second of two channels: nobody noted that the first had taken it, and it rang
    again and again."""

    def refused(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(room, "_call", refused)
    (first, second) = told(NotifySettings(command=("true",), webhook=("http://127.0.0.1:9/",)))
    assert first.took and not second.took
    assert second.words == "cannot be tried: Too many open files"


def test_a_ping_is_heard_or_says_why() -> None:
    """A dead man's switch that nobody hears must not look alive."""
    with web(200, 500) as server:
        notifier = OwnNotifier(Settings)
        assert notifier.ping(server.url) == ""
        assert "answered 500" in notifier.ping(server.url)
        assert [each["body"] for each in server.heard] == [None, None]


@pytest.mark.parametrize("path", ["/hook SECRET", "@elsewhere:SECRET/", "/hook"])
def test_an_address_that_cannot_be_called_is_not_repeated(path: str) -> None:
    """What came of a try was a traceback of the web client, with the token of the address in it, and in the log."""
    with web("nonsense") as server:
        base = server.url.partition("/hook")[0]
        url = base + path if path != "/hook" else server.url
        (outcome,) = told(NotifySettings(webhook=(url,)))
        said = [outcome.words, OwnNotifier(Settings).ping(url)]
    assert not outcome.took and all(said)
    assert [words for words in said if "SECRET" in words or "Traceback" in words] == []


STANDIN = """
import json, os
class Apprise:
    def add(self, url):
        self.url = url
        return url.startswith("known://")
    def notify(self, title, body):
        with open(os.environ["TOLD"], "w") as file:
            json.dump([self.url, title, body], file)
        return "fails" not in self.url
"""


def test_apprise_is_called_in_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Apprise takes a second to import and may hang in any of a hundred services. (A stand-in of its two calls.)"""
    (tmp_path / "apprise.py").write_text(STANDIN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("TOLD", str(tmp_path / "told"))
    took, failed, unknown = told(NotifySettings(apprise=("known://SECRET", "known://fails", "other://x")))
    assert took.took and took.channel.startswith("apprise known #") and "SECRET" not in took.channel
    assert not failed.took and "could not deliver" in failed.words
    assert not unknown.took and "does not know" in unknown.words
    assert json.loads((tmp_path / "told").read_text()) == ["known://fails", TEXT.title, TEXT.body]


def test_without_apprise_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An extra that is not installed is a sentence, not a traceback."""
    (tmp_path / "apprise.py").write_text("raise ImportError('not here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (outcome,) = told(NotifySettings(apprise=("ntfy://topic",)))
    assert not outcome.took and 'pip install "overnight[notify]"' in outcome.words
