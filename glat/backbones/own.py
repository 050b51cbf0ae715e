"""Networks of the user's own, named as module:factory: code, which runs only where the caller named it."""

import importlib
import inspect
import sys
from collections.abc import Callable, Collection, Iterable
from importlib.util import find_spec
from pathlib import Path

from ..errors import UserError
from .base import Backbone


def refuse_unnamed(recorded: Iterable[str | None], named: Collection[str], source: object, way_out: str) -> None:
    """See that the caller named every module whose code a record asks for; nothing is imported.

    Args:
        recorded: names of backbones that a file holds; those of glat's own networks run nothing.
        named: modules, or module:factory, that the caller named.
        source: the file or folder, for the message.
        way_out: how to name one, with ``{module}`` and ``{name}`` in it.

    Raises:
        UserError: a module that the caller did not name.
    """
    for name in recorded:
        if name is None or ":" not in name:
            continue
        module = name.partition(":")[0]
        if name not in named and module not in named:
            hint = way_out.format(module=module, name=name)
            raise UserError(f"{source} asks for the network {name}, whose code would run; if you trust it, add {hint}")


def load_factory(name: str) -> Callable[[int, float], Backbone]:
    """What ``module:factory`` names: a `Backbone` class, or a function that is defined in that module.

    The module may be installed, or lie in the current folder, which joins Python's path only then.

    Raises:
        UserError: no such module, or nothing of that name in it; anything else than such a class or function.
    """
    module_name, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), attribute]):
        raise UserError(f"backbone {name!r}: wanted module:factory, such as my_audio:my_network")
    if module_name.partition(".")[0] in sys.stdlib_module_names:
        raise UserError(f"backbone {name!r}: {module_name} is Python's own; wanted a module of yours")
    here, package = str(Path.cwd()), module_name.partition(".")[0]
    if here not in sys.path and package not in sys.modules and find_spec(package) is None:
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there, and lacks something itself
        raise UserError(
            f"backbone {name!r}: there is no module {module_name} here; run from its folder, or install it"
        ) from None
    try:
        found = getattr(module, attribute)
    except AttributeError:
        raise UserError(f"backbone {name!r}: {module.__file__} has no {attribute!r}") from None
    is_network = inspect.isclass(found) and issubclass(found, Backbone)
    if not is_network and not (inspect.isfunction(found) and found.__module__ == module.__name__):
        of = getattr(found, "__module__", None)
        where = f" of the module {of}" if isinstance(of, str) and of != module.__name__ else ""
        raise UserError(
            f"backbone {name!r} is a {type(found).__name__}{where}; wanted a class derived from "
            "glat.backbones.Backbone, or a function that is defined in the module named"
        )
    try:
        inspect.signature(found).bind(1, 1.0)
    except TypeError as error:
        raise UserError(f"backbone {name!r} cannot be called ({error}); wanted factory(num_classes, width)") from None
    return found
