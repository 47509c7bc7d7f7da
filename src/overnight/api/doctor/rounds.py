"""All questions at once, each in a thread with a limit: a dead file system answers for one line, not for all."""

import os
import threading
import time
from collections.abc import Callable

from overnight.api.doctor import ground, watch
from overnight.api.errors import OvernightError
from overnight.api.places import Place, place_of, places_to_look, root_name
from overnight.model.health import Check, Health
from overnight.model.notices import Delivery, NoticeKind, NoticeText

LIMIT_SECONDS = 10.0
_SICK = "see whether its volume or driver is well"


def examine(root: str | None, limit_seconds: float = LIMIT_SECONDS) -> tuple[Place, list[Check]]:
    """Every finding about this host and this root, in a fixed order; within `limit_seconds` and a moment."""
    from overnight.api.installing import lingers
    from overnight.api.shell import user
    from overnight.probes import host

    name = root_name(root)
    found = _within([("place", lambda: _place(root))], limit_seconds)["place"]
    if not isinstance(found, Place):  # where the state is cannot even be asked
        place = Place(name, os.path.join(name, ".state"))
        return place, [Check("root", Health.BAD, f"{name}: {_why(found, limit_seconds)}", _SICK)]
    place = found
    questions: list[tuple[str, Callable[[], object]]] = [
        ("root", lambda: ground.room("root", place.root, local=False)),
        ("state", lambda: ground.room("state", place.state, local=True)),
        ("database", lambda: ground.database(place)),
        ("supervisor", lambda: watch.supervisor(place)),
        ("install", lambda: watch.installed(place)),
        ("logout", lambda: host.logout(os.environ, user(), lingers())),
        ("slots", watch.slots),
        ("gpus", watch.gpus),
        ("stacks", lambda: host.stacks(os.environ)),
        ("shm", host.shared_memory),
        ("limits", host.limits),
        ("cgroups", host.cgroups),
        ("clock", lambda: ground.clock(place.root)),
        ("notify", lambda: watch.notify(place)),
    ]
    answers = _within(questions, limit_seconds)
    checks = []
    for title, _ in questions:
        answer = answers[title]
        if isinstance(answer, Check):
            checks.append(answer)
        else:
            checks.append(Check(title, Health.BAD, _why(answer, limit_seconds), _SICK))
    return place, checks


def _place(root: str | None) -> Place:
    """The root that was named, or is here; else the only one that this user knows."""
    if root is None and not os.environ.get("OVERNIGHT_ROOT") and not os.path.isdir(root_name(None)):
        known = list(places_to_look())
        if len(known) == 1:
            return known[0]
    return place_of(root_name(root))


def _why(answer: object, limit_seconds: float) -> str:
    if answer is None:
        return f"no answer within {limit_seconds:g} s"
    if isinstance(answer, OvernightError):
        return answer.message
    return f"{type(answer).__name__}: {answer}" if isinstance(answer, Exception) else str(answer)


def _within(questions: list[tuple[str, Callable[[], object]]], seconds: float) -> dict[str, object]:
    """The answers by name; an exception stands for itself, None for none in time. What hangs is left hanging: it
    is a thread that keeps nobody from leaving."""
    answers: dict[str, object] = {name: None for name, _ in questions}

    def ask(name: str, question: Callable[[], object]) -> None:
        try:
            answers[name] = question()
        except Exception as problem:
            answers[name] = problem

    threads = [threading.Thread(target=ask, args=each, daemon=True) for each in questions]
    for thread in threads:
        thread.start()
    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return dict(answers)


def tell_test() -> list[Delivery]:
    """Tell the person something through every channel, and call the ping's address; what came of each. Raises
    `Refused` for a bad file."""
    from overnight.api.errors import Refused, in_words
    from overnight.manifest.own_config import own_config_path, read_own_config
    from overnight.model.codec import replace
    from overnight.notify.notifier import OwnNotifier

    path = own_config_path(os.environ)
    with in_words():
        settings = read_own_config(path)
    if not settings.notify.configured and not settings.ping.url:
        raise Refused("no channel is configured", f"write [notify] with command, webhook or apprise into {path}")
    notifier = OwnNotifier(lambda: settings)
    wanted = replace(settings.notify, tell=(NoticeKind.NEEDS_YOU.value,))
    words = f"A test from {os.uname().nodename}: this is how you will be told"
    text = NoticeText(f"test/{time.time():.0f}", NoticeKind.NEEDS_YOU.value, "", "overnight: a test", words,
                      "overnight doctor", time.time())  # fmt: skip
    found = list(notifier.deliver(wanted, text, ()))
    if settings.ping.url:
        words = notifier.ping(settings.ping.url)
        found.append(Delivery("ping", not words, words))
    return found
