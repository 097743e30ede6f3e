"""MCP servers as plugins of the runtime `mcp_stdio`, for tests.

This file is one of them, too, written by hand so that it can misbehave; it starts within a tenth
of the time that the SDK takes:

    python mcp_servers.py [--silent] [--exit CODE] [--crash] [--babble] [--old N]
                          [--ignore-term] [--slow-eof]
"""

# ruff: noqa: T201 - what a server prints is what it says

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trees import PluginTree

SDK_SERVER = '''
from mcp.server import MCPServer

app = MCPServer("calc", instructions="Calculates.")


@app.tool()
def add(a: int, b: int = 2) -> int:
    """Add two numbers."""
    return a + b


@app.tool()
def names(prefix: str) -> list[str]:
    return [prefix + "a", prefix + "b"]


@app.tool(name="tool.calc.execute")
def execute(args: dict[str, int]) -> dict[str, int]:
    return args


@app.tool()
def refuse(reason: str) -> str:
    from mcp.server.mcpserver.exceptions import ToolError

    raise ToolError(f"ValueError: {reason}")


@app.resource("calc://pi")
def pi() -> str:
    return "3.14"


@app.resource("calc://digits/{number}", mime_type="application/octet-stream")
def digits(number: str) -> bytes:
    return number.encode()


@app.prompt()
def explain(topic: str) -> str:
    return f"Explain {topic}."


app.run("stdio")
'''


def mcp_plugin(
    tree: PluginTree,
    name: str,
    *args: str,
    code: str | None = None,
    value: object = 1,
    kind: str = "tool",
    depends_on: Iterable[str] = (),
    manifest: str = "",
) -> Path:
    """Write a plugin whose process is this file, or the Python text `code`.

    Args:
        tree: where.
        name: its name, and its folder's.
        args: options of this file.
        code: the text of its `server.py` instead of this file's.
        value: what the tool `value` answers.
        kind: its kind.
        depends_on: names.
        manifest: further lines of the manifest.
    """
    folder = tree.root / name
    words = ["python", "server.py", *args]
    tree.write(
        folder / "dagstack.toml",
        f"""\
        [plugin]
        name = "{name}"
        kind = "{kind}"
        core_version = ">=0.1"
        runtime = "mcp_stdio"
        command = {json.dumps(words)}
        depends_on = {json.dumps([*depends_on])}
        """
        + manifest,
    )
    text = Path(__file__).read_text(encoding="utf-8") if code is None else code
    tree.write(folder / "server.py", text.replace("VALUE = " + "1", f"VALUE = {value!r}"))
    return folder


def is_running(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        if not Path("/proc/self/stat").exists():
            os.kill(pid, 0)
            return True
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


# The server

VALUE = 1

NUMBER = {"type": "integer"}
TEXT = {"type": "string"}
TOOLS: dict[str, dict[str, Any]] = {
    "value": {},
    "echo": {"text": TEXT, "times": {"type": "integer", "default": 1}},
    "pid": {},
    "where": {"variable": TEXT},
    "die": {"code": NUMBER},
    "raises": {"message": TEXT},
    "fails": {"message": TEXT},
    "hang": {},
    "cancelled": {},
    "print": {"text": TEXT},
    "complain": {"text": TEXT},
    "garble": {},
    "flood": {"lines": NUMBER},
    "child": {},
    "log": {"level": TEXT, "text": TEXT},
    "steps": {"count": NUMBER},
    "learn": {"tool": TEXT},
    "close": {},
    "from": {"class": TEXT},
    "setup": {},
    "lie": {},
}
OUTPUTS: dict[str, dict[str, Any]] = {
    "lie": {"outputSchema": {"type": "object", "properties": {"size": NUMBER}}}
}


class Server:
    def __init__(self, options: list[str]) -> None:
        self.options = options
        self.cancelled: list[int] = []
        self.lock = threading.Lock()

    def send(self, **message: Any) -> None:
        with self.lock:
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
            sys.stdout.flush()

    def serve(self) -> None:
        for line in sys.stdin:
            message = json.loads(line)
            if message["method"] == "notifications/cancelled":
                self.cancelled.append(message["params"]["requestId"])
            elif "id" in message:
                params = message.get("params", {})
                args = message["id"], message["method"], params
                threading.Thread(target=self.answer, args=args, daemon=True).start()
        if "--slow-eof" in self.options:
            time.sleep(60)

    def answer(self, number: int, method: str, params: dict[str, Any]) -> None:
        if method == "initialize":
            if "--silent" in self.options:
                return
            version = params["protocolVersion"]
            if "--old" in self.options:
                version = self.options[self.options.index("--old") + 1]
            self.send(
                id=number,
                result={
                    "protocolVersion": version,
                    "capabilities": {"tools": {"listChanged": True}},
                    "serverInfo": {"name": "odd", "version": "1"},
                },
            )
        elif method == "tools/list":
            tools = [
                {
                    "name": name,
                    "description": f"The tool {name}.",
                    "inputSchema": {
                        "type": "object",
                        "properties": properties,
                        "required": [k for k, v in properties.items() if "default" not in v],
                    },
                    **OUTPUTS.get(name, {}),
                }
                for name, properties in TOOLS.items()
            ]
            self.send(id=number, result={"tools": tools})
        elif method == "tools/call":
            self.call(number, params["name"], params.get("arguments", {}), params.get("_meta", {}))
        else:
            self.send(id=number, error={"code": -32601, "message": f"no method {method}"})

    def text(self, number: int, text: object, **more: Any) -> None:
        self.send(id=number, result={"content": [{"type": "text", "text": str(text)}], **more})

    def call(self, number: int, name: str, given: dict[str, Any], meta: dict[str, Any]) -> None:
        if name == "hang":
            return
        if name == "die":
            print("about to die", file=sys.stderr, flush=True)
            if given["code"] >= 0:
                os._exit(given["code"])
            os.kill(os.getpid(), -given["code"])
            return  # Another thread may get the signal, in its own time.
        if name == "close":
            os.close(1)
            return
        if name == "fails":
            data = {"type": "QuotaExceeded"}
            error = {"code": -32000, "message": given["message"], "data": data}
            self.send(id=number, error=error)
            return
        if name == "lie":
            self.text(number, "small", structuredContent={"size": "small"})
            return
        if name == "raises":
            self.text(number, given["message"], isError=True)
            return
        if name == "steps":
            for step in range(given["count"]):
                progress = {"progressToken": meta["progressToken"], "progress": step + 1}
                self.send(
                    method="notifications/progress", params={**progress, "total": given["count"]}
                )
        if name == "log":
            params = {"level": given["level"], "logger": "odd", "data": given["text"]}
            self.send(method="notifications/message", params=params)
        if name == "learn":
            TOOLS[given["tool"]] = {"text": TEXT}
            self.send(method="notifications/tools/list_changed")
        self.text(number, self.do(name, given))

    def do(self, name: str, given: dict[str, Any]) -> object:
        if name == "echo":
            return given["text"] * given.get("times", 1)
        if name == "pid":
            return os.getpid()
        if name == "where":
            return f"{Path.cwd()} {os.environ.get(given['variable'])}"
        if name == "cancelled":
            return json.dumps(self.cancelled)
        if name == "print":
            print(given["text"], flush=True)
        if name == "complain":
            print(given["text"], file=sys.stderr, flush=True)
        if name == "garble":
            sys.stdout.buffer.write(b"\xff\xfe\n")
            sys.stderr.buffer.write(b"caf\xe9\n")
            sys.stderr.flush()
        if name == "flood":
            for index in range(given["lines"]):
                print(f"{index} " + "x" * 5000, file=sys.stderr)
            sys.stderr.flush()
        if name == "child":
            return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"]).pid
        return VALUE if name == "value" else f"{name} {json.dumps(given)}"


def main(options: list[str]) -> None:
    if "--crash" in options:
        print("starting", file=sys.stderr)
        raise RuntimeError("no database")
    if "--exit" in options:
        raise SystemExit(int(options[options.index("--exit") + 1]))
    if "--babble" in options:
        print("Usage: nothing of MCP", flush=True)
    if "--ignore-term" in options:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Server(options).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
