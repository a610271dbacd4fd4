"""Pickles classes by value so that they are made again as they were, whichever way they travel.

cloudpickle makes an empty class and sets its attributes one by one. What only the making of a class does
gets lost so: its slots, the state of an enum's members, their aliases. Nor is code of the user's to run for
a second time on the way (a metaclass, `__init_subclass__`, the `__init__` of an enum): what it did to the
class is among the attributes that are set, and what it did elsewhere travels on its own.
"""

from __future__ import annotations

import abc
import contextlib
import copyreg
import enum
import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any, Final

from cloudpickle import cloudpickle as _cloudpickle

_MADE_BY_ENUM: Final = (
    "_member_names_", "_member_map_", "_value2member_map_", "_generate_next_value_",
    "_unhashable_values_", "_unhashable_values_map_", "_hashable_values_",
)  # fmt: skip
_MADE_FOR_MEMBERS: Final = ("_value_", "_name_", "__objclass__", "_sort_order_", "_inverted_")
_STAND_INS: Final = ("__init__", "__new__", "__new_member__")
_SUBCLASSES: Final = "__kept_subclasses__"
"""Keeps alive what `cls.__subclasses__()` is to tell, which refers to it weakly."""
_FIRST: Final = ("__module__", "__slots__", "__orig_bases__")
"""What a class needs to have while it is made."""
_DESCRIPTORS: Final = (types.MemberDescriptorType, types.GetSetDescriptorType)


def reduce_class(cls: Any, subclasses: Sequence[type] = ()) -> tuple[Any, ...]:
    """Return what pickle needs to make `cls` again.

    Parameters
    ----------
    subclasses
        Those that `cls.__subclasses__()` is to tell there.
    """
    tracker = _cloudpickle._get_or_create_tracker_id(cls)
    attributes = _cloudpickle._extract_class_dict(cls)
    for name, value in list(attributes.items()):
        if isinstance(value, _DESCRIPTORS) and value.__objclass__ is cls:
            del attributes[name]
    for name in ("__weakref__", "__dict__", "__annotate_func__", _SUBCLASSES):
        attributes.pop(name, None)
    about: dict[str, Any] = {}
    if isinstance(cls, abc.ABCMeta):
        for name in ("_abc_impl", "_abc_cache", "_abc_negative_cache", "_abc_registry"):
            attributes.pop(name, None)
        about["registered"] = _registered(cls)
    if type(cls).__module__ == "_ctypes" and "_fields_" in attributes:
        fields = attributes.pop("_fields_")
        for name, *_ in fields:
            attributes.pop(name, None)
        attributes["_fields_"] = fields  # behind those that say how they are laid out
    about["interfaces"] = _interfaces(cls)
    about["subclasses"] = list(subclasses)
    if issubclass(cls, enum.Enum):
        return _reduce_enum(cls, tracker, attributes, about)
    first = {name: vars(cls)[name] for name in _FIRST if name in vars(cls)}
    first["__qualname__"] = cls.__qualname__
    for name in _FIRST:
        attributes.pop(name, None)
    # Metaclasses of libraries look for what stands in the class statement.
    bases = cls.__bases__ if type(cls) is type else _cloudpickle._get_bases(cls)
    # Those of ctypes have no name to import them by.
    metaclass = None if type(cls).__module__ == "_ctypes" else type(cls)
    arguments = (metaclass, cls.__name__, bases, first, tracker)
    return make_class, arguments, (attributes, about), None, None, fill_class


def _reduce_enum(
    cls: Any, tracker: str, attributes: dict[str, Any], about: dict[str, Any]
) -> tuple[Any, ...]:
    members = [
        (name, member.value, _new_arguments(member)) for name, member in cls.__members__.items()
    ]
    for name in (*_MADE_BY_ENUM, *cls.__members__):
        attributes.pop(name, None)
    about["members"] = {
        member.name: {k: v for k, v in vars(member).items() if k not in _MADE_FOR_MEMBERS}
        for member in cls.__members__.values()
    }
    boundary = attributes.pop("_boundary_", None)
    arguments = (type(cls), cls.__name__, cls.__bases__, members, boundary, tracker)
    attributes["__qualname__"] = cls.__qualname__
    return make_enum, arguments, (attributes, about), None, None, fill_class


def _new_arguments(member: Any) -> tuple[Any, ...]:
    """Return what the type of an enum's data needs to make those of a member again."""
    reduced: Any = object.__reduce_ex__(member, 2)
    is_new = reduced[0] is copyreg.__newobj__  # type: ignore[attr-defined]
    return tuple(reduced[1][1:] if is_new else reduced[1])


def _interfaces(cls: type) -> list[abc.ABCMeta]:
    """Return the abstract classes of the standard library that `cls` was registered with."""
    modules = [sys.modules[name] for name in ("collections.abc", "numbers") if name in sys.modules]
    known = [each for module in modules for each in list(vars(module).values())]
    return [
        each
        for each in known
        if isinstance(each, abc.ABCMeta) and any(one is cls for one in _registered(each))
    ]


def _registered(cls: abc.ABCMeta) -> list[type]:
    return [ref() for ref in vars(abc)["_get_dump"](cls)[0]]


def make_class(
    metaclass: Any, name: str, bases: tuple[Any, ...], first: dict[str, Any], tracker: str
) -> Any:
    """Return the class of this id; make it, without what `fill_class` adds, if there is none here."""
    known = known_class(tracker)
    if known is not None:
        return known
    first = {sys.intern(key): value for key, value in first.items()}
    metaclass = metaclass or type(bases[0])
    with _without_hooks(bases):
        if not _is_tracked(metaclass):
            cls = types.new_class(
                name, bases, {"metaclass": metaclass}, lambda ns: ns.update(first)
            )
        else:
            of_library = next(each for each in metaclass.__mro__ if not _is_tracked(each))
            cls = of_library.__new__(metaclass, name, types.resolve_bases(bases), first)
    return _cloudpickle._lookup_class_or_track(tracker, cls)


def make_enum(
    metaclass: Any,
    name: str,
    bases: tuple[Any, ...],
    members: Sequence[tuple[str, Any, tuple[Any, ...]]],
    boundary: Any,
    tracker: str,
) -> Any:
    """Return the enum of this id; make it with its members, without methods, if there is none here."""
    known = known_class(tracker)
    if known is not None:
        return known
    rest = iter(members)

    def new_member(cls: Any, *_: Any) -> Any:
        _name, value, arguments = next(rest)
        member = cls._member_type_.__new__(cls, *arguments)
        member._value_ = value
        return member

    of_library = next(each for each in metaclass.__mro__ if not _is_tracked(each))
    namespace = of_library.__prepare__(name, bases)
    namespace["__new__"], namespace["__init__"] = new_member, lambda self, *_: None
    for number, (member, *_) in enumerate(members):
        namespace[member] = number  # `new_member` has the value
    options = {} if boundary is None else {"boundary": boundary}
    with _without_hooks(bases):
        cls = of_library.__new__(metaclass, name, bases, namespace, **options)
    return _cloudpickle._lookup_class_or_track(tracker, cls)


def fill_class(cls: Any, state: tuple[dict[str, Any], dict[str, Any]]) -> Any:
    """Set the attributes of a class that `make_class` or `make_enum` has made."""
    attributes, about = state
    for name, value in attributes.items():
        _set_attribute(cls, name, value)
    if "members" in about:
        for name in _STAND_INS:
            if name in vars(cls) and name not in attributes:
                type.__delattr__(cls, name)
        for name, values in about["members"].items():
            vars(cls[name]).update(values)
    if about["subclasses"]:
        type.__setattr__(cls, _SUBCLASSES, about["subclasses"])
    for subclass in about.get("registered", ()):
        cls.register(subclass)
    for interface in about["interfaces"]:
        interface.register(cls)
    return cls


def _set_attribute(cls: Any, name: str, value: Any) -> None:
    # The user's metaclass may forbid it, or count; an enum's does for names of members.
    if _is_tracked(type(cls)) or issubclass(cls, enum.Enum):
        type.__setattr__(cls, name, value)
    else:
        setattr(cls, name, value)


def known_class(tracker: str) -> Any:
    """Return the class of this id if it is here; None if not."""
    with _cloudpickle._DYNAMIC_CLASS_TRACKER_LOCK:
        return _cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(tracker)


def _is_tracked(cls: Any) -> bool:
    return cls in _cloudpickle._DYNAMIC_CLASS_TRACKER_BY_CLASS


@contextlib.contextmanager
def _without_hooks(bases: tuple[Any, ...]) -> Iterator[None]:
    """Keep the user's `__init_subclass__` from being called: it was, where the class was written."""
    hooked = {
        each: vars(each)["__init_subclass__"]
        for base in types.resolve_bases(bases)
        for each in base.__mro__
        if "__init_subclass__" in vars(each) and _is_tracked(each)
    }
    for each in hooked:
        type.__delattr__(each, "__init_subclass__")
    try:
        yield
    finally:
        for each, hook in hooked.items():
            type.__setattr__(each, "__init_subclass__", hook)
