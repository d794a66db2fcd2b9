"""A headless Chromium for tests, driven over its debugging pipe: no driver, no socket, no further
package.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

BINARY = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (found := shutil.which(name))
    ),
    None,
)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
    "--force-color-profile=srgb",
]


class Browser:
    """One browser with one page at a time."""

    def __init__(self) -> None:
        self.profile = tempfile.mkdtemp()
        out_read, self.out = os.pipe()
        self.back, back_write = os.pipe()
        line = f'exec "$@" 3<&{out_read} 4>&{back_write}'
        self.process = subprocess.Popen(
            [
                "bash",
                "-c",
                line,
                "bash",
                str(BINARY),
                *FLAGS,
                f"--user-data-dir={self.profile}",
                "about:blank",
            ],
            pass_fds=(out_read, back_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(out_read)
        os.close(back_write)
        self.number, self.buffer, self.events, self.session = 0, b"", [], None
        target = next(
            one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page"
        )
        self.session = self.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """One command and its answer."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params} | (
            {"sessionId": self.session} if self.session else {}
        )
        os.write(self.out, json.dumps(message).encode() + b"\0")
        wanted = self.number
        while (answer := self._next(60)) is None or answer.get("id") != wanted:
            assert answer is not None, f"no answer to {method}"
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _next(self, seconds: float) -> dict[str, Any] | None:
        end = time.monotonic() + seconds
        while b"\0" not in self.buffer:
            if not select.select([self.back], [], [], max(end - time.monotonic(), 0))[0] or not (
                part := os.read(self.back, 1 << 20)
            ):
                return None
            self.buffer += part
        line, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(line)

    def open(self, path: Path, width: int = 1280, height: int = 800, scheme: str = "light") -> None:
        """Show a file at a window size; events are those of this page."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        self.events.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not any(one.get("method") == "Page.loadEventFired" for one in self.events):
            event = self._next(60)
            assert event is not None, "the page did not load"
            self.events.append(event)

    def requests(self) -> list[str]:
        """Addresses asked for since `open`, after half a second of rest; data inside the page is no
        request.
        """
        while event := self._next(0.5):
            self.events.append(event)
        return [
            one["params"]["request"]["url"]
            for one in self.events
            if one.get("method") == "Network.requestWillBeSent"
            and not one["params"]["request"]["url"].startswith("data:")
        ]

    def js(self, code: str) -> Any:
        """The value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=code, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def picture(self, path: Path, whole: bool = False) -> None:
        """A screenshot of the window or of the whole page."""
        path.write_bytes(
            base64.b64decode(
                self.call(
                    "Page.captureScreenshot",
                    captureBeyondViewport=whole,
                    format="png",
                    **(
                        {
                            "clip": {
                                **self.js(
                                    "({x: 0, y: 0, width: document.documentElement.scrollWidth,"
                                    " height: document.documentElement.scrollHeight, scale: 1})"
                                )
                            }
                        }
                        if whole
                        else {}
                    ),
                )["data"]
            )
        )

    def pdf(self, path: Path) -> None:
        """The page as printed on A4."""
        path.write_bytes(
            base64.b64decode(
                self.call(
                    "Page.printToPDF",
                    paperWidth=8.27,
                    paperHeight=11.69,
                    printBackground=False,
                    preferCSSPageSize=True,
                )["data"]
            )
        )

    def close(self) -> None:
        """End the browser and remove its profile."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        os.close(self.out)
        os.close(self.back)
        shutil.rmtree(self.profile, ignore_errors=True)
