"""torchvision's ResNets without the rest of torchvision."""

import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

_PACKAGE = "torchvision"


@cache
def torchvision_resnet() -> ModuleType:
    """The module `torchvision.models.resnet`.

    The packages that it stands in import everything else they hold, and operators for detection import torch's compiler
    with them: two to three seconds of every process that has a network. So the module is imported from stand-ins of
    its packages, which are taken away again: whoever imports torchvision later gets all of it, as ever.
    """
    module = f"{_PACKAGE}.models.resnet"
    if _PACKAGE in sys.modules:
        return import_module(module)
    spec = find_spec(_PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folders = list(spec.submodule_search_locations)
    try:
        for name, below in ((_PACKAGE, ""), (f"{_PACKAGE}.models", "/models")):
            sys.modules[name] = ModuleType(name)
            sys.modules[name].__path__ = [folder + below for folder in folders]
        return import_module(module)
    finally:
        for name in [name for name in list(sys.modules) if name.partition(".")[0] == _PACKAGE]:
            del sys.modules[name]
