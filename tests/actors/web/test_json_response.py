"""An answer holds whatever text a client or a remote model sent."""

import json

from actors.web.json_response import AnyJSONResponse


def test_half_a_character_is_escaped_and_whole_ones_are_not():
    body = AnyJSONResponse({"caf\xe9 \ud83d": ["\U0001f408", "\udc08"]}).body
    assert body == '{"café \\ud83d":["🐈","\\udc08"]}'.encode()
    assert json.loads(bytes(body)) == {"caf\xe9 \ud83d": ["\U0001f408", "\udc08"]}
