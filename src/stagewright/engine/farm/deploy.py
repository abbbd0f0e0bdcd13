"""A Dask worker for Dask's own deployers, such as LocalCluster, SSHCluster and those of dask-jobqueue.

A deployer starts the class that it is given: ``worker_class="stagewright.engine.farm.deploy.FarmWorker"``. What it
passes for Dask's own worker, such as threads and limits of memory, does not count. The settings of a farm
(:func:`use_settings`) have to be set in the program that makes the cluster: deployers hand them on.
"""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import Any

import dask
from distributed import Worker

from stagewright.engine.farm.service import SETTINGS, worker_options
from stagewright.engine.farm.serving import opened_host
from stagewright.engine.resources import Resources


def use_settings() -> None:
    """Set Dask's settings of a farm. Call it before a cluster is made."""
    dask.config.set(SETTINGS)


class FarmWorker(Worker):
    """A worker that builds nodes.

    ``store`` is the folder of its store, ``remote`` the address of the store that the farm shares. ``cores`` and
    ``memory`` (MiB) are those that all nodes may use together. ``certs`` is the folder of certificates.
    """

    def __init__(
        self,
        scheduler: str,
        *,
        store: str,
        remote: str,
        machine: str = "",
        cores: int | None = None,
        memory: int | None = None,
        certs: str | None = None,
        listen: str | None = None,
        **_: Any,
    ) -> None:
        resources = Resources.of_machine().limited(cores, memory)
        name = machine or socket.gethostname()
        with contextlib.ExitStack() as held:
            self._farm_host = held.enter_context(opened_host(Path(store), remote, name, resources, lambda _: None))
            options = worker_options(self._farm_host, scheduler, Path(certs) if certs else None, listen)
            super().__init__(scheduler, **options)
            self._held = held.pop_all()

    async def close(self, *arguments: Any, **options: Any) -> str | None:
        """End all nodes, and leave the scheduler."""
        self._farm_host.cancel_all()
        result: str | None = await super().close(*arguments, **options)
        self._held.close()
        return result
