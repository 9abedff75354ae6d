"""Stands in for vLLM's server: answers /health, has a child of its own, or fails as its model's name says."""

import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

from actors.servers.guard import die_with_owner


class _Healthy(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


if __name__ == "__main__":
    threading.Thread(target=die_with_owner, daemon=True).start()
    given = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=False))
    if given["--model"] == "too-large":
        sys.exit("loading weights\ntorch.OutOfMemoryError: CUDA out of memory")
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    if given["--model"] == "slow":
        time.sleep(600)
    HTTPServer((given["--host"], int(given["--port"])), _Healthy).serve_forever()
