"""A headless Chromium, spoken to over a pipe in its own protocol, and servers that it visits."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

import modicum as mo
from modicum.cli.evaluate import REPORT
from modicum.cli.fit import AUDIT
from modicum.data.simulate import simulate_markov
from modicum.serving.app import create_app
from modicum.serving.live import Live
from modicum.serving.pages import add_page
from modicum.serving.shell import Limits
from modicum.serving.source import Source
from modicum.serving.store import open_store

PATIENCE_S = 60.0

ON_PIPES = "import os, sys; r, w = map(int, sys.argv[1:3]); os.dup2(r, 3); os.dup2(w, 4); os.execv(sys.argv[3], sys.argv[3:])"
"""Put two descriptors where Chromium looks for its pipe, then become Chromium."""

TIMEOUT_MS = 60_000


class Browser:
    """One browser with one page; what the page complains of is kept in ``complaints``.

    Args:
        program: path of Chromium.
        profile: empty folder.
    """

    def __init__(self, program: str, profile: Path) -> None:
        reads, theirs = os.pipe()
        ours, writes = os.pipe()
        ours_high, theirs_high = (os.dup(x) for x in (ours, theirs))
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", ON_PIPES, str(ours_high), str(theirs_high), program),
                *("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"),
                *("--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run"),
                f"--user-data-dir={profile}",
            ],
            pass_fds=(ours_high, theirs_high),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for closed in (ours, theirs, ours_high, theirs_high):
            os.close(closed)
        self._reads, self._writes = os.fdopen(reads, "rb"), os.fdopen(writes, "wb", buffering=0)
        self._rest, self._last, self._session = b"", 0, ""
        self.complaints: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        found = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Audits", "Accessibility"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._writes.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                return answer["result"]
            self._notice(answer)

    def open(self, address: str) -> None:
        """Open an address in a new document, and wait until a view is shown."""
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=address)
        self.until("document.querySelector('nav a[aria-current]')")

    def size(self, width: int, height: int, *, dark: bool = False) -> None:
        """Take the size of a screen, at one pixel to a pixel."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[theme])

    def value(self, expression: str) -> Any:
        """Return what an expression is worth in the page; promises are waited for."""
        told = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until an expression is true in the page."""
        self.value(f"""new Promise((done, fail) => {{
            const started = performance.now();
            (function look() {{
                if ({expression}) done();
                else if (performance.now() - started > {TIMEOUT_MS}) fail(`never: {expression}`);
                else setTimeout(look, 10);
            }})();
        }})""")

    def press(self, key: str, *, times: int = 1) -> None:
        """Press a key by name, such as Tab, or by what it writes."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27}
        text = {"Enter": "\r"}.get(key, "")
        for _ in range(times):
            for kind in ("keyDown", "keyUp"):
                told = {"type": kind, "key": key, "windowsVirtualKeyCode": codes[key]}
                if text and kind == "keyDown":
                    told["text"] = text
                self.send("Input.dispatchKeyEvent", **told)

    def write(self, text: str) -> None:
        """Write into what has the focus."""
        self.send("Input.insertText", text=text)

    def screenshot(self, *, whole: bool = True) -> bytes:
        """Return a picture of the page as PNG."""
        told = self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        return base64.b64decode(told["data"])

    def close(self) -> None:
        """End the browser."""
        self._session = ""
        try:
            self.send("Browser.close")
        finally:
            self._reads.close()
            self._writes.close()
            self._process.wait(10)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._reads.fileno(), 1 << 16)
            assert more, "the browser has gone"
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _notice(self, event: dict[str, Any]) -> None:
        told = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.complaints.append(str(told["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if told["type"] in ("error", "warning", "assert"):
                self.complaints.append(str(told["args"]))
            case "Log.entryAdded" if told["entry"]["level"] in ("error", "warning"):
                self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url')}")
            case "Audits.issueAdded":
                self.complaints.append(str(told["issue"]))


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory):
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium on this machine")
    browser = Browser(program, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def browser(chromium: Browser):
    """A browser on a desk; a test that does not expect complaints fails by them."""
    chromium.size(1280, 800)
    chromium.complaints.clear()
    yield chromium
    assert chromium.complaints == []


@contextmanager
def _served(folder: Path, store: Path, *, runs: Path | None, **settings: Any):
    """Serve an export from a thread, at an address that is returned; a slow machine is waited for."""
    with ExitStack() as opened:
        histories = opened.enter_context(open_store(str(store), timeout_s=PATIENCE_S))
        live = opened.enter_context(Live(Source(folder), histories))
        app = create_app(live, Limits(budget_s=PATIENCE_S), **settings)
        add_page(app, runs=runs)
        config = uvicorn.Config(app, port=0, log_config=None, access_log=False, ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="session")
def served():
    return _served


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that can be compared, one that cannot, and folders that are none."""
    folder = tmp_path_factory.mktemp("runs")
    split = mo.split(simulate_markov(120, 30, events_per_user=12, span_days=60, seed=0).log)
    fitted = {
        "sasrec": mo.SASRec(dim=8, layers=1, heads=2, length=6, epochs=6),
        "popularity": mo.Popularity(),
    }
    for name, model in fitted.items():
        model.fit(split.train, progress=False)
        mo.evaluate(model, split.test, progress=False).save(folder / name / REPORT)
    split.audit.to_json(folder / "sasrec" / AUDIT)
    other = mo.evaluate(fitted["popularity"], split.validation, progress=False)
    other.save(folder / "other split <b>" / REPORT)
    (folder / "empty").mkdir()
    return folder


@pytest.fixture(scope="session")
def address(folder: Path, runs: Path, served: Any, tmp_path_factory: pytest.TempPathFactory):
    with served(folder, tmp_path_factory.mktemp("store") / "history.sqlite", runs=runs) as at:
        yield at
