"""A real browser for the tests of pages: headless Chromium, spoken to by its own debugging protocol."""

import asyncio
import shutil
import subprocess
from contextlib import asynccontextmanager

import aiohttp

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0",
)  # fmt: skip


class Tab:
    """One page; what the browser complained about and asked the network for is kept."""

    def __init__(self, socket):
        self._socket = socket
        self._next = 0
        self.complaints, self.requests = [], []

    async def call(self, method, **params):
        """Send a command and wait for its result."""
        self._next += 1
        await self._socket.send_json({"id": self._next, "method": method, "params": params})
        while True:
            message = await self._socket.receive_json()
            if message.get("id") == self._next:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def _note(self, message):
        if message["method"] in {"Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"}:
            self.complaints.append(message["params"])
        if message["method"] == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            if not url.startswith(("file:", "data:", "blob:")):
                self.requests.append(url)

    async def show(self, path, *, width, dark):
        """Open a file in a window of that width."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.call(f"{domain}.enable")
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        await self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.call("Emulation.setEmulatedMedia", features=scheme)
        await self.call("Page.navigate", url=path.as_uri())
        for _ in range(100):
            if (
                await self.run("document.readyState") == "complete"
                and await self.run("location.href") != "about:blank"
            ):
                break
            await asyncio.sleep(0.05)

    async def run(self, script):
        """The value of a script."""
        answer = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")


@asynccontextmanager
async def open_tab(profile):
    """A new browser with one tab; both are gone afterwards."""
    process = await asyncio.create_subprocess_exec(
        PROGRAM, *FLAGS, f"--user-data-dir={profile}", "about:blank",
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        port = await asyncio.wait_for(_port(process.stderr), timeout=30)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                tabs = await answer.json(content_type=None)
            address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
            async with session.ws_connect(address, max_msg_size=0) as socket:
                yield Tab(socket)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def _port(stream):
    async for line in stream:
        if b"DevTools listening on" in line:
            return int(line.partition(b"ws://127.0.0.1:")[2].partition(b"/")[0])
    raise AssertionError("the browser ended before it listened")
