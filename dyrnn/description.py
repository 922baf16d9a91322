"""What links, and the parts of a training, look like: printed, and in a notebook."""

from types import FunctionType
from typing import Any


class Shown:
    """Base of what is shown with the arguments that are not the defaults.

    They are found as attributes of the same name, or with an underscore before it.
    """

    def __repr__(self):
        import inspect  # takes its time

        shown = []
        for name, argument in inspect.signature(type(self).__init__).parameters.items():
            value = getattr(self, f"_{name}", getattr(self, name, self))
            if name != "self" and value is not self and not isinstance(value, dict):
                text = _brief(value)
                if text != _brief(argument.default):
                    shown.append(f"{name}={text}")
        return f"{type(self).__name__}({', '.join(shown)})"


def _brief(value):
    """Return a text of one line, without the numbers of arrays."""
    if isinstance(value, str | int | float | None | Shown):
        return repr(value)
    if isinstance(value, list | tuple):
        body = ", ".join(map(_brief, value[:4])) + (", ..." if value[4:] else "")
        return f"[{body}]" if isinstance(value, list) else f"({body})"
    if isinstance(value, FunctionType | type):
        return value.__name__
    shape = getattr(value, "shape", None)
    return type(value).__name__ + ("" if shape is None else f" {shape}")


class Described:
    """Base of links: their structure, and what their parameters take."""

    _params: dict
    _links: dict
    namedparams: Any

    def __repr__(self):
        lines = [
            f"{name} {param.shape if param.is_initialized else '(not yet known)'}"
            for name, param in self._params.items()
        ]
        if not self._links:
            return f"{type(self).__name__}({', '.join(lines)})"
        lines = [", ".join(lines)] if lines else []
        lines += [f"{name}: {child!r}" for name, child in self._links.items()]
        body = "\n".join(lines).replace("\n", "\n  ")
        return f"{type(self).__name__}(\n  {body}\n)"

    def __str__(self):
        return f"{self!r}\n{self._totals()}"

    def _totals(self):
        params = [param for _, param in self.namedparams()]
        known = [param.array for param in params if param.is_initialized]
        trained = {id(p) for _, p in self.namedparams(only_updated=True)}
        frozen = sum(
            p.size for p in params if p.is_initialized and id(p) not in trained
        )
        text = (
            f"{sum(array.size for array in known):,} values in {len(known)} "
            f"parameters, {_bytes(sum(array.nbytes for array in known))}"
        )
        text += f", {frozen:,} of them frozen" if frozen else ""
        waiting = len(params) - len(known)
        return text + (
            f"; {waiting} parameters wait for their shape" if waiting else ""
        )

    def _repr_html_(self):
        """Return a table of the parameters, for a notebook."""
        import html  # takes its time

        rows = [
            (
                path,
                param.shape,
                param.dtype,
                f"{param.size:,}",
                _bytes(param.array.nbytes),
            )
            if param.is_initialized
            else (path, "not yet known", "", "", "")
            for path, param in self.namedparams()
        ]
        header = "parameter", "shape", "type", "values", "memory"
        table = "".join(
            "<tr>" + "".join(f"<td>{html.escape(str(c))}</td>" for c in row) + "</tr>"
            for row in (header, *rows)
        )
        name = html.escape(type(self).__name__)
        return f"<b>{name}</b>: {html.escape(self._totals())}<table>{table}</table>"


def _bytes(n):
    for unit in ("bytes", "kB", "MB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} GB"
