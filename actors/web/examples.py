"""Examples of requests, by route. They are shown on `/docs` and in docs/service.md, and tests run them."""

URL = "http://127.0.0.1:8011"

CURL = {
    "/edit": f"""{{ printf '{{"prompt": "a red circle at the left", "seed": 7, "image": "'
  base64 < before.png | tr -d '\\n'
  printf '"}}'; }} | curl -s {URL}/edit --json @- -H 'Accept: image/png' -o new.png""",
    "/edit-upload": f"""curl -s {URL}/edit-upload -H 'Accept: image/png' -o new.png \\
  -F prompt='a red circle at the left' -F seed=7 -F image_file=@before.png""",
    "/v1/images/generations": f"""curl -s {URL}/v1/images/generations \\
  --json '{{"prompt": "a red circle at the left", "n": 2, "seed": 7}}'""",
    "/v1/images/edits": f"""curl -s {URL}/v1/images/edits \\
  -F prompt='a red circle at the left' -F seed=7 -F image=@before.png""",
    "/v1/interleave": f"""curl -sN {URL}/v1/interleave \\
  --json '{{"prompt": "Draw a red circle at the left, then a blue square at the top.", "tries": 3}}'""",
    "/v1/models": f"curl -s {URL}/v1/models",
    "/status": f"curl -s {URL}/status",
    "/metrics": f"curl -s {URL}/metrics",
    "/health": f"curl -s {URL}/health",
    "/openapi.json": f"curl -s {URL}/openapi.json",
}
"""With a key, add `-H "Authorization: Bearer $INTERLEAVE_API_KEY"`."""

_CLIENT = f"""import base64, os, pathlib
from openai import OpenAI

client = OpenAI(base_url="{URL}/v1", api_key=os.environ.get("INTERLEAVE_API_KEY", "none"))
"""
PYTHON = {
    "/v1/images/generations": _CLIENT
    + """made = client.images.generate(prompt="a red circle at the left", model="any", n=2, extra_body={"seed": 7})
for number, image in enumerate(made.data):
    pathlib.Path(f"{number}.png").write_bytes(base64.b64decode(image.b64_json))
""",
    "/v1/images/edits": _CLIENT
    + """with open("before.png", "rb") as before:
    made = client.images.edit(image=before, prompt="a red circle at the left", model="any", extra_body={"seed": 7})
pathlib.Path("new.png").write_bytes(base64.b64decode(made.data[0].b64_json))
""",
    "/v1/interleave": f"""import json
import httpx

asked = {{"prompt": "Draw a red circle at the left, then a blue square at the top."}}
with httpx.stream("POST", "{URL}/v1/interleave", json=asked, timeout=None) as story:
    for line in story.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            data = json.loads(line.removeprefix("data: "))
            print(name, data.get("instruction") or data.get("status") or "")
""",
}
