"""Problems (RFC 9457): how every error is told."""

from pydantic import BaseModel, ConfigDict, Field


class ProblemField(BaseModel):
    """What is wrong with one field."""

    pointer: str = Field(
        description="A JSON pointer into the body, or the name of a parameter or header.",
        examples=["/preparation/min_length"],
    )
    detail: str = Field(examples=["Input should be greater than or equal to 3"])
    limit: int | float | None = Field(default=None, description="The bound that was crossed, if one was.")


class Problem(BaseModel):
    """Why a request was refused. `code` is stable; the texts may change."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Unprocessable Entity",
                    "status": 422,
                    "code": "invalid_request",
                    "detail": "The request is wrong in 1 place.",
                    "instance": "/v1/datasets",
                    "request_id": "4f1c0c8e9f0b4d2a",
                    "errors": [
                        {
                            "pointer": "/preparation/min_length",
                            "detail": "Input should be greater than or equal to 3",
                            "limit": 3,
                        }
                    ],
                }
            ]
        },
    )

    type: str
    title: str
    status: int
    code: str
    detail: str
    instance: str = Field(description="The path that was asked for.")
    request_id: str = Field(description="What the log knows this request by; also in `X-Request-Id`.")
    errors: list[ProblemField] | None = Field(default=None, description="The fields that are wrong.")
