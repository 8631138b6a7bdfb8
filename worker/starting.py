"""What every program of the worker begins with."""

import sys

from app import config, log


def settings_of_environment() -> config.Settings:
    """The settings, with the log set up by them; says what is wrong with them and ends the program with 2 otherwise."""
    try:
        settings = config.load()
    except config.InvalidSettings as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from error
    log.configure(level=settings.log_level, log_format=settings.log_format)
    return settings
