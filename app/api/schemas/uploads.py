"""Uploads as clients see them."""

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, Field

from app.api.schemas.base import View
from app.domain.datasets import Upload

UPLOAD_ID = "upl_0197f3a1c2d47b6e9a53c1f0d2e4b6a8"


class UploadView(View):
    """A file that was sent."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": UPLOAD_ID,
                    "format": "parquet",
                    "size_bytes": 4194304,
                    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                    "created_at": "2026-01-01T12:00:00Z",
                }
            ]
        }
    )

    id: str
    format: Literal["parquet", "csv"] = Field(description="Told from the content.")
    size_bytes: int
    sha256: str
    created_at: datetime

    @classmethod
    def of(cls, upload: Upload) -> "UploadView":
        """The view of an upload."""
        return cls(
            id=upload.id,
            format=upload.format,
            size_bytes=upload.size_bytes,
            sha256=upload.sha256,
            created_at=upload.created_at,
        )


class SourceView(View):
    """A file that the operator named."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "plays_of_spring"}]})

    name: str
