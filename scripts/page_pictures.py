"""Takes the pictures of the dev page, docs/page-*.png, of the real page in a real browser.

    .venv/bin/python scripts/page_pictures.py

Nothing in them is made up: the command runs on a copy of the playground, in which files are edited.
Run it again when the looks of the page have changed. It needs Chromium.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.picture import ROOT, Session, copy_playground

WIDTH, HEIGHT = 1200, 640
BYTES_LIMIT = 150_000
"""Of each picture: they are loaded by everybody who reads the docs."""

REPORT = """\
class Report:
    def setup(self, ctx) -> None:
        self.columns = self._columns(ctx.config)

    def _columns(self, config) -> list[str]:
        return config["columns"].split(",")
"""


def take(page: Page, name: str) -> None:
    """Write the picture docs/page-NAME.png."""
    target = ROOT / f"docs/page-{name}.png"
    page.screenshot(path=target, animations="disabled")
    size = target.stat().st_size
    if size > BYTES_LIMIT:
        message = f"{target} has {size} bytes, more than {BYTES_LIMIT}"
        raise ValueError(message)
    print(target.relative_to(ROOT), f"{size / 1000:.0f} kB")


def new_plugin(folder: Path, name: str, code: str, needs: str) -> None:
    """Write a plugin of the kind "tool"."""
    (folder / name).mkdir()
    (folder / name / "plugin.py").write_text(code, encoding="utf-8")
    (folder / name / "dagstack.toml").write_text(
        f'[plugin]\nname = "{name}"\nkind = "tool"\ncore_version = ">=0.1.0,<1.0.0"\n'
        f'runtime = "in_process"\nentry_point = "plugin:Report"\ndepends_on = ["{needs}"]\n',
        encoding="utf-8",
    )


def play(folder: Path, session: Session, page: Page) -> None:
    """Edit files while the command runs, and look at the page."""
    plugins = folder / "plugins"
    greeter = plugins / "greeter/plugin.py"
    code = greeter.read_text(encoding="utf-8")
    session.wait_for("token=")
    (address,) = re.findall(r"http://\S+token=[\w-]+", session.seen)
    page.goto(address)
    news = page.get_by_role("contentinfo")
    expect(page.locator(".situation")).to_contain_text("current")
    greeter.write_text(code.replace('"Hello"', '"Ahoy"'), encoding="utf-8")
    expect(news).to_contain_text("job/greeter reloaded")
    page.keyboard.press("t")
    expect(page.get_by_role("main")).to_contain_text("plugin.py changed")
    take(page, "timeline")
    page.keyboard.press("g")
    expect(page.locator("canvas")).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text("of 10")
    take(page, "graph")
    page.keyboard.press("i")
    page.get_by_role("link", name="greeter").click()
    page.locator("summary", has_text="greet").click()
    page.get_by_role("button", name="Call", exact=True).click()
    expect(page.locator("output")).to_contain_text("Ahoy")
    page.locator("summary", has_text="Generation 2").click()
    take(page, "plugin")
    new_plugin(plugins, "report", REPORT, "settings")
    new_plugin(plugins, "mailing", REPORT, "report")
    broken = code.replace("def setup(self, ctx: PluginContext) -> None:", "def setup(self")
    greeter.write_text(broken, encoding="utf-8")
    page.keyboard.press("i")
    expect(page.locator("[id='row-tool/mailing']")).to_contain_text("blocked")
    expect(page.locator("[id='row-job/greeter']")).to_contain_text("SyntaxError")
    take(page, "inventory")
    page.keyboard.press("e")
    expect(page.get_by_role("article")).to_have_count(2)
    take(page, "errors")


def main() -> None:
    """Take all pictures."""
    path = shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        copy_playground(Path(folder))
        session = Session(Path(folder), "--page")
        try:
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            play(Path(folder), session, page)
        finally:
            session.stop()
            browser.close()


if __name__ == "__main__":
    main()
