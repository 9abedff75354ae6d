"""Functions that gather evidence, imported to see whether they can: a user's in a process of its own."""

from actors.user_functions.child import LOOK
from actors.user_functions.process import start
from rewards.compose import RewardError, TermConfig
from rewards.functions.evidence_loader import is_builtin_evidence_function, load_evidence_function
from rewards.functions.import_path import FunctionError, identity_of


def check_function(fn: str) -> str:
    """Return the function with a digest of its source; import a user-defined one elsewhere. Raises `RewardError`."""
    try:
        load_evidence_function(fn) if is_builtin_evidence_function(fn) else start(TermConfig(fn), LOOK).close()
        return identity_of(fn)
    except FunctionError as error:
        raise RewardError("import", fn, str(error)) from error
