"""The command line that `run` and `demo` start mitmweb with."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx

from sessionbridge.cli.mitm import Mitm
from tests.support.proxy import environment, free_port, stop, wait_for


def test_it_holds_no_password_and_mitmweb_takes_it(tmp_path: Path) -> None:
    mitm = Mitm(tmp_path / "bridge", False, free_port(), free_port(), tmp_path / "mitm")
    command = mitm.command()
    assert mitm.password not in " ".join(command)
    log = tmp_path / "mitmweb.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment(tmp_path), stdout=output, stderr=output
        )
    try:
        wait_for(lambda: "Web server listening" in log.read_text(), "mitmweb to listen", timeout=60)
        with httpx.Client(trust_env=False) as browser:
            assert browser.get(f"http://127.0.0.1:{mitm.web_port}/").status_code == 403
            assert browser.get(mitm.web_url).status_code == 200
        assert mitm.password not in log.read_text()
    finally:
        stop(process)
