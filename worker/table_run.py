"""One table of neighbours, in its child."""

from app.adapters.table_files import write_table
from app.domain.lease import Progress
from worker.messages import TableBuilt, TableRequest, Tell


def build_table(request: TableRequest, tell: Tell) -> TableBuilt:
    """What the table holds; its files are in the staged folder. Raises: DamagedArtifact, StorageFull."""
    tell(Progress(phase="neighbours", fraction=0.0))
    facts = write_table(
        request.model_folder,
        model_id=request.model_id,
        staged=request.staged,
        n_neighbours=request.n_neighbours,
        on_progress=lambda share: tell(Progress(phase="neighbours", fraction=share)),
        limits=request.index,
        threads=request.limits.threads,
    )
    return TableBuilt(facts=facts)
