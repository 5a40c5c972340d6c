"""Starts the Claude CLI as this bridge needs it: nothing of the machine is open to a prompt.

With an API key it is started bare (`--bare`), and the model is shown the client's words and one
line of the CLI's, which says what it is. Whole requests compared (with 2.1.332): besides the notes
of environment, model and date the beta `mid-conversation-tool-changes` is gone; of the message that
tells some models their effort the text is gone, not the message; tools are told by the shorter one
of their descriptions, the CLI's own for structured answers among them (see `client_tools`). Model,
`max_tokens`, thinking, effort, the number of cache marks and other betas stay, and so does all that
the CLI keeps, resumes and forks.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from claude_agent_sdk import ClaudeAgentOptions

from sessionbridge.claude import work_dirs
from sessionbridge.claude.catalog import Model, api_name
from sessionbridge.claude.cli import image_files, leftovers
from sessionbridge.claude.cli.child_mark import child_secret
from sessionbridge.claude.cli.environment import child_environment
from sessionbridge.claude.cli.live_process import LiveProcess
from sessionbridge.claude.cli.process import CliProcess
from sessionbridge.claude.cli.settings import budget, environment
from sessionbridge.claude.job import Settings
from sessionbridge.claude.models import DEFAULT
from sessionbridge.claude.profile import ClaudeProfile
from sessionbridge.claude.tools import client_tools
from sessionbridge.claude.tools.client_tools import SERVERS, ClientTools
from sessionbridge.claude.transcript.files import (
    cost_at,
    cost_so_far,
    newest_transcript,
)
from sessionbridge.disk import on_thread, private_folder
from sessionbridge.errors import SecretMissing
from sessionbridge.model import MemoryKind, Point, Thinking, Tool

logger = logging.getLogger(__name__)

_LONGEST_LINE = 16 * 1024 * 1024
"""Characters. The longest that the CLI has to say is an answer: 128,000 tokens are some 500 KB, and
six times that where all of it has to be escaped."""

_BARE = {"CLAUDE_CODE_ATTRIBUTION_HEADER": "0"}
"""Or a line about the version stands before the system prompt."""


class Launcher:
    def __init__(self, profile: ClaudeProfile) -> None:
        self._profile = profile
        self._models: tuple[Model, ...] = ()
        """Those that the CLI offers, once one has begun."""
        self._swept = False

    async def start(
        self,
        settings: Settings | None,
        memory: MemoryKind,
        session_id: str,
        base: Point | None = None,
        *,
        fork: bool = False,
    ) -> LiveProcess:
        """Returns when it is ready to be asked, or where there are no settings, to be told what its
        first turn is to be like. Raises `SessionLost` where `base` is gone."""
        secret, cost = await on_thread(
            lambda: (self._prepare(memory, session_id), self._cost_before(memory, base))
        )
        try:
            options = self._options(settings, memory, secret)
        except SecretMissing as error:
            logger.warning("%s.", error.found)
            raise
        _continue_from(options, memory, session_id, base, fork=fork)
        tools = ClientTools(bare=self._profile.bare)
        cli = CliProcess(options, tools, partial(leftovers.remove, self._profile))
        process = LiveProcess(cli, memory, session_id, cost, tools, self._profile.extra.keys())
        if base is not None and not fork:
            process.tip = base.entry_uuid
        try:
            if settings is None:
                await cli.spawn()
            else:
                await process.begin(settings)
                self._models = cli.models
        except BaseException:
            await cli.kill()
            raise
        return process

    def _prepare(self, memory: MemoryKind, session_id: str) -> str:
        """Returns what the CLI's calls are known by."""
        work_dir = self._profile.work_dir(memory)
        work_dirs.make(self._profile.home, work_dir)
        private_folder(self._profile.temporary_dir)
        image_files.prevent(self._profile.temporary_dir, work_dir)
        if memory == "session":
            image_files.prevent_results(self._profile.transcript(session_id))
        self._sweep()
        return child_secret(self._profile.home)

    def _sweep(self) -> None:
        """Once."""
        if not self._swept:
            self._swept = True
            leftovers.sweep(self._profile)
            work_dirs.sweep()

    def _cost_before(self, memory: MemoryKind, base: Point | None) -> float:
        if memory == "continue":
            cwd, config = self._profile.work_dir(memory), self._profile.config_dir
            return cost_so_far(newest_transcript(config, cwd))
        if base is None:
            return 0.0
        return cost_at(self._profile.transcript(base.session_id), base.entry_uuid)

    def _options(
        self, settings: Settings | None, memory: MemoryKind, secret: str
    ) -> ClaudeAgentOptions:
        """Where `settings` is None it has yet to be told any. Neither the system prompt nor the
        schema is among them: a command line is short, and readable by all."""
        profile = self._profile
        options = ClaudeAgentOptions(
            cli_path=profile.cli,
            cwd=profile.work_dir(memory),
            env=child_environment(
                # The SDK hands on what the environment holds now, so that is what to blank.
                dict.fromkeys(os.environ, "") | dict(profile.inherited),
                client_tools.ENVIRONMENT
                | (environment(settings) if settings else {})
                | {"CLAUDE_CODE_TMPDIR": str(profile.temporary_dir)}
                | (_BARE if profile.bare else {}),
                profile.extra,
                secret=secret,
                retries=profile.retries,
            ),
            # Nothing on the command line; it is told with the first request.
            system_prompt={"type": "preset", "preset": "claude_code"},
            # No skills: the CLI would list them to whoever has a tool that is called Skill.
            extra_args={
                "disable-slash-commands": None,
                **({"bare": None} if profile.bare else {}),
            },
            # Nothing of the machine the bridge runs on is open to whoever writes the prompts.
            tools=[],
            allowed_tools=[f"mcp__{name}" for name in SERVERS],
            strict_mcp_config=True,
            setting_sources=[],
            verbatim_prompts=True,
            include_partial_messages=True,
            max_buffer_size=_LONGEST_LINE,
        )
        if settings is not None:
            options.model = api_name(settings.model, self._models)
            options.effort = settings.effort
            if settings.thinking is not None:
                options.thinking = {
                    "type": "enabled",
                    "budget_tokens": budget(settings.thinking),
                    "display": "summarized",
                }
        return options


async def try_settings(cli: Path | None, environment: Mapping[str, str]) -> None:
    """Has a process begin and told other settings, in a place of its own and without a call to any
    model. Raises `SettingRefused`, or another `BridgeError` where it does not even begin."""
    with TemporaryDirectory() as place:
        extra = {"CLAUDE_CONFIG_DIR": str(Path(place, "config"))}
        profile = ClaudeProfile(Path(place), cli, extra, 0, environment)
        process = await Launcher(profile).start(None, "none", str(uuid4()))
        try:
            await process.change(Settings(DEFAULT, "One."))
            tools = (Tool("look", "Looks.", {"type": "object"}),)
            await process.change(Settings(DEFAULT, "Two.", tools, "low", 100, Thinking()))
        finally:
            await process.cli.kill()
    await on_thread(work_dirs.sweep)


def _continue_from(
    options: ClaudeAgentOptions,
    memory: MemoryKind,
    session_id: str,
    base: Point | None,
    *,
    fork: bool,
) -> None:
    """A resume always names its tip, which leaves behind what an aborted turn may have written
    after it; a new session and a fork get the id we chose."""
    if memory == "continue":
        options.continue_conversation = True
    elif memory == "none":
        options.extra_args["no-session-persistence"] = None
    elif base is None:
        options.session_id = session_id
    else:
        options.resume, options.resume_session_at = base.session_id, base.entry_uuid
        options.fork_session = fork
        options.session_id = session_id if fork else None
