"""Options of commands that a project may also keep in a settings file or in variables."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click
from click.core import ParameterSource

from dagstack_dev.cli.wording import short

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from dagstack_dev.cli.settings_file import SettingsFile

_VARIABLE: Final = "DAGSTACK_DEV_"

_IN_FORCE: Final = "dagstack_dev.settings"
"""By what the settings file is found in the `meta` of a context."""

_FILES: Final[Mapping[str, tuple[str, ...]]] = {
    "dagstack-dev.toml": (),
    "pyproject.toml": ("tool", "dagstack-dev"),
}
"""Names of settings files, the one that wins first, each with the table that holds the settings."""


def setting(flag: str, *names: str, **attributes: Any) -> Callable[[Any], Any]:
    """Declare an option of a command that is a setting, too; as `click.option`.

    Its key in a settings file is the flag without dashes, `watch-code`; its environment variable
    is `DAGSTACK_DEV_WATCH_CODE`.
    """
    return click.option(flag, *names, envvar=variable(flag), **attributes)


def setting_argument(name: str, **attributes: Any) -> Callable[[Any], Any]:
    """Declare an argument of a command that is a setting, too; as `click.argument`."""
    return click.argument(name, envvar=variable(name), **attributes)


def variable(flag: str) -> str:
    """Return the environment variable of a setting, by its flag or the name of its argument."""
    name = flag.partition("/")[0].removeprefix("--")
    return _VARIABLE + name.upper().replace("-", "_")


def settings_of(commands: Iterable[click.Command]) -> dict[str, click.Parameter]:
    """Return the parameters of `commands` that are settings, by their keys in a settings file."""
    return {
        each.envvar.removeprefix(_VARIABLE).lower().replace("_", "-"): each
        for command in commands
        for each in command.params
        if isinstance(each.envvar, str)
    }


class SettledCommand(click.Command):
    """A command whose parameters may have their defaults from a settings file."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse `args`, with the settings in force as defaults.

        Raises:
            click.UsageError: the settings file cannot be used, or the current folder is gone.
        """
        own = settings_of([self])
        if not ctx.resilient_parsing and not {*ctx.help_option_names} & {*args}:
            _current_folder()
            found = find_settings() if own else None
            if found is not None:
                commands = cast("click.Group", ctx.find_root().command).commands.values()
                values = found.values(settings_of(commands))
                ctx.default_map = {own[key].name: values[key] for key in own.keys() & values.keys()}
                ctx.meta[_IN_FORCE] = found
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run it.

        Raises:
            click.UsageError: it cannot be run so; where a setting is to blame, it says which.
        """
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            place = self._place_of_setting(ctx, error.message)
            if not place:
                raise
            raise click.UsageError(f"{place}{error.message}", ctx) from error

    def _place_of_setting(self, ctx: click.Context, message: str) -> str:
        """Return where the path that `message` begins with was set; nothing for an argument."""
        for key, parameter in settings_of([self]).items():
            value = ctx.params[parameter.name or ""]
            paths = value if isinstance(value, tuple) else (value,)
            if any(message.startswith(f"{short(str(path))}: ") for path in paths):
                source = ctx.get_parameter_source(parameter.name or "")
                if source is ParameterSource.DEFAULT_MAP:
                    return cast("SettingsFile", ctx.meta[_IN_FORCE]).place(key)
                return f"{parameter.envvar}: " if source is ParameterSource.ENVIRONMENT else ""
        return ""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write which settings file is in force."""
        super().format_epilog(ctx, formatter)
        with suppress(click.UsageError):
            found = find_settings() if settings_of([self]) else None
            if found is not None:
                formatter.write_paragraph()
                formatter.write_text(f"Settings in force: {found.shown}")


def no_paths(command: str) -> click.UsageError:
    """Return what to raise where a command is run without the folder that it needs."""
    return click.UsageError(
        f"name a folder with plugins: dagstack-dev {command} plugins/, "
        'or set paths = ["plugins"] in dagstack-dev.toml'
    )


def _current_folder() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise click.UsageError("the current folder is gone; change to one that is there") from error


def find_settings() -> SettingsFile | None:
    """Find the settings file in force: the nearest, in the current folder or above.

    The search ends at the top of a working tree of git, or at the home folder.

    Raises:
        click.UsageError: it cannot be read, or is not TOML; or the current folder is gone.
    """
    here = _current_folder()
    for folder in (here, *here.parents):
        for name, table in _FILES.items():
            path = folder / name
            try:
                data = path.read_bytes() if path.is_file() else None
            except OSError as error:
                shown = os.path.relpath(path)
                raise click.UsageError(f"{shown}: cannot be read: {error.strerror}") from error
            if data is not None and all(key.encode() in data for key in table):
                from dagstack_dev.cli.settings_file import (  # noqa: PLC0415 - most have none
                    read_settings,
                )

                found = read_settings(path, data, table)
                if found is not None:
                    return found
        if (folder / ".git").exists() or folder == Path("~").expanduser().resolve():
            break
    return None
