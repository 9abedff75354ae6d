"""A worker's end of a publish: blocks into vLLM's model, and the model compared with what was sent."""

import math
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch

from actors.weights.blocks import Piece, read
from actors.weights.checksum import Checksum
from actors.weights.live import WHOLE, LiveWeights, Part, is_adapter, write_places, write_rows
from actors.weights.wire import BaseTensor, Manifest, Shapes, Verdict

_SHOWN = 5
LoadAdapter = Callable[[torch.nn.Module, Mapping[str, torch.Tensor]], None]
"""Gives a live model a whole adapter, by the names of its matrices, the way vLLM itself does."""


class WrongBase(ValueError):
    """Changes were sent to weights that they do not belong to."""


@dataclass
class _Arrival:
    """What has arrived of a tensor."""

    num_rows: int = 0
    whole: torch.Tensor | None = None
    """Collected for vLLM's own loader."""


class WeightReceiver:
    """Receives publishes, one after the other.

    The first time a tensor goes through vLLM's own loader. Once a comparison has shown where its bits are in the live
    model, later ones are written there, piece by piece.
    """

    def __init__(self, load_adapter: LoadAdapter | None = None) -> None:
        """`load_adapter` is needed by engines that hold an adapter."""
        self._load_adapter = load_adapter
        self.process = uuid.uuid4().hex
        """A name that no other receiver has."""
        self.version: int | None = None
        """That of the weights verified last; None: none, or something has failed since."""
        self._proved: set[str] = set()
        self._arrivals: dict[str, _Arrival] = {}
        self._unseen: dict[str, torch.Tensor] = {}
        self._adapter: dict[str, torch.Tensor] = {}
        """Matrices that have arrived whole: vLLM loads them together."""
        self._shapes: Shapes = {}

    def parts(self, model: torch.nn.Module, shapes: Shapes) -> dict[str, Part | None]:
        """Return what this worker holds of each tensor; None where it cannot tell."""
        live = LiveWeights(model, shapes)
        return {name: None if (found := live.find(name)) is None else found[0] for name in shapes}

    @torch.no_grad()
    def receive(
        self,
        model: torch.nn.Module,
        blocks: Iterable[torch.Tensor],
        dtype: torch.dtype,
        shapes: Shapes,
        base_version: int | None = None,
    ) -> None:
        """Load what comes, up to the last block. Raises `WrongBase` before the first change is applied."""
        if base_version is not None and base_version != self.version:
            raise WrongBase(f"changes on version {base_version} were sent to weights of version {self.version}")
        self.version, self._arrivals, self._unseen, self._shapes = None, {}, {}, shapes
        self._adapter = {}
        live = LiveWeights(model, shapes)
        widths = {name: _width(shape) for name, shape in shapes.items()}
        for block in blocks:
            for piece in read(block, dtype, widths):
                self._take(model, live, piece, widths[piece.name])
        if self._adapter:
            assert self._load_adapter is not None, "an adapter was sent to an engine that holds none"
            self._load_adapter(model, self._adapter)
            self._adapter = {}

    def _take(self, model: torch.nn.Module, live: LiveWeights, piece: Piece, width: int) -> None:
        arrival = self._arrivals.setdefault(piece.name, _Arrival())
        found = live.find(piece.name) if piece.name in self._proved else None
        rows = piece.values.view(-1, width) if piece.places is None else None
        arrival.num_rows += 0 if rows is None else len(rows)
        if found is None:
            assert rows is not None, f"{piece.name}: changes were sent to a place that is not known"
            self._collect(model, live, piece, rows, arrival)
        elif live.is_alias(piece.name):
            pass  # it is written under its first name
        elif rows is not None:
            write_rows(found[1], found[0], piece.start, rows)
        elif piece.places is not None:
            part, view = found
            write_places(view, part, width, piece.places.to(view.device), piece.values.to(view.device))

    def _collect(
        self, model: torch.nn.Module, live: LiveWeights, piece: Piece, rows: torch.Tensor, arrival: _Arrival
    ) -> None:
        shape = self._shapes[piece.name]
        if arrival.whole is None:
            arrival.whole = torch.empty(shape, dtype=rows.dtype, device=next(model.parameters()).device)
        write_rows(arrival.whole, WHOLE, piece.start, rows)
        if arrival.num_rows < _num_rows(shape):
            return
        if live.find(piece.name) is None:
            self._unseen[piece.name] = arrival.whole
        if is_adapter(piece.name):
            self._adapter[piece.name] = arrival.whole
        # vLLM refuses a tied head without its embedding, which may come later.
        elif not live.is_alias(piece.name):
            model.load_weights(iter([(piece.name, arrival.whole)]))
        arrival.whole = None

    def verify(self, model: torch.nn.Module, manifest: Manifest) -> Verdict:
        """Compare the live parameters with `manifest`; if nothing differs, they are of its version from now on."""
        started = time.monotonic()
        loaded = {name: origin.checksums for name, origin in manifest.already_loaded.items()}
        shapes = {name: origin.shape for name, origin in manifest.already_loaded.items()} | dict(self._shapes)
        wanted = {**loaded, **manifest.checksums}
        live = LiveWeights(model, shapes)
        sent, arrived = manifest.checksums.keys(), self._arrivals.keys()
        missing = {name for name in manifest.whole if not self._is_complete(name)}
        seen: dict[str, bool] = {}
        for name, sums in wanted.items():
            if (found := live.find(name)) is not None:
                seen[name] = _matches(sums, *found)
        damaged = {
            name for name, whole in self._unseen.items() if not _matches(manifest.checksums.get(name, {}), WHOLE, whole)
        }
        self._unseen = {}
        found_problems = [
            _problem("never arrived", missing),
            _problem("were not announced", arrived - sent),
            _problem("arrived damaged", damaged),
            _problem("differ in the engine", {name for name, is_equal in seen.items() if not is_equal}),
        ]
        problems = tuple(problem for problem in found_problems if problem)
        if problems:
            self.distrust()
        else:
            self.version = manifest.version
            self._proved |= seen.keys()
        coverage = len(seen) / max(1, len(wanted))
        return Verdict(problems, coverage, time.monotonic() - started)

    def distrust(self) -> None:
        """Be of no version; the next publish goes through vLLM's own loader again."""
        self.version = None
        self._proved.clear()

    def _is_complete(self, name: str) -> bool:
        arrival = self._arrivals.get(name)
        return arrival is not None and arrival.num_rows == _num_rows(self._shapes[name])


def missing_tensors(model: torch.nn.Module, origins: Mapping[str, BaseTensor]) -> set[str]:
    """Return the names of untrained tensors that the live model lacks, or has where they cannot be compared."""
    live = LiveWeights(model, {name: origin.shape for name, origin in origins.items()})
    missing = set()
    for name, origin in origins.items():
        found = live.find(name)
        if not origin.is_trained and (found is None or not _matches(origin.checksums, *found)):
            missing.add(name)
    return missing


def _matches(sums: Mapping[Part, Checksum], part: Part, held: torch.Tensor) -> bool:
    return part in sums and sums[part].matches(held)


def _num_rows(shape: tuple[int, ...]) -> int:
    return shape[0] if shape else 1


def _width(shape: tuple[int, ...]) -> int:
    return max(1, math.prod(shape) // max(1, _num_rows(shape)))


def _problem(verdict: str, names: set[str]) -> str:
    if not names:
        return ""
    shown = ", ".join(sorted(names)[:_SHOWN])
    return f"{len(names)} tensors {verdict}: {shown}" + (", ..." if len(names) > _SHOWN else "")
