"""Telling a person: a command, a webhook, Apprise. Every delivery is a child process with a time limit, killed
whole: a name that is never resolved, a server that drips, a command that never ends keep nobody waiting."""

from overnight.notify.notifier import OwnNotifier as OwnNotifier
