"""Images become a policy's input in processes of their own, while responses are drawn: no rank waits for them.

    Policy.prepare ─▶ ImagePreparer ─▶ ImageWorker, one a node ─▶ shared memory of the node ─▶ ranks

What a worker makes lies in Ray's object store, where all ranks of a node read it without a copy. A rank that finds
nothing there, because a worker or an object was lost, makes it itself.
"""

import itertools
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Self, TypeAlias

import numpy as np
import ray
import torch
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.cpu_kernels import portable_kernels
from actors.image_limit import Processor, load_processor
from actors.store.store import Store, load_images
from rollout.types import ImageRef

Images = tuple[ImageRef | None, ...]
"""The images of one prompt."""
ImageTensors = dict[str, torch.Tensor]
"""`pixel_values` (patches, features) and `image_grid_thw` (images, 3); empty without images."""

Reference: TypeAlias = ray.ObjectRef
"""What `ImageWorker.make` returns, in Ray's object store."""

_MOST_KEPT = 256
"""Prompts whose images are begun ahead of an update: those of 1,048,576 pixels take 12.6 MB each in bfloat16."""
_THREADS = 4
_AT_ONCE = 8
"""Prompts of one call, at most."""


class Preprocessor:
    """Loads images and cuts them into patches, in the dtype that the model computes in."""

    def __init__(self, processor: Processor, store: Store, dtype: str):
        self._processor = processor
        self._store = store
        self._dtype = getattr(torch, dtype)

    def make(self, images: Images) -> ImageTensors:
        """Return the input of a prompt's images. Raises what `Store.get_image` raises."""
        if not images:
            return {}
        output = self._processor.image_processor(images=load_images(self._store, images), return_tensors="pt")
        return {
            "pixel_values": output["pixel_values"].to(self._dtype),
            "image_grid_thw": output["image_grid_thw"],
        }


class ImageWorker:
    """An actor beside the ranks of a node."""

    def __init__(self, model: str, store_root: str, max_pixels: int, dtype: str):
        torch.set_num_threads(1)
        self._preprocessor = Preprocessor(load_processor(model, max_pixels), Store(store_root), dtype)

    def make(self, images: Images) -> tuple[np.ndarray, np.ndarray]:
        """Return pixel values, as bytes (patches, features x bytes of a value), and grids (images, 3)."""
        made = self._preprocessor.make(images)
        # numpy has no bfloat16, and Ray shares nothing but numpy's arrays.
        return made["pixel_values"].contiguous().view(torch.uint8).numpy(), made["image_grid_thw"].numpy()

    def make_all(self, prompts: Sequence[Images]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the same for each of some prompts; after one that cannot be made there are no others."""
        for images in prompts:
            yield self.make(images)


class ImagePreparer:
    """The driver's side: who makes what, and where it is. Thread-safe."""

    def __init__(self, workers: Sequence[ActorHandle]):
        self._workers = workers
        self._turns = itertools.cycle(workers)
        self._lock = threading.Lock()
        self._made: dict[Images, Reference] = {}
        """In the order that they were begun."""

    @classmethod
    def start(cls, model: str, store_root: str, max_pixels: int, *, dtype: str, nodes: Iterable[str]) -> Self:
        """Start a worker on each node of `nodes` (Ray's ids), and wait for none."""
        actor = ray.remote(ImageWorker)
        environment = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", **portable_kernels()}
        options: dict[str, object] = {
            "num_cpus": 0,
            "max_concurrency": _THREADS,
            "max_restarts": -1,
            "max_task_retries": 1,
            "runtime_env": {"env_vars": environment},
        }
        # Not soft: a node that does not know the rank's one yet would keep the worker; a lost rank ends the run anyway.
        places = [NodeAffinitySchedulingStrategy(node, soft=False) for node in sorted(set(nodes))]
        setup = (model, store_root, max_pixels, dtype)
        return cls([actor.options(**options, scheduling_strategy=place).remote(*setup) for place in places])

    def prepare(self, images: Images) -> None:
        """Begin to make the input of a prompt's images, unless it is kept, or as many are as may be."""
        with self._lock:
            if images and images not in self._made and len(self._made) < _MOST_KEPT:
                self._made[images] = next(self._turns).make.remote(images)

    def take(self, prompts: Iterable[Images]) -> dict[Images, Reference]:
        """Return the references for a call of a rank, by images, and keep them no longer than the call does."""
        wanted = [images for images in dict.fromkeys(prompts) if images]
        with self._lock:
            taken = {images: self._made[images] for images in wanted if images in self._made}
            self._forget(taken)
            missing = [images for images in wanted if images not in taken]
            made = dict(zip(missing, self._make_all(missing), strict=True))
        return {images: taken[images] if images in taken else made[images] for images in wanted}

    def _forget(self, taken: Collection[Images]) -> None:
        """Let go of what is taken and of what was begun before it, which was for an earlier call, or left out of this.

        Where nothing that is taken was kept, that is all.
        """
        kept = list(self._made)
        last = max((place for place, images in enumerate(kept) if images in taken), default=len(kept))
        for images in kept[: last + 1]:
            del self._made[images]

    def _make_all(self, prompts: Sequence[Images]) -> list[Reference]:
        """Begin to make many at once: each call takes 30 kB of the driver's memory until it is over."""
        size = min(_AT_ONCE, -(-len(prompts) // (_THREADS * len(self._workers)))) if prompts else 1
        made: list[Reference] = []
        for start in range(0, len(prompts), size):
            batch, worker = prompts[start : start + size], next(self._turns)
            if len(batch) == 1:
                made.append(worker.make.remote(batch[0]))
            else:
                made += worker.make_all.options(num_returns=len(batch)).remote(batch)
        return made

    def shutdown(self) -> None:
        """End the workers."""
        for worker in self._workers:
            ray.kill(worker)


def read(made: Reference, dtype: str) -> ImageTensors | None:
    """Return what a worker made, without a copy if it is on this node; None if it is lost, or could not be made."""
    try:
        pixels, grids = ray.get(made)
    except ray.exceptions.RayError:
        return None
    # By DLPack, since `torch.from_numpy` warns of memory that nobody may write to.
    return {
        "pixel_values": torch.from_dlpack(pixels).view(getattr(torch, dtype)),
        "image_grid_thw": torch.from_dlpack(grids),
    }
