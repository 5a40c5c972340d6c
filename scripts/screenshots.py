"""Runs the demo and photographs mitmweb with a bridged flow open."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.async_api import Page, async_playwright

from sessionbridge.cli.demo import bridged_demo
from sessionbridge.cli.mitm import Mitm

PICTURES = Path(__file__).parent.parent / "addon" / "pictures"
SIZE = {"width": 1180, "height": 640}


async def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    async with bridged_demo() as mitm, async_playwright() as playwright:
        with tempfile.TemporaryDirectory() as profile:
            context = await playwright.chromium.launch_persistent_context(
                profile,
                executable_path=shutil.which("chromium"),
                args=["--no-sandbox", "--disable-background-networking", "--disable-sync"],
                viewport=SIZE,
            )
            page = context.pages[0]
            await photograph(page, mitm)
            await context.close()


async def photograph(page: Page, mitm: Mitm) -> None:
    await page.goto(mitm.web_url)
    await page.locator("tr", has_text="/v1/messages").nth(1).click()
    await page.get_by_text("Response", exact=True).first.click()
    await page.get_by_text("Your name is Bob.").first.wait_for()
    await page.screenshot(path=PICTURES / "mitmweb.png")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
