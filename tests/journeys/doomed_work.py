"""What a doomed worker's runner has its children do: Segue's own work, with a death in the runner or in a child.

Arguments of the runner: this module, the point, at which request, and the file of notes.
"""

import os
import sys
from pathlib import Path

from tests.journeys.doomed import die
from worker import work
from worker.messages import Request, Result, Show, Tell


class Requests:
    """How many there were; a child knows of those before its own."""

    n = 0


def warm() -> None:
    """As any runner."""
    work.warm()
    os.register_at_fork(after_in_parent=lambda: _pass("fork.after"))


def warm_for(request: Request) -> None:
    """As any runner, before it forks."""
    Requests.n += 1
    _pass("fork.before")
    work.warm_for(request)


def perform(request: Request, tell: Tell, show: Show) -> Result:
    """As any child."""
    _pass("child.before")
    result = work.perform(request, tell, show)
    _pass("child.after")
    return result


def _pass(point: str) -> None:
    fatal, n, notes = sys.argv[2:5]
    if (point, Requests.n) == (fatal, int(n)):
        die(point, Path(notes))
