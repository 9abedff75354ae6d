"""Stands in for an OpenAI-compatible images server: MODEL HOST PORT FILE, and a key in VLLM_API_KEY.

Every image is of one colour: how often the server was started, counted in FILE; 1 for an edit; and the seed. It does
not start while there is a FILE.hold.
"""

import base64
import io
import json
import os
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image


class _Images(BaseHTTPRequestHandler):
    tint = 0

    def do_GET(self):
        self._say(200, {})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != f"Bearer {os.environ['VLLM_API_KEY']}":
            return self._say(401, {"error": {"message": "no such key"}})
        is_edit = self.path == "/v1/images/edits"
        (seed,) = re.findall(rb'"seed"\D*(\d+)', body)
        image = io.BytesIO()
        Image.new("RGB", (64, 64), (self.tint, is_edit, int(seed))).save(image, format="PNG")
        self._say(200, {"created": 0, "data": [{"b64_json": base64.b64encode(image.getvalue()).decode()}]})

    def _say(self, status, answer):
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    model, host, port, file = sys.argv[1:]
    while os.path.exists(f"{file}.hold"):
        time.sleep(0.05)
    with open(file, "a+") as starts:
        starts.write("x")
        _Images.tint = starts.tell()
    print(f"serving {model}", flush=True)
    ThreadingHTTPServer((host, int(port)), _Images).serve_forever()
