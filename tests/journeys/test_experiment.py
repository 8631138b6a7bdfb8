"""An experiment from two studies to a decision and back, over HTTP, with real programs that are killed in between."""

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx2

from app.adapters.sql.unit_of_work import SqlUnitsOfWork
from tests.journeys.house import ON_POSTGRESQL, House
from tests.journeys.http import Json, answered, client, ended_study, promoted_model, study_body, until_live
from tests.processes import until

N_LISTENERS = 300
SEED = 20_261_129

EXPERIMENT = {
    "name": "tuned against old",
    "hypothesis": "The tuned model is listened to longer.",
    "variants": [{"name": "old", "alias": "production"}, {"name": "tuned", "alias": "challenger"}],
    "metrics": [
        {"name": "seconds_per_session", "role": "goal"},
        {"name": "completion", "role": "guardrail", "margin": 0.05},
        {"name": "skip_rate", "role": "secondary"},
    ],
    "segment_by": "artist",
    "planned_days": 1,
    "covariate_days": 0,
}


@dataclass
class Listeners:
    """Users who ask within an experiment, and hear what they are recommended: what is tuned twice as long."""

    experiment_id: str
    draws: random.Random
    variant_of: dict[str, str] = field(default_factory=dict)

    def listen(self, http: httpx2.Client, names: list[str]) -> None:
        """Each asks, and plays the first song; whom was answered by which variant before is by the same again."""
        for user_id in names:
            answer = answered(
                http.get(f"/v1/users/{user_id}/recommendations", params={"experiment": self.experiment_id}), 200
            )
            told = answer["experiment"]
            assert (told["is_exposed"], told["reason"]) == (True, None), told
            assert self.variant_of.setdefault(user_id, told["variant"]) == told["variant"]
            sent = http.post("/v1/plays", json={"plays": [self._play(user_id, answer)]})
            assert answered(sent, 200)["n_accepted"] == 1

    def _play(self, user_id: str, answer: Json) -> Json:
        seconds = self.draws.uniform(30, 90) * (2 if answer["experiment"]["variant"] == "tuned" else 1)
        return {
            "event_id": f"{user_id}-{self.draws.getrandbits(64)}",
            "user_id": user_id,
            "song_id": answer["recommendations"][0]["song_id"],
            "played_at": datetime.now(UTC).isoformat(),
            "seconds_streamed": seconds,
            "duration_s": 180.0,
            "attribution": answer["attribution"],
        }


def until_served(http: httpx2.Client, experiment: Json) -> None:
    """Return once a server has loaded every variant."""
    for variant in experiment["variants"]:
        until_live(http, variant["models"]["default"], alias=variant["live_as"])


def two_models(house: House, http: httpx2.Client) -> dict[str, str]:
    """Studies of one dataset, whose models are live as production and as challenger; the models by variant."""
    dataset = house.dataset()
    models = {}
    for seed, (variant, alias) in enumerate((("old", "production"), ("tuned", "challenger"))):
        asked = answered(http.post("/v1/studies", json=study_body(dataset, epochs=5, seed=seed)), 202)
        models[variant] = promoted_model(http, ended_study(http, asked["id"])["id"], alias=alias)["id"]
    return models


def exposed(http: httpx2.Client, experiment_id: str) -> dict[str, tuple[int, int]]:
    """Users exposed, and those who crossed, by variant."""
    seen = answered(http.get(f"/v1/experiments/{experiment_id}"), 200)
    return {each["variant"]: (each["n_exposed"], each["n_crossed"]) for each in seen["exposures"]}


@ON_POSTGRESQL
def test_from_two_studies_to_a_decision_and_back(house: House) -> None:
    house.worker()
    first, other = house.server(), house.server()
    with client(first) as one, client(other) as two:
        models = two_models(house, one)
        made = answered(one.post("/v1/experiments", json=EXPERIMENT), 201)
        path = f"/v1/experiments/{made['id']}"
        started = answered(one.post(f"{path}/start", headers={"If-Match": '"0"'}), 200)
        assert {each["name"]: each["models"]["default"] for each in started["variants"]} == models
        for http in (one, two):
            until_served(http, started)

        # Listeners go from server to server, one of which dies in between: each is exposed once and keeps the variant.
        listeners = Listeners(made["id"], random.Random(SEED))  # noqa: S311 - made-up listening
        names = [f"listener-{number}" for number in range(N_LISTENERS)]
        listeners.listen(one, names[: N_LISTENERS // 2])
        listeners.listen(two, names[N_LISTENERS // 2 - 20 :])
        first.kill()
        assert exposed(two, made["id"]) == counts(listeners)
        weighed = answered(two.patch(path, json={"weights": {"tuned": 3}}), 200)
        assert len(weighed["allocations"]) == 2
    with client(house.server(port=first.port)) as one, client(other) as two:
        until_served(one, started)
        listeners.listen(one, names[::10])
        assert exposed(one, made["id"]) == counts(listeners)
        told_by_a_client(one, path, listeners)

        answered(one.post(f"{path}/stop"), 200)
        until(lambda: read_ahead(house, made["id"]), "a worker has gone over the plays")
        read_and_advised(two, path)
        decision = {"action": "promote", "variant": "tuned", "reason": "listened to longer"}
        decided = answered(two.post(f"{path}/decide", json=decision), 200)
        generation = decided["decisions"][0]["generation"]
        for http in (one, two):
            until_live(http, models["tuned"], generation=generation)
        (move, *_) = answered(one.get("/v1/aliases/production/moves"), 200)["items"]
        assert (move["reason"], move["experiment_id"]) == ("experiment", made["id"])
        back = answered(one.post(f"{path}/decide", json={"action": "rollback"}), 200)
        for http in (one, two):
            until_live(http, models["old"], generation=back["decisions"][1]["generation"])
            answer = answered(http.get("/v1/users/listener-0/recommendations", params={"experiment": made["id"]}), 200)
            assert (answer["model_id"], answer["experiment"]["reason"]) == (models["old"], "stopped")


def counts(listeners: Listeners) -> dict[str, tuple[int, int]]:
    """What should be on record of who listened."""
    n_of = Counter(listeners.variant_of.values())
    assert min(n_of.values()) > N_LISTENERS // 4
    return {variant: (n_of[variant], 0) for variant in ("old", "tuned")}


def read_ahead(house: House, experiment_id: str) -> bool:
    """Whether a worker has made the pass that results are read from."""
    with SqlUnitsOfWork(house.container.engine).reading() as unit:
        return None in unit.snapshots.timings(experiment_id)


def read_and_advised(http: httpx2.Client, path: str) -> None:
    """The results show what the listeners did, and the advice follows from them."""
    results = answered(http.get(f"{path}/results"), 200)
    assert (results["health"], results["reason"]) == ("ok", None), results["checks"]
    seconds, completion, skips = results["metrics"]
    for each in (seconds, completion):
        (effect,) = each["effects"]
        assert effect["n_control"] + effect["n_treatment"] == N_LISTENERS  # who was seen with two variants is left out
        assert effect["relative_interval"]["low"] > 0.5
        assert effect["p_value"] < 1e-6
    assert skips["effects"][0]["lift"] is None  # nobody skipped
    advice = answered(http.get(f"{path}/decision"), 200)
    assert (advice["action"], advice["variant"]) == ("ship", "tuned"), advice


def told_by_a_client(http: httpx2.Client, path: str, listeners: Listeners) -> None:
    """A client that serves by itself looks an assignment up, and tells what it showed."""
    found = answered(http.get(f"{path}/assignment", params={"user_id": "of-a-client"}), 200)
    now = datetime.now(UTC).isoformat()
    told = [{"user_id": user_id, "variant": found["variant"], "at": now} for user_id in ("of-a-client", "of-a-client")]
    other = "old" if listeners.variant_of["listener-0"] == "tuned" else "tuned"
    told.append({"user_id": "listener-0", "variant": other, "at": now})
    verdicts = answered(http.post(f"{path}/exposures", json={"exposures": told}), 200)["verdicts"]
    assert [each["verdict"] for each in verdicts] == ["recorded", "known", "crossed"]
