"""Asking the supervisor: put a request into its inbox, see that somebody reads it, fetch the answer."""

import time
from collections.abc import Callable

from overnight.api.errors import Refused, Unreachable, in_words
from overnight.api.places import Place
from overnight.artifacts.layout import of_root
from overnight.model.manifest import Refusal
from overnight.model.requests import Answer, Request
from overnight.supervisor import inbox, keep

ANSWER_SECONDS = 120.0  # a launch of 100,000 rows takes a few; a suspended supervisor is replaced after 35
_FIRST_LOOK_SECONDS = 0.002
_LONGEST_LOOK_SECONDS = 0.05
_OVERSEE_SECONDS = 1.0
_BEING_MADE = {"missing", "new", "older"}  # the supervisor that comes up makes or migrates the database


def ask(place: Place, request: Request, *, bring_up: bool = True, within_seconds: float = ANSWER_SECONDS) -> Answer:
    """Send a request and wait for what became of it.

    Raises `Refused` with the supervisor's words if it said no, `Unreachable` if nobody answered in time. In the
    second case the request stays in the inbox and is taken by the next supervisor; the error says so.
    """
    with in_words():
        place.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            keep.check_owner(place.state)
            keep.check_leader(place.root, place.state)
            if bring_up:
                keep.forget_stopped(place.state)
            inbox.submit(place.state, request)
            if bring_up:
                keep.ensure_keeper(place.root, place.state)
            answer = _await(place, request.id, bring_up, within_seconds)
        except keep.CannotSupervise as problem:
            raise Unreachable(problem.message, problem.hint) from problem
        except KeyboardInterrupt:
            waits = inbox.pending(place.state, request.id)
            words = "is in the inbox, and will be done" if waits else "has been taken"
            raise KeyboardInterrupt(f"what was asked for {words}") from None
        if not answer.ok:
            raise Refused(answer.message or "the supervisor refused this", answer.hint)
        return answer


def _await(place: Place, request_id: str, bring_up: bool, within_seconds: float) -> Answer:
    overseer = keep.Overseer(place.root, place.state)
    start = overseen = time.monotonic()
    pause = _FIRST_LOOK_SECONDS
    with Answers(place) as answers:
        while True:
            found = answers.get(request_id)
            if found is not None:
                return found
            rejected = inbox.rejection(place.state, request_id)
            if rejected is not None:
                raise Refusal(
                    f"the supervisor could not read the request: {rejected}",
                    f"it may run an older version: overnight supervisor restart {of_root(place.root_name)}",
                )
            now = time.monotonic()
            if now - start > within_seconds:
                break
            if bring_up and now - overseen > _OVERSEE_SECONDS:
                overseen = now
                overseer.look()
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_LOOK_SECONDS)
    raise Unreachable(
        f"the supervisor has not answered within {within_seconds:g} s",
        f"the request stays in {place.state / inbox.INBOX} and will be taken; see {place.state / keep.SUPERVISOR_LOG}",
    )


class Answers:
    """The store's answers, whether or not there is a store yet (the first supervisor of a root makes it)."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._get: Callable[[str], Answer | None] | None = None
        self._close: Callable[[], None] = lambda: None

    def get(self, request_id: str) -> Answer | None:
        """What became of a request; None while nobody has said."""
        if self._get is None:
            from overnight.store import ReadStore, StoreFault

            try:
                store = ReadStore(self._place.database)
            except StoreFault as fault:
                if fault.kind in _BEING_MADE:
                    return None
                raise
            self._get, self._close = store.answer, store.close
        return self._get(request_id)

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
