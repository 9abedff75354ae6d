"""split.side: a function of the user's own says whether a step trains or is held out."""

from pathlib import Path

from actors.store.store import Store
from data.build.candidates import SideOfStep
from data.split import SIDES
from rewards.compose import raised, why_not_loaded
from rewards.functions.import_path import anchored, load_function
from rollout.text.foreign import value_text


def side_of_step(path: str, store: Store) -> SideOfStep:
    """Return the recipe's function, given images in place of their references. Raises ValueError, and so does that."""
    try:
        function = load_function(anchored(path, Path.cwd()))
    except Exception as error:
        raise ValueError(f"split.side is {path!r}: {why_not_loaded(error)}") from error

    def side(before: str | None, instruction: str) -> str:
        image = None if before is None else store.get_image(before)
        try:
            answer = function(image, instruction)
        except Exception as error:
            raise ValueError(f"split.side is {path!r}, which {raised(error)}") from error
        if not isinstance(answer, str) or answer not in SIDES:
            found = value_text(answer)
            raise ValueError(f"split.side is {path!r}, which returned {found}; expected {' or '.join(SIDES)}")
        return answer

    return side
