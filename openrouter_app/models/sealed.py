"""A column of sealed text (`openrouter_app.sealing`): no clear text gets in, and none out by accident."""

from __future__ import annotations

from typing import Any, NoReturn

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

from ..engine.secret import Secret
from ..sealing import is_token, seal, unseal


class SealedTextField(models.TextField):  # type: ignore[type-arg]  # said below, in the plugin's way
    """The token of a text that is bound to other fields of its row, named in ``bound_to``.

    A `Secret` that is assigned is sealed when the row is saved. What is read, shown, dumped and loaded
    is the token; `opened` gives the text. A text that is no token cannot be stored.
    """

    _pyi_private_set_type: Any
    _pyi_private_get_type: Any

    def __init__(self, *args: Any, bound_to: tuple[str, ...] = (), **kwargs: Any) -> None:
        kwargs.setdefault("editable", False)
        self.bound_to = tuple(bound_to)
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        """With ``bound_to``; ``editable`` is False where nobody says otherwise."""
        name, path, args, kwargs = super().deconstruct()
        return name, path, args, {**kwargs, "bound_to": self.bound_to}

    def opened(self, row: models.Model) -> Secret | None:
        """The row's text; None where it cannot be opened."""
        token = getattr(row, self.attname)
        return token if isinstance(token, Secret) else unseal(token, bound_to=self.binding(row))

    def binding(self, row: models.Model) -> str:
        """What this row's token is bound to: the model, this field and the named fields' values."""
        values = ":".join(str(getattr(row, name)) for name in self.bound_to)
        return f"{row._meta.label_lower}.{self.name}:{values}"

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """The token; a secret becomes one."""
        value = getattr(model_instance, self.attname)
        if isinstance(value, Secret):
            value = seal(value, bound_to=self.binding(model_instance))
            setattr(model_instance, self.attname, value)
        return value

    def get_prep_value(self, value: Any) -> Any:
        """The token. Raises `TypeError` for a clear text, and for a secret that no row was saved with."""
        if is_token(value) or hasattr(value, "resolve_expression"):
            return value
        del value  # errors' frames hold it no more
        return self._refuse()

    def to_python(self, value: Any) -> Any:
        """A fixture's token, or a secret. Raises `ValidationError` for anything else."""
        if is_token(value) or isinstance(value, Secret):
            return value
        del value
        raise ValidationError(_("This is no sealed text."), code="invalid")

    def _refuse(self) -> NoReturn:
        raise TypeError(f"{self.name} holds sealed text alone: assign a Secret and save the row.")
