"""A team's own trainer as a program: asks for trials over HTTP and tells what it measured until the study has ended.

`python -m tests.journeys.own_trainer URL STUDY CLIENT [hang]`; one that hangs is silent after its first epoch.
"""

import signal
import sys
import time

import httpx2

from tests.journeys.patient import Patient
from tests.keys import HEADERS

PATIENCE_S = 0.2
"""Between two askings while other clients have the last trials."""


def main(url: str, study_id: str, client_id: str, *, hangs: bool) -> None:
    """Train until there is nothing more to train."""
    with httpx2.Client(base_url=f"{url}/v1", timeout=30.0, headers=HEADERS, transport=Patient()) as http:
        while True:
            answer = http.post(f"/studies/{study_id}/trials/ask", json={"client_id": client_id})
            if answer.status_code == httpx2.codes.OK:
                train(http, answer.json()["trial"], answer.json()["lease_token"], hangs=hangs)
            elif answer.json()["code"] == "budget_spent":
                time.sleep(PATIENCE_S)
            else:
                return


def train(http: httpx2.Client, trial: dict[str, object], token: str, *, hangs: bool) -> None:
    """As a trainer would that likes a high rate."""
    parameters = trial["parameters"]
    measured = {"objective": parameters["alpha"] if isinstance(parameters, dict) else 0.0, "n_pairs": 100}
    path, headers = f"/trials/{trial['id']}", {"Lease-Token": token}
    http.post(f"{path}/measurements", json={"epoch": 1, **measured}, headers=headers).raise_for_status()
    if hangs:
        signal.pause()
    http.post(f"{path}/complete", json={"measurement": measured}, headers=headers).raise_for_status()


if __name__ == "__main__":
    main(*sys.argv[1:4], hangs=sys.argv[4:] == ["hang"])
