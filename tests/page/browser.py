"""A headless Chromium, spoken to over its own protocol."""

import base64
import contextlib
import itertools
import json
import shutil

import stage
import websocket

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


class Tab:
    """A page of its own, with a record of what it asked for and complained of."""

    def __init__(self, socket):
        self.socket, self.numbers, self.session = socket, itertools.count(1), None
        self.requests, self.complaints, self.events = [], [], []
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
            self.complaints.append(parameters)
        if method:
            self.events.append(method)
        return message

    def open(self, url, *, width=1280, height=900, scheme="light", script=True, media=""):
        """Loads a page as this reader sees it."""
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

    def picture(self, file):
        """The whole page, as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(shot["data"]))

    def heard(self):
        """What a screen reader meets: (role, name), without what has neither."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes
                if not node.get("ignored") and "role" in node]


@contextlib.contextmanager
def chromium(folder):
    """Opens tabs, until the end."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    assert program, f"none of {NAMES} is there: tests/setup fetches the first"
    folder.mkdir(parents=True)
    # Chromium's sandbox does not work for root, nor in most containers; it meets the exporter's page alone.
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
             "--no-first-run", "--disable-background-networking", "--force-color-profile=srgb"]
    with stage.running(program, *flags, "--remote-debugging-port=0", f"--user-data-dir={folder / 'profile'}",
                       "about:blank", log=folder / "log", HOME=str(folder)) as process:
        address = stage.said(process, folder / "log", r"DevTools listening on (ws://\S+)")[1]
        sockets = []

        def tab():
            # Chromium refuses a connection that names an origin.
            sockets.append(websocket.create_connection(address, timeout=60, suppress_origin=True))
            return Tab(sockets[-1])
        yield tab
        for one in sockets:
            one.close()
