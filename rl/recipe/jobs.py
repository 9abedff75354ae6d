"""What recipes of every kind have in common: the base of a job, of one with a folder, and of a training."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from actors.bound_address import Host
from actors.config import (
    PolicyConfig,
    SamplerConfig,
)
from actors.image_limit import MODEL_PIXELS
from actors.resources import Role
from actors.shipping.config import LedgerConfig
from actors.store.place import is_place
from rl.recipe.alerts import NAMES as ALERTS
from rl.recipe.alerts import AlertConfig, check_alert_names
from rl.recipe.wandb_project import check_project
from rl.tracker_registry import BACKENDS
from rollout.text.limits import (
    OWN,
    NonNegativeFloat,
    NonNegativeInt,
    Port,
    PositiveInt,
    RequiredPath,
    Rule,
    RunName,
    Seed,
    Tilde,
    check_fields,
    is_own,
    one_of,
    one_of_or_own,
)

StorePlace = Annotated[RequiredPath, Rule("a folder, or s3://bucket/prefix, gs:// or az://", is_place)]


@dataclass(frozen=True)
class TrackingConfig:
    """Where metrics go, beside the run folder's metrics.jsonl."""

    backends: list[Annotated[str, Tilde(), one_of_or_own(*BACKENDS)]] = field(default_factory=lambda: ["wandb"])
    """wandb (offline, in the run folder, unless WANDB_API_KEY is set), tensorboard, prometheus, and classes of your own
    (my_module:MyTracker, ./my_file.py:MyTracker); [] for plain files alone.

    W&B's own variables are obeyed: WANDB_MODE, WANDB_DISABLED, WANDB_PROJECT, WANDB_ENTITY, WANDB_DIR, ...
    """
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Keyword arguments of classes of your own, by their names: {MyTracker: {url: ...}}."""
    prometheus_port: Port = 9464
    """Where backends has prometheus: the driver's port for the newest metrics, at /metrics; 0: a free one."""
    prometheus_host: Host = "127.0.0.1"
    """The address that it listens on; with 0.0.0.0 other machines read as well, without a password."""
    metrics: list[Annotated[str, Tilde(), OWN]] = field(default_factory=list)
    """Functions of your own, `my_metric(groups) -> {"area/name": number}`, called for each step of RL."""
    project: str = ""
    """W&B's project; empty: as WANDB_PROJECT says, else interleave."""
    alerts: AlertConfig = field(default_factory=AlertConfig)
    """When to say that a run collapses."""
    stop_on: list[Annotated[str, one_of(*ALERTS)]] = field(default_factory=list)
    """Names of alerts that also save a checkpoint and stop the run."""

    def __post_init__(self) -> None:
        if unknown := sorted(name for name in set(self.backends) - set(BACKENDS) if not is_own(name)):
            raise ValueError(f"tracking.backends has {', '.join(unknown)}; known are {', '.join(BACKENDS)}")
        check_fields(self, "tracking")
        check_project(self.project)
        check_alert_names(self.stop_on)


@dataclass(frozen=True)
class JobRecipe:
    """What recipes of every kind have: a name, a store, and the Ray that their actors run on."""

    name: RunName = "???"
    store: StorePlace = "runs/store"
    """Images and paid-for answers, shared by runs: a folder, or a part of a bucket (s3://bucket/prefix, gs://, az://).

    A bucket needs the package `obstore`; then the ledger is shipped there, too (docs/object_storage.md).
    """
    store_is_shared: bool = True
    """All nodes see the same folder; false: each node has its own, and an image that it misses is sent by another.

    The images of data sets are no part of it: they have to be at the same paths on every node.
    """
    store_limit_gib: NonNegativeFloat = 0.0
    """Least recently used images and answers go above this size, in GiB; never those of a running run. 0: no limit."""
    ledger: LedgerConfig = field(default_factory=LedgerConfig)
    """When rows of the ledger go into the store's bucket."""
    num_cpus: PositiveInt = 16
    """Logical CPUs told to a Ray that is started for this job."""
    ray_address: str = ""
    """A running cluster's address (or `auto`); empty: start Ray on this machine, if anything needs it."""

    def __post_init__(self) -> None:
        check_fields(self, "")

    @property
    def roles(self) -> Mapping[str, Role]:
        """Everything that is started for the job, by its section of the recipe."""
        return {}

    @property
    def colocated(self) -> Collection[str]:
        """Roles that take turns on the devices of another one."""
        return ()

    @property
    def folder(self) -> Path | None:
        """Where the job keeps its ledger and what explains it; None where it has no folder of its own."""
        return None


@dataclass(frozen=True)
class RunRecipe(JobRecipe):
    """A job with a folder."""

    run_dir: Annotated[RequiredPath, Rule("a folder, not a URL", lambda text: "://" not in text)] = "runs/${name}"
    """All that explains a run, checkpoints and export too: driver and policy ranks have to see the same folder."""

    @property
    def folder(self) -> Path:
        return Path(self.run_dir)

    @property
    def is_reproducible(self) -> bool:
        """Whether what is made is fixed by the seeds, whatever comes first."""
        return True


@dataclass(frozen=True)
class TrainingRecipe(RunRecipe):
    """A run that takes steps: enough for checkpoints, trackers and a log."""

    seed: Seed = 0
    num_steps: NonNegativeInt = 0
    save_every: NonNegativeInt = 0
    """Steps between checkpoints; 0: only at the end."""
    keep_checkpoints: PositiveInt = 2
    """Newest checkpoints that stay."""
    keep_best: str = ""
    """Figure of evaluations during training (eval/reward, eval/loss) whose best checkpoint stays, too; empty: none.

    `checkpoints/best` in the run's folder names it.
    """
    keep_exports: bool = False
    """Export what each checkpoint holds, too (`exports/step_000010` in the run's folder); these stay."""
    max_pixels: PositiveInt = MODEL_PIXELS
    """Pixels of the largest image that policy and samplers are shown; larger ones are scaled down."""
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    samplers: SamplerConfig = field(default_factory=SamplerConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def saves_at(self, step: int) -> bool:
        return step == self.num_steps or (self.save_every > 0 and step % self.save_every == 0)
