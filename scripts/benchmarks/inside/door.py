"""mitmdump's script for the load figures: the addon as it is, but for who answers, and a watch on
its event loop. The dispatcher is made when the addon is configured, which is after this, under the
name it was imported by: mypy takes that name for private."""

from scripts.benchmarks.inside.ticking import TickingDispatcher
from scripts.benchmarks.inside.watch import Watch
from sessionbridge.proxy import addon
from sessionbridge.turns import account

# In the place of the name that `account` has imported, so no attribute of its own.
account.ClaudeDispatcher = TickingDispatcher  # type: ignore[attr-defined]
addons = [Watch(), *addon.addons]
