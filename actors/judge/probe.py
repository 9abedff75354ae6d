"""One question to each endpoint of a run's judges before anything starts: it finds wrong keys, models and addresses.

The question is asked beside the run: it is on no bill, counts against no budget, and its answer is kept nowhere.
"""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from actors.judge.config import JudgeConfig
from actors.judge.judge import kind_of
from actors.judge.openai_asker import arguments_of
from actors.metered.answers import field_of, text_of
from actors.metered.config import EndpointConfig
from actors.metered.connections import Secret, connect, read_key, url_of
from actors.metered.endpoints import Endpoint
from actors.metered.environment import without_login
from actors.metered.http_faults import fault_at
from actors.metered.retry import Fault
from actors.notice import notify
from actors.store.image_files import image_part, png_of
from rewards.judging.rubric import RubricError

TIMEOUT_S, SILENCE_S = 10.0, 8.0
"""For all endpoints together, which are asked at once; and for a connection, or an answer on it."""
_PASSING = frozenset({"timeout", "rate_limit", "server_error"})
"""Faults that a slow or busy endpoint has too: they are told, and the run starts."""
_HINTS = {
    "unauthorized": "set {key} to a valid key",
    "forbidden": "ask for access to the model, or set {key} to another key",
    "no_quota": "fill up the account of {key}",
    "not_found": "check {where}.model and {where}.base_url (most end in /v1)",
    "redirected": "check {where}.base_url",
    "bad_request": "check {where}.model and {judge}.call",
    "unreachable": "is the server up? check {where}.base_url",
    "unreadable": "check {where}.base_url (most end in /v1) and {judge}.call",
    "connection": "does the server speak this protocol? check {where}.base_url",
}
_SIDE = 64
"""Pixels: some models take no smaller images."""


@dataclass(frozen=True)
class Probe:
    """The question to one endpoint."""

    judge: str
    """The judge's section of the recipe."""
    where: str
    """The endpoint's own."""
    endpoint: EndpointConfig
    call: Mapping[str, object]
    has_image: bool

    async def ask(self) -> Fault | None:
        """Return what is wrong; None where nothing is."""
        connected = connect(self.endpoint, self.key(), SILENCE_S)
        try:
            async with asyncio.timeout(TIMEOUT_S), connected.connection:
                fault = await self._ask(connected)
                return await self._ask(connected) if fault and fault.kind == "connection" else fault
        except TimeoutError:
            return Fault("timeout", f"no answer within {TIMEOUT_S:g} s")

    def key(self) -> Secret:
        """Return the endpoint's key. Raises ValueError where it is missing."""
        return read_key(self.endpoint.api_key_env, self.judge)

    async def _ask(self, connected: Endpoint) -> Fault | None:
        completion = None
        try:
            completion = await connected.connection.chat.completions.create(
                model=self.endpoint.model,
                messages=[{"role": "user", "content": _content(self.has_image)}],
                **self.call,
            )
            text_of(completion)
        except Exception as error:
            # A refusal, say, or nothing but a thought: what the model answers is no matter here.
            is_answered = isinstance(error, RubricError) and bool(field_of(completion, "choices"))
            return None if is_answered else fault_at(connected, error)
        return None

    def sentence(self, fault: Fault) -> str:
        """Return a fault in one line, with what to do."""
        key = self.endpoint.api_key_env
        hint = _HINTS.get(fault.kind, "").format(key=key, where=self.where, judge=self.judge)
        said, url = " ".join(fault.error.split()), without_login(url_of(self.endpoint))
        who = repr(self.endpoint.model) if self.endpoint.model else "the service"
        return (
            f"{self.where}: cannot ask {who} at {url} {f'with the key in {key}' if key else 'without a key'}: "
            f"{fault.kind}: {said}{hint and '; '}{hint}"
        )


async def ask_judges(
    judges: Mapping[str, JudgeConfig], *, without_images: Collection[str] = ()
) -> list[tuple[Probe, Fault | None]]:
    """Ask each endpoint of the judges a question, all at once, and return what is wrong with each; None: nothing.

    `judges` is keyed by their sections of the recipe. Judges whose `probe` is off, and those that the run serves
    itself, are not asked.
    """
    probes = [probe for where, judge in judges.items() for probe in _probes(where, judge, where not in without_images)]
    faults = await asyncio.gather(*(probe.ask() for probe in probes))
    return list(zip(probes, faults, strict=True))


async def probe_judges(judges: Mapping[str, JudgeConfig], *, without_images: Collection[str] = ()) -> None:
    """Ask the judges as `ask_judges` does. Raises ValueError with a line for each endpoint that cannot work.

    One that is slow or overloaded is told on stderr.
    """
    check_answers(await ask_judges(judges, without_images=without_images))


def check_answers(asked: Sequence[tuple[Probe, Fault | None]]) -> None:
    """Raise ValueError for endpoints that cannot work, and tell of those that are slow, as `probe_judges` does."""
    wrong = []
    for probe, fault in asked:
        if fault is not None and fault.kind in _PASSING:
            notify(f"{probe.sentence(fault)}; starting all the same")
        elif fault is not None:
            wrong.append((probe, probe.sentence(fault)))
    if wrong:
        raise ValueError(
            "\n".join(f"{line} ({probe.judge}.probe=false starts without asking)" for probe, line in wrong)
        )


def _probes(where: str, judge: JudgeConfig, has_image: bool) -> Iterator[Probe]:
    if not judge.probe:
        return
    for number, member in enumerate(judge.member_configs):
        yield from _probes(f"{where}.members.{number}", member, has_image)
    for number, endpoint in enumerate(kind_of(judge).endpoints(judge)):
        place = f"{where}.endpoints.{number}" if judge.endpoints else where
        yield Probe(where, place, endpoint, arguments_of(judge), has_image)


def _content(has_image: bool) -> list[dict[str, object]]:
    parts: list[dict[str, object]] = [{"type": "text", "text": "Answer with the one word: ready"}]
    if has_image:
        parts.insert(0, image_part(png_of(Image.new("RGB", (_SIDE, _SIDE), "white"))))
    return parts
