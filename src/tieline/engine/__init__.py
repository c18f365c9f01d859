"""The engine: it runs what the schedules say is due, at least once, on any number of processes and machines.

Our rows decide what runs when (`store.schedules`); PgQueuer, on the same PostgreSQL, carries the admitted runs to
processes that are free and again to another when one dies.
"""

from tieline.engine.limits import EngineLimits
from tieline.engine.queue import install_sql, prune
from tieline.engine.supervisor import Engine
from tieline.engine.worker import Handler
from tieline.store.schedules import Hold, HoldLost

__all__ = ["Engine", "EngineLimits", "Handler", "Hold", "HoldLost", "install_sql", "prune"]
