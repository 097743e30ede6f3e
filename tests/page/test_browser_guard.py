"""What other sites try against the dev page in a real browser, which holds its cookie."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import pytest_asyncio
from browsing import browsing, launched, tab
from pages import paging, problem
from playwright.async_api import Browser, Error, expect
from trees import PluginTree

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("imports_forgotten"),
]

ANSWERS = """<!doctype html><script>
addEventListener("message", ({ data, source }) => source.postMessage(`${data}, too`, "*"));
</script>"""

ATTACK = """
async (page) => {
  const got = [];
  const done = (target, ...names) => Promise.race(
    names.map((name) => new Promise((go) => target.addEventListener(name, () => go(name)))));
  const element = (name, attributes) => {
    const made = Object.assign(document.createElement(name), attributes);
    document.body.append(made);
    return made;
  };
  for (const path of ["api/status", "main.js", ""]) {
    try {
      got.push(await (await fetch(page + path, { credentials: "include" })).text());
    } catch {}
  }
  for (const init of [
    { method: "POST", body: "{}", mode: "no-cors", credentials: "include" },
    { method: "POST", body: "{}", headers: { "Content-Type": "application/json" },
      credentials: "include" },
    { method: "PUT", body: "{}", credentials: "include" },
    { method: "POST", body: "{}", headers: { "Origin-Secret": "x" }, credentials: "include" },
  ]) {
    try {
      got.push(await (await fetch(page + "api/pause", init)).text());
    } catch {}
  }
  const stream = new EventSource(page + "api/events", { withCredentials: true });
  if (await done(stream, "open", "error") === "open") got.push("stream");
  stream.close();
  const script = element("script", { src: page + "main.js", type: "module" });
  if (await done(script, "load", "error") === "load") got.push("script");
  const image = element("img", { src: page + "favicon.svg" });
  if (await done(image, "load", "error") === "load") got.push("image");
  const tab = window.open(page);
  got.push(...Object.values(localStorage));
  const frame = element("iframe", { name: "frame", src: page });
  await done(frame, "load");
  const form = element("form", { method: "POST", action: page + "api/pause", target: "frame" });
  form.enctype = "text/plain";
  element("input", { name: '{"paused": true, "x": "', value: '"}' });
  form.append(document.querySelector("input"));
  form.submit();
  await done(frame, "load");
  const isBlank = () => {
    try { return !tab.closed && tab.location.href === "about:blank"; } catch { return false; }
  };
  while (isBlank()) await new Promise((go) => setTimeout(go, 10));
  for (const look of [() => tab.localStorage.length, () => tab.document.body.innerHTML]) {
    try { got.push(`${look()} of a tab`); } catch {}
  }
  return got.filter((each) => each);
}
"""

INJECTION = """
async () => {
  const attempts = [
    () => document.body.insertAdjacentHTML("beforeend", "<b class='injected'>bold</b>"),
    () => { document.body.innerHTML = "<b class='injected'>bold</b>"; },
    () => element("script", (made) => { made.textContent = "window.ran = 'script'"; }),
    () => element("script", (made) => { made.src = "data:text/javascript,window.ran = 'data'"; }),
    () => element("img", (made) => {
      made.setAttribute("onerror", "window.ran = 'handler'");
      made.src = "/none";
    }),
    () => element("a", (made) => { made.href = "javascript:window.ran = 'link'"; }).click(),
    () => element("style", (made) => { made.textContent = "body { display: none }"; }),
    () => element("iframe", (made) => { made.srcdoc = "<script>parent.ran = 'frame'</script>"; }),
    () => { window.ran = new Function("return 'eval'")(); },
    () => setTimeout("window.ran = 'timer'"),
  ];
  const element = (name, complete) => {
    const made = document.createElement(name);
    complete(made);
    return document.body.appendChild(made);
  };
  await new Promise((done) => setTimeout(done));  // After what a debugger may do.
  for (const each of attempts) {
    try { each(); } catch {}
  }
  await new Promise((done) => setTimeout(done));
}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """A browser for which a site of an attacker has the address of this machine."""
    async with launched("--host-resolver-rules=MAP attacker.example 127.0.0.1") as found:
        yield found


@contextmanager
def site(text: str, port: int = 0, sent: list[str] | None = None) -> Iterator[int]:
    """Another site of this machine, each page of which is `text`, for long; at which port.

    The cookies that it is sent are put into `sent`.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if sent is not None:
                sent.append(self.headers.get("Cookie", ""))
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Cache-Control", "max-age=3600, immutable")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


async def test_the_private_file_leads_to_the_page_and_leaves_no_token(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("one")
    async with paging(tree) as server, tab(browser, server.access.file.as_uri()) as opened:
        page = opened.page
        await page.wait_for_url(f"{server.access.url}**")
        await expect(page.locator("body")).to_contain_text("one")
        values = "location.href, document.referrer, document.cookie, document.body.outerHTML"
        kept = "JSON.stringify([localStorage, sessionStorage, performance.getEntries()])"
        went = "navigation.entries().map(({ url }) => url).join()"
        seen = await page.evaluate(f"[{values}, {kept}, {went}]")
        assert seen[1:3] == ["", ""]
        assert server.access.url in seen[-1]
        assert not [each for each in seen if server.access.token in each]
        (cookie,) = await page.context.cookies()
        assert cookie["value"] == server.access.session
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        assert cookie["expires"] == -1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "attacker.example"])
async def test_another_site_gets_nothing_though_the_browser_has_the_cookie(
    browser: Browser, tree: PluginTree, host: str
) -> None:
    tree.plugin("one")
    async with browsing(browser, tree) as (server, opened):
        await expect(opened.page.locator("body")).to_contain_text("one")
        with site("<!doctype html><body>") as port:
            attacker = await opened.page.context.new_page()
            await attacker.goto(f"http://{host}:{port}/")
            assert await attacker.evaluate(ATTACK, server.access.url) == []
            _, frame = attacker.frames
            await frame.wait_for_url("chrome-error://chromewebdata/", wait_until="commit")
        assert not server.live.server.is_paused
        assert (await server.asked("GET", "/api/status", server.admitted)).status == 200


async def test_the_cookie_that_another_port_is_sent_does_not_let_it_in(
    browser: Browser, tree: PluginTree
) -> None:
    """Cookies ignore ports: a server at another one gets them, and is no browser."""
    tree.plugin("one")
    async with browsing(browser, tree) as (server, opened):
        sent = list[str]()
        with site("<!doctype html><body>", sent=sent) as port:
            other = await opened.page.context.new_page()
            await other.goto(f"http://127.0.0.1:{port}/")
        assert server.cookie["Cookie"] in sent[0]
        origin = server.access.url.rstrip("/")
        forged = {"Cookie": sent[0], "Origin": origin, "Sec-Fetch-Site": "same-origin"}
        for target in ("/api/status", "/api/events", "/api/logs/stream", "/api/openapi.json"):
            for more in ({}, {"Origin-Secret": server.access.session}):
                answer = await server.asked("GET", target, forged | more)
                assert problem(answer) == (401, "not-admitted")
        answer = await server.asked("POST", "/api/pause", forged, b"{}")
        assert problem(answer) == (401, "not-admitted")
        assert not server.live.server.is_paused


async def test_other_tabs_need_no_token_and_links_of_other_sites_change_nothing(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("one")
    async with browsing(browser, tree) as (server, opened):
        page, name = opened.page, opened.page.locator("td.c-name")
        await page.reload()
        await expect(name).to_have_text(["one"])
        async with page.context.expect_page() as linked:
            await name.get_by_role("link").click(button="middle")
        await expect((await linked.value).get_by_text("what runs is on disk")).to_be_visible()
        bookmarked = await page.context.new_page()
        await bookmarked.goto(f"{server.access.url}#/errors")
        await expect(bookmarked.locator(".situation")).to_contain_text("current")
        old = await page.context.new_page()
        await old.goto(f"{server.access.url}?token=x")
        await expect(old.locator(".situation")).to_contain_text("current")
        assert old.url == server.access.url
        for path in ("?token=x", "?origin-secret=x", "#origin-secret=x"):
            with site(f'<!doctype html><a href="{server.access.url}{path}">here</a>') as port:
                await page.goto(f"http://attacker.example:{port}/")
                await page.get_by_role("link").click()
                await page.wait_for_url(f"{server.access.url}**")
        await expect(page.locator(".situation")).to_contain_text("current")
        opened.complaints.clear()  # The first link is refused.


async def test_what_another_server_has_left_at_the_port_is_not_the_page(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("one")
    async with paging(tree) as server:
        port = server.access.port
    left = "<!doctype html><body>one of theirs"
    with site(left, port):
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(f"http://127.0.0.1:{port}/")
        await expect(page.locator("body")).to_have_text("one of theirs")
    async with paging(tree) as server:
        assert server.access.port == port
        await page.goto(server.access.address)
        await expect(page.locator("td.c-name")).to_have_text(["one"])
        await context.close()


async def test_a_name_that_leads_to_this_machine_is_no_way_in(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("one")
    async with browsing(browser, tree) as (server, opened):
        attacker = await opened.page.context.new_page()
        for path in ("", f"?token={server.access.token}", "main.js", "api/status"):
            answer = await attacker.goto(f"http://attacker.example:{server.access.port}/{path}")
            assert answer is not None
            assert answer.status == 403
        assert len(await opened.page.context.cookies()) == 1


async def test_nothing_runs_or_is_fetched_but_what_the_page_brings(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("one")
    async with browsing(browser, tree) as (_, opened):
        page = opened.page
        await expect(page.locator("body")).to_contain_text("one")
        await page.evaluate(INJECTION)
        with site("") as port, pytest.raises(Error, match="Failed to fetch"):
            await page.evaluate(f"fetch('http://127.0.0.1:{port}/', {{ mode: 'no-cors' }})")
        assert await page.evaluate("window.ran") is None
        await expect(page.locator("body")).to_be_visible()
        await expect(page.locator(".injected")).to_have_count(0)
        assert [each for each in opened.complaints if "Content Security Policy" in each]
        opened.complaints.clear()


async def test_a_tab_that_the_page_opens_can_be_sent_a_trace(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("one")
    async with browsing(browser, tree) as (_, opened):
        with site(ANSWERS) as port:
            answer = await opened.page.evaluate(
                """async (viewer) => {
                  const answer = new Promise((go) => {
                    addEventListener("message", ({ data }) => go(data), { once: true });
                  });
                  const tab = window.open(viewer);
                  const timer = setInterval(() => tab.postMessage("here", "*"), 20);
                  return await answer.finally(() => clearInterval(timer));
                }""",
                f"http://127.0.0.1:{port}/",
            )
        assert answer == "here, too"
