"""A headless Chromium, controlled over the DevTools protocol."""

import base64
import contextlib
import itertools
import json
import os
import shutil

import websocket

from helpers.processes import Process

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


class Tab:
    """A tab, with a record of its requests and of its errors and console messages."""

    def __init__(self, socket):
        self.socket, self.numbers, self.session = socket, itertools.count(1), None
        self.requests, self.messages, self.events = [], [], []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log", "Accessibility"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.socket.send(json.dumps(message))
        while True:
            answer = self.receive()
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer)
                return answer["result"]

    def receive(self):
        message = json.loads(self.socket.recv())
        method, parameters = message.get("method"), message.get("params")
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
            self.messages.append(parameters)
        if method:
            self.events.append(method)
        return message

    def open(self, url, *, width=1280, height=900, scheme="light", script=True, media=""):
        """Loads a page with these settings of the browser."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", media=media,
                  features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Emulation.setScriptExecutionDisabled", value=not script)
        self.events.clear()
        self.call("Page.navigate", url=url)
        while "Page.loadEventFired" not in self.events:
            self.receive()

    def run(self, script):
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, file):
        """Writes the whole page as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(shot["data"]))

    def accessibility_tree(self):
        """What a screen reader reads: [(role, name)]."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes
                if not node.get("ignored") and "role" in node]


@contextlib.contextmanager
def chromium(folder):
    """A context: a function that opens a tab."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    assert program, f"none of {NAMES} is installed: run tests/tools/setup"
    # Chromium's sandbox works neither for root nor in most containers; it loads nothing but the exporter's pages.
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
             "--no-first-run", "--disable-background-networking", "--force-color-profile=srgb"]
    command = [program, *flags, "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    with Process(command, environment) as process, contextlib.ExitStack() as sockets:
        address = process.printed(r"DevTools listening on (ws://\S+)")[1]

        def open_tab():
            # Chromium refuses a connection that names an origin.
            socket = websocket.create_connection(address, timeout=60, suppress_origin=True)
            return Tab(sockets.enter_context(contextlib.closing(socket)))
        yield open_tab
