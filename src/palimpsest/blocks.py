"""The base of every settings model: unknown keys are errors, every field has a description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator


class Block(BaseModel):
    """A block of the configuration: immutable, closed, validated on defaults too."""

    # Whatever is infinite or no number would be found out in the middle of a run, if at all.
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )


class OneOf(Block):
    """Exactly one of several blocks, under its name; see :func:`one_of`."""

    @model_validator(mode="before")
    @classmethod
    def _nothing_means_defaults(cls, raw: Any) -> Any:
        if isinstance(raw, dict):
            return {key: {} if value is None else value for key, value in raw.items()}
        return raw

    @model_validator(mode="after")
    def _exactly_one(self) -> OneOf:
        if len(self.model_fields_set) != 1:
            raise ValueError(f"exactly one of {', '.join(type(self).model_fields)}")
        return self

    @property
    def name(self) -> str:
        """Which one it is."""
        (name,) = self.model_fields_set
        return name

    @property
    def block(self) -> Block:
        """Its settings."""
        return getattr(self, self.name)


def one_of(name: str, text: str, choices: Mapping[str, type[BaseModel]]) -> type[OneOf]:
    """A block that holds exactly one of ``choices``, such as ``{ewc: {strength: 2}}``.

    Args:
        name: of the model, as it stands in the schema.
        text: its description.
        choices: name -> model; the first line of its docstring describes it.
    """
    fields: dict[str, Any] = {
        key: (model | None, Field(default=None, description=first_line(model)))
        for key, model in choices.items()
    }
    return create_model(name, __base__=OneOf, __doc__=text, **fields)


def first_line(model: type[BaseModel]) -> str:
    """First line of a model's docstring."""
    return (model.__doc__ or "").strip().splitlines()[0] if model.__doc__ else ""
