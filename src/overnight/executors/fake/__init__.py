"""The fake executor: attempts that follow a script. See docs/reference/fake-executor.md."""

from overnight.executors.fake.executor import FakeExecutor as FakeExecutor
from overnight.executors.fake.knobs import Knobs as Knobs
from overnight.executors.fake.knobs import check_knobs as check_knobs
from overnight.executors.fake.probe import FakeProbe as FakeProbe
from overnight.executors.fake.sinks import FileSink as FileSink
from overnight.executors.fake.sinks import MemorySink as MemorySink
from overnight.executors.fake.world import FakeWorld as FakeWorld
