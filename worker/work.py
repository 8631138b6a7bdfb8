"""What a child does with a request. Importing this module is what makes a runner warm."""

import app.adapters.gensim_word2vec  # noqa: F401 - takes a second: the runner's, not each child's
from worker.messages import DatasetRequest, ModelRequest, Request, Result, Tell, TrialRequest
from worker.trial_run import measure_trial


def perform(request: Request, tell: Tell) -> Result:
    """Do what the request asks for. Raises whatever goes wrong."""
    match request:
        case TrialRequest():
            return measure_trial(request, tell)
        case DatasetRequest():
            # Ibis and DuckDB are loaded by the children that need them: trials, by far the most, do without.
            from worker.dataset_run import prepare_dataset  # noqa: PLC0415

            return prepare_dataset(request, tell)
        case ModelRequest():
            from worker.model_run import build_model  # noqa: PLC0415

            return build_model(request, tell)
