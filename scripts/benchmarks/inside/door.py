"""mitmdump's script for the load figures: the addon as it is, but for who answers, and a watch on
its event loop. The addon makes its dispatcher when it is configured, which is after this, under the
name it imported it by: mypy takes that name for private."""

from scripts.benchmarks.inside.ticking import TickingDispatcher
from scripts.benchmarks.inside.watch import Passthrough
from sessionbridge.proxy import addon

addon.ClaudeDispatcher = TickingDispatcher  # type: ignore[attr-defined]
addons = [Passthrough(), *addon.addons]
