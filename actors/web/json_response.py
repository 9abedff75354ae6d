"""Answers in JSON, whatever the texts in them."""

import json

from starlette.responses import JSONResponse


class AnyJSONResponse(JSONResponse):
    """Starlette's fails on half a character (a lone surrogate), which a client or a remote model may have sent."""

    def render(self, content: object) -> bytes:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode("utf-8", "backslashreplace")  # to \ud83d, as JSON itself writes it
