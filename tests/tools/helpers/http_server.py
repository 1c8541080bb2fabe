"""Small HTTP servers on loopback, in threads of the test."""

import contextlib
import http.server
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with whole bodies and logs nothing. `self.server` has the values that `serve` was given."""

    def request_body(self):
        return self.rfile.read(int(self.headers["Content-Length"]))

    def answer(self, body, content_type="text/plain", status=200):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serve(handler, **values):
    """A server with these values as attributes, and `url` and `address`."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.address = f"127.0.0.1:{server.server_port}"
    server.url = f"http://{server.address}"
    vars(server).update(values)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
