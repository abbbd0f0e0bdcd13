"""A farm: the nodes of a build on many machines, by Dask's scheduler and workers (docs/farm.md).

``machines.py``, ``needs.py``, ``wire.py``, ``files.py``, ``shared.py`` and ``placing.py`` do not import Dask. The other
modules need the extra ``stagewright[farm]``.
"""
