# SPDX-License-Identifier: Apache-2.0
"""The builder's controls: those of a layer, and what all others are made of."""

import functools
import json
from collections.abc import Callable
from typing import Any

from nnlab.models import layers
from nnlab.models.kind import Field
from nnlab.words import errors

try:
    import ipywidgets as widgets
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        f"nnlab.builder.controls needs ipywidgets: {errors.extra('notebook')}"
    ) from None

_ACTIONS = {
    "up": ("↑", "move this layer up"),
    "down": ("↓", "move this layer down"),
    "insert": ("+", "insert a layer below this one"),
    "remove": ("\u00d7", "remove this layer"),
}


class Row:
    """The controls of one layer; `layer` is its dict in the stack."""

    def __init__(
        self, layer: dict[str, Any], act: Callable[["Row", str, Any], None]
    ) -> None:
        self.layer = layer
        self.number = html("nnlab-number")
        self.cells = [html(f"nnlab-{name}") for name in ("shape", "count", "cost")]
        kind = control("", str, layer["layer"], "auto", options=list(layers.FIELDS))
        kind.add_class("nnlab-kind")
        kind.observe(lambda change: act(self, "turn", change["new"]), "value")
        fields = []
        for name, field in layers.FIELDS[layer["layer"]].items():
            shown = _field(name, field, layer.get(name, field.default))

            def edit(change: Any, name: str = name) -> None:
                act(self, "edit", (name, change["new"]))

            shown.observe(edit, "value")
            fields.append(shown)
        buttons = (
            button(text, tip, functools.partial(act, self, action))
            for action, (text, tip) in _ACTIONS.items()
        )
        self.box = box(
            *("nnlab-row", self.number, kind, box("nnlab-fields", *fields)),
            *(*self.cells, box("nnlab-buttons", *buttons)),
        )

    def show(self, position: int, row: layers.LayerRow | None, is_bad: bool) -> None:
        """Shows the layer's position and its output; None where that is unknown."""
        self.number.value = str(position)
        made = ("", "", "")
        if row:
            made = str(row.output_shape), f"{row.parameters:,}", f"{row.flops:,}"
        for cell, text, unit in zip(self.cells, made, ("", " parameters", " FLOPs")):
            cell.value = text and f'{text}<span class="nnlab-unit">{unit}</span>'
        (self.box.add_class if is_bad else self.box.remove_class)("nnlab-bad")


def value_of(layer: dict[str, Any], name: str, value: Any) -> Any:
    """Converts a control's value for the layer's field: texts to numbers."""
    field = layers.FIELDS[layer["layer"]][name]
    if not isinstance(value, str) or value in field.choices:
        return value
    if field.absent and not value.strip():
        return None
    try:
        several = json.loads(f"[{value}]")
    except ValueError:
        return value  # `layers.check` reports it
    return several[0] if len(several) == 1 else several


def _field(name: str, field: Field, value: Any) -> Any:
    """Makes a control for a field of a layer; a text if not only a number may be in it.

    Texts are values of JSON, two of them "5, 3".
    """
    if field.type is str:
        names = [*[""] * bool(field.absent), *field.choices]
        options = [(name or "auto", name) for name in names]
        return control(name, str, value or "", "130px", options=options)
    if field.type is bool:
        return control(name, bool, bool(value), "62px", indent=False)
    if field.absent or field.pair or field.choices or field.type is tuple:
        text = value if isinstance(value, str) else json.dumps(value).strip("[]")
        text = "" if value is None else text
        return control(name, str, text, "146px", placeholder=field.absent)
    width = "114px" if name == "channels" else "94px"
    return control(name, field.type, value or 0, width)


def control(label: str, kind: type, value: Any, width: str, **more: Any) -> Any:
    """Makes a labelled control for a value; `width` includes the label."""
    makers = {bool: widgets.Checkbox, int: widgets.IntText, float: widgets.FloatText}
    make = widgets.Dropdown if "options" in more else makers.get(kind, widgets.Text)
    if kind in (int, float):
        more["continuous_update"] = True
    look = {"style": {"description_width": "initial"}, "layout": {"width": width}}
    return make(description=label, value=value, **look, **more)


def button(text: str, tip: str, do: Callable[[Any], object]) -> Any:
    """Makes a button; `do` gets it when it is pressed."""
    made = widgets.Button(description=text, tooltip=tip)
    made.on_click(do)
    return made


def box(name: str, *children: Any) -> Any:
    """Makes a box of a CSS class."""
    made = widgets.Box(list(children))
    made.add_class(name)
    return made


def html(name: str = "", text: str = "") -> Any:
    """Makes a widget that shows HTML; `name` is its CSS class."""
    made = widgets.HTML(text)
    if name:
        made.add_class(name)
    return made


def close(widget: Any) -> None:
    """Closes a widget with everything in it."""
    for child in getattr(widget, "children", ()):
        close(child)
    widget.close()
