"""When things are looked at: the settings of sensors and schedules, taken from the environment by ``definitions``."""

from collections.abc import Mapping
from dataclasses import dataclass

from vqa_assets.errors import SettingsError

CRON_NAME, TIMEZONE_NAME, INTERVAL_NAME = "VQA_REINGEST_CRON", "VQA_REINGEST_TIMEZONE", "VQA_SENSOR_INTERVAL_S"


@dataclass(frozen=True)
class Timing:
    """When corpora are ingested again (a cron expression in a time zone), and the seconds between looks at files."""

    cron: str = "0 3 * * 1"
    timezone: str = "UTC"
    interval_s: int = 30

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Timing":
        """The variables, each with its default. SettingsError for an interval that is no number of seconds."""
        told = environment.get(INTERVAL_NAME) or str(cls.interval_s)
        if not told.isdecimal() or not 1 <= int(told) <= 86_400:
            raise SettingsError(
                INTERVAL_NAME,
                found=repr(told),
                expected="whole seconds from 1 to 86400",
                next_step="correct the environment variable, or unset it",
            )
        cron, timezone = environment.get(CRON_NAME), environment.get(TIMEZONE_NAME)
        return cls(cron or cls.cron, timezone or cls.timezone, int(told))
