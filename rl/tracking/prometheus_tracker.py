"""tracking.backends: prometheus."""

import re
import socket
from collections.abc import Iterable, Sequence

from PIL import Image

from actors.bound_address import why_not_bound
from rl.recipe.jobs import TrackingConfig, TrainingRecipe
from rl.tracking.trackers import BuiltinTracker, Row

_NO_NAME = re.compile(r"[^a-zA-Z0-9_]")


class Prometheus(BuiltinTracker):
    """The newest value of each metric, as a gauge that Prometheus reads from the driver while it lives."""

    package = "prometheus_client"

    @classmethod
    def check(cls, config: TrackingConfig) -> None:
        super().check(config)
        host, port = config.prometheus_host, config.prometheus_port
        try:
            with socket.create_server((host, port)):
                pass
        except OSError as error:
            why = why_not_bound(error, host_key="tracking.prometheus_host", port_key="tracking.prometheus_port")
            raise ValueError(f"tracking.backends has prometheus, which cannot listen on {host}:{port}: {why}") from None

    def __init__(self, recipe: TrainingRecipe, first_step: int, kept: Sequence[Row]):
        from prometheus_client import CollectorRegistry, Gauge, start_http_server

        self._run, self._gauge, self._registry = recipe.name, Gauge, CollectorRegistry()
        self._gauges: dict[str, Gauge] = {}
        config = recipe.tracking
        self._server, self._thread = start_http_server(config.prometheus_port, config.prometheus_host, self._registry)
        for row in kept[-1:]:
            self.log(row, row["step"])

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    def log(self, row: Row, step: int) -> None:
        for key, value in {**row, "step": step}.items():
            name = f"interleave_{_NO_NAME.sub('_', key)}"
            if name not in self._gauges:
                self._gauges[name] = self._gauge(name, key, ["run"], registry=self._registry)
            self._gauges[name].labels(self._run).set(value)

    def images(self, key: str, pictures: Iterable[tuple[Image.Image, str]], step: int) -> None:
        """Pictures are not for Prometheus."""

    def alert(self, title: str, text: str, step: int) -> None:
        """Alerts are metrics, too: `alerts/...` is 1 where one goes off."""

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
