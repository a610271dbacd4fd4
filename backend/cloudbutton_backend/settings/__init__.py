"""Settings: what is known, where it is written down, and which value holds."""

from cloudbutton_backend.settings.known import SettingsValues
from cloudbutton_backend.settings.resolve import (
    ResolvedSettings,
    SettingsRow,
    describe,
    forget_used,
    resolve,
    use,
)
from cloudbutton_backend.settings.sources import SettingsSources

__all__ = [
    "ResolvedSettings",
    "SettingsRow",
    "SettingsSources",
    "SettingsValues",
    "describe",
    "forget_used",
    "resolve",
    "use",
]
