"""What a child does with a request, and what the runner has ready for it.

Measured: without gensim a runner is ready in 0.5 s, takes 93 MB and forks in 3 ms; with it, 1.5 s, 171 MB and 7 ms. So
gensim is imported by the runner, not by each child, but only when the first request comes that trains by it.
"""

from app.domain.lease import HeartbeatAnswer
from app.domain.measurement import EpochMeasurement
from app.domain.training import DEFAULT_TRAINER, Trainer
from app.domain.tuning.trial import Method
from worker.messages import DatasetRequest, ModelRequest, Request, Result, Show, TableRequest, Tell, TrialRequest
from worker.training import trainer_of
from worker.trial_run import measure_trial


def warm() -> None:
    """Have ready, before the first fork, what most trials need. Starts no thread."""
    _warm_trainer(DEFAULT_TRAINER)


def warm_for(request: Request) -> None:
    """Have ready, before the fork for this request, what takes long to import: the next ones have it too."""
    match request:
        case TrialRequest(method=Method.WORD2VEC) | ModelRequest(vectors=None):
            _warm_trainer(request.trainer)


def _warm_trainer(kind: Trainer) -> None:
    trainer_of(kind)
    if kind is Trainer.SEGUE:
        from app.adapters.lane_word2vec import load_kernel  # noqa: PLC0415 # as in `trainer_of`

        load_kernel()


def to_the_end(_measurement: EpochMeasurement, /, *, decides: bool) -> HeartbeatAnswer:
    """Show an epoch to nobody: every trial goes on."""
    return HeartbeatAnswer.CONTINUE


def perform(request: Request, tell: Tell, show: Show = to_the_end) -> Result:
    """Do what the request asks for. Raises whatever goes wrong."""
    match request:
        case TrialRequest():
            return measure_trial(request, tell, show)
        case DatasetRequest():
            # Ibis and DuckDB are loaded by the children that need them: trials, by far the most, do without.
            from worker.dataset_run import prepare_dataset  # noqa: PLC0415

            return prepare_dataset(request, tell)
        case ModelRequest():
            from worker.model_run import build_model  # noqa: PLC0415

            return build_model(request, tell)
        case TableRequest():
            from worker.table_run import build_table  # noqa: PLC0415

            return build_table(request, tell)
