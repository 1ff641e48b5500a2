"""What a recipe says of one objective: how much it counts, and its own settings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Term(BaseModel):
    """One objective's share of the loss."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight: float = Field(default=1.0, gt=0)
    lambda_r: float = Field(default=10.0, ge=0, description="of the mask's mean, where the objective lets it shrink")
    tv: float = Field(default=0.0, ge=0, description="of the total variation")
    band: tuple[float, float] = Field(default=(0.05, 0.3), description="of area_band: least and most of the picture")
    power: float = Field(default=0.3, gt=0, description="of area_power")

    @field_validator("band")
    @classmethod
    def _in_order(cls, band: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= band[0] <= band[1] <= 1:
            raise ValueError(f"band is two parts of the picture in order, such as [0.05, 0.3], not {list(band)}")
        return band
