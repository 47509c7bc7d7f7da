"""A trainer whose settings are checked by pydantic."""

import sys

from pydantic import BaseModel, Field


class Settings(BaseModel):
    """Its settings."""

    lr: float = Field(gt=0)
    steps: int


print(Settings.model_validate_json(sys.argv[1]))
