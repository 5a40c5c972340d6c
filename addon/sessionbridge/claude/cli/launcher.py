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

import os
from functools import partial
from pathlib import Path
from uuid import uuid4

from claude_agent_sdk import ClaudeAgentOptions
from claude_agent_sdk.types import (
    ThinkingConfig,
    ThinkingConfigAdaptive,
    ThinkingConfigDisabled,
    ThinkingConfigEnabled,
)

from sessionbridge.claude.catalog import Model
from sessionbridge.claude.cli import image_files, leftovers
from sessionbridge.claude.cli.child_mark import child_secret
from sessionbridge.claude.cli.environment import child_environment
from sessionbridge.claude.cli.live_process import LiveProcess
from sessionbridge.claude.cli.process import CliProcess
from sessionbridge.claude.cli.settings import MAX_TOKENS
from sessionbridge.claude.job import Mode, Settings
from sessionbridge.claude.profile import ClaudeProfile
from sessionbridge.claude.tools import client_tools
from sessionbridge.claude.tools.client_tools import SERVER, SERVERS, ClientTools
from sessionbridge.claude.transcript.files import (
    cost_at,
    cost_so_far,
    newest_transcript,
)
from sessionbridge.disk import on_thread, private, private_folder
from sessionbridge.model import Point, Thinking

_LONGEST_LINE = 16 * 1024 * 1024
"""Characters. The longest that the CLI has to say is an answer: 128,000 tokens are some 500 KB, and
six times that where all of it has to be escaped."""

_BARE = {"CLAUDE_CODE_ATTRIBUTION_HEADER": "0"}
"""Or a line about the version stands before the system prompt."""


class Launcher:
    """`version` is that of the CLI that was started last, `models` are those that it offers."""

    def __init__(self, profile: ClaudeProfile) -> None:
        self._profile = profile
        self.version: str | None = None
        self.models: tuple[Model, ...] = ()
        self._swept = False

    async def start(
        self,
        mode: Mode,
        settings: Settings,
        session_id: str,
        base: Point | None = None,
        *,
        fork: bool = False,
    ) -> LiveProcess:
        """Returns when it is ready to be asked. Raises `SessionLost` where `base` is gone."""
        cost = await on_thread(lambda: self._cost_before(mode, base))
        prompt_file = self._profile.home / "run" / f"system-{uuid4()}.txt"
        tools = ClientTools(settings.tools, bare=self._profile.bare)
        secret = await on_thread(lambda: child_secret(self._profile.home))
        options = self._options(mode, settings, prompt_file, secret)
        options.mcp_servers = {SERVER: tools.config}
        options.allowed_tools = [f"mcp__{name}" for name in SERVERS]
        _continue_from(options, mode, session_id, base, fork=fork)
        cli = CliProcess(options, mode.schema, partial(leftovers.remove, self._profile))
        try:
            try:
                await on_thread(lambda: self._prepare(mode, settings, session_id, prompt_file))
                self.version = await cli.start()
                self.models = cli.models
            finally:
                # It has been read, or never will be.
                await on_thread(lambda: prompt_file.unlink(missing_ok=True))
        except BaseException:
            await cli.kill()
            raise
        return LiveProcess(cli, mode, settings, session_id, cost, tools)

    def _prepare(self, mode: Mode, settings: Settings, session_id: str, prompt_file: Path) -> None:
        """Writes the system prompt to a file: a command line is short, and readable by all."""
        work_dir = self._profile.work_dir(mode.memory)
        private_folder(work_dir)
        private_folder(self._profile.temporary_dir)
        image_files.prevent(self._profile.temporary_dir, work_dir)
        if mode.memory == "session":
            image_files.prevent_results(self._profile.transcript(session_id))
        private_folder(prompt_file.parent)
        self._sweep()
        with open(prompt_file, "xb", opener=private) as file:
            file.write(settings.system.encode())

    def _sweep(self) -> None:
        """Once."""
        if not self._swept:
            self._swept = True
            leftovers.sweep(self._profile)

    def _cost_before(self, mode: Mode, base: Point | None) -> float:
        if mode.memory == "continue":
            cwd, config = self._profile.work_dir(mode.memory), self._profile.config_dir
            return cost_so_far(newest_transcript(config, cwd))
        if base is None:
            return 0.0
        return cost_at(self._profile.transcript(base.session_id), base.entry_uuid)

    def _options(
        self, mode: Mode, settings: Settings, prompt_file: Path, secret: str
    ) -> ClaudeAgentOptions:
        profile = self._profile
        return ClaudeAgentOptions(
            cli_path=profile.cli,
            cwd=profile.work_dir(mode.memory),
            env=child_environment(
                # The SDK hands on what the environment holds now, so that is what to blank.
                dict.fromkeys(os.environ, "") | dict(profile.inherited),
                _chosen_for(mode, settings)
                | {"CLAUDE_CODE_TMPDIR": str(profile.temporary_dir)}
                | (_BARE if profile.bare else {}),
                profile.extra,
                secret=secret,
                retries=profile.retries,
            ),
            model=mode.model,
            system_prompt={"type": "file", "path": str(prompt_file)},
            # Or a session keeps the system prompt it began with, whatever comes later (measured
            # with 2.1.332).
            # No skills: the CLI would list them to whoever has a tool that is called Skill.
            extra_args={
                "system-prompt-snapshot": "off",
                "disable-slash-commands": None,
                **({"bare": None} if profile.bare else {}),
            },
            # Nothing of the machine the bridge runs on is open to whoever writes the prompts.
            tools=[],
            strict_mcp_config=True,
            setting_sources=[],
            verbatim_prompts=True,
            include_partial_messages=True,
            max_buffer_size=_LONGEST_LINE,
            thinking=_thinking(mode.thinking),
            effort=settings.effort,
        )


def _chosen_for(mode: Mode, settings: Settings) -> dict[str, str]:
    """The environment that only this kind of process gets."""
    chosen = dict(client_tools.ENVIRONMENT)
    if mode.thinking is None:
        # Told to disable it, the CLI has the 5.5 models think all the same (measured with 2.1.332).
        chosen["CLAUDE_CODE_DISABLE_THINKING"] = "1"
    if not mode.compaction:
        chosen["DISABLE_AUTO_COMPACT"] = "1"
    if settings.max_tokens is not None:
        chosen[MAX_TOKENS] = str(settings.max_tokens)
    return chosen


def _thinking(thinking: Thinking | None) -> ThinkingConfig:
    """Models that think as they see fit are not bound by a budget: for those the CLI drops it."""
    if thinking is None:
        return ThinkingConfigDisabled(type="disabled")
    if thinking.budget is None:
        return ThinkingConfigAdaptive(type="adaptive", display="summarized")
    return ThinkingConfigEnabled(
        type="enabled", budget_tokens=thinking.budget, display="summarized"
    )


def _continue_from(
    options: ClaudeAgentOptions, mode: Mode, session_id: str, base: Point | None, *, fork: bool
) -> None:
    """A resume always names its tip, which leaves behind what an aborted turn may have written
    after it; a new session and a fork get the id we chose."""
    if mode.memory == "continue":
        options.continue_conversation = True
    elif mode.memory == "none":
        options.extra_args["no-session-persistence"] = None
    elif base is None:
        options.session_id = session_id
    else:
        options.resume, options.resume_session_at = base.session_id, base.entry_uuid
        options.fork_session = fork
        options.session_id = session_id if fork else None
