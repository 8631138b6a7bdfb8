"""What serves, for Prometheus: how far this server has followed each alias, and why a model is refused."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from app.domain.serving import ServingStatus


class ServedAliases(Collector):
    """Looked up when the figures are asked for; an alias that is gone is no longer told of."""

    def __init__(self, status: Callable[[], ServingStatus], registry: CollectorRegistry) -> None:
        self._status = status
        registry.register(self)

    def describe(self) -> list[GaugeMetricFamily]:
        """The figures without their values: nothing is looked up to register them."""
        return list(_families().values())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The figures of now."""
        status = self._status()
        families = _families()
        if status.looked_at is not None or status.lookup_error is not None:
            families["database"].add_metric([], float(status.lookup_error is None))
        for served in status.aliases:
            families["wanted"].add_metric([served.alias], served.wanted_generation)
            families["live"].add_metric([served.alias], served.live_generation or 0)
            if served.error is not None:
                families["refused"].add_metric([served.alias, served.wanted_model_id, served.error], 1)
            if served.neighbours_error is not None and served.live_model_id is not None:
                labels = [served.alias, served.live_model_id, served.neighbours_error]
                families["neighbours_refused"].add_metric(labels, 1)
        catalogue = status.catalogue
        if catalogue is not None and catalogue.read_at is not None:
            families["revision"].add_metric([], catalogue.revision)
            families["denied"].add_metric([], catalogue.n_denied)
            families["provisional"].add_metric([], catalogue.n_provisional)
            families["age"].add_metric([], max(0.0, (datetime.now(UTC) - catalogue.read_at).total_seconds()))
        yield from families.values()


def _families() -> dict[str, GaugeMetricFamily]:
    return {
        "database": GaugeMetricFamily("segue_database_reachable", "Whether the aliases were read at the last look."),
        "revision": GaugeMetricFamily("segue_catalogue_revision", "The change of the catalogue that is answered by."),
        "age": GaugeMetricFamily(
            "segue_catalogue_age_seconds", "How long ago the catalogue and its deny list were last read."
        ),
        "denied": GaugeMetricFamily("segue_songs_denied", "Songs that no list holds."),
        "provisional": GaugeMetricFamily("segue_songs_provisional", "New songs of the catalogue."),
        "wanted": GaugeMetricFamily(
            "segue_alias_wanted_generation", "The move of the alias that should be live.", labels=["alias"]
        ),
        "live": GaugeMetricFamily(
            "segue_alias_live_generation", "The move of the alias that is live; 0: none.", labels=["alias"]
        ),
        "refused": GaugeMetricFamily(
            "segue_alias_refused",
            "1 while the wanted model cannot be loaded, with the reason.",
            labels=["alias", "model_id", "reason"],
        ),
        "neighbours_refused": GaugeMetricFamily(
            "segue_alias_neighbours_refused",
            "1 while the live model searches for its table of neighbours cannot be loaded, with the reason.",
            labels=["alias", "model_id", "reason"],
        ),
    }
