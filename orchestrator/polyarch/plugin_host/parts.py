"""What plugins make: their factories are called here, and what a foreign one raises is told with its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from polyarch.contract.others import PluginServices
from polyarch.errors import HostError, InterruptedPull, PolyarchError, UsageError
from polyarch.events import Emit, Warned
from polyarch.plugin_host.discovery import named_when_interrupted
from polyarch.plugin_host.host import PluginHost
from polyarch.plugin_host.kinds import P, Point, kind_of
from polyarch.plugin_host.shapes import check, told
from polyarch.settings import Settings

T = TypeVar("T")


class Parts:
    """Calls the factories of the plugins in force. `plugins` answers the host; `emit` is given warnings."""

    def __init__(self, settings: Settings, plugins: Callable[[], PluginHost], emit: Emit) -> None:
        self._settings, self._plugins, self._emit = settings, plugins, emit

    def options(self, name: str) -> Mapping[str, object]:
        """The table `[options.NAME]` of the settings."""
        return self._settings.options.get(name, {})

    def services(self, name: str) -> PluginServices:
        """What the factory of a plugin is handed that needs nothing else."""
        return PluginServices(self.options(name), self._settings.environ)

    def each(self, kind: type[P], make: Callable[[P], T]) -> list[tuple[str, T]]:
        """What the plugins of a kind make, with their names; one that cannot make it is told and passed over.

        Raises UsageError where a plugin says that its options in the settings are wrong.
        """
        made = []
        for plugin in self._plugins().all(kind):
            try:
                made.append((plugin.name, self.checked(plugin, make)))
            except (InterruptedPull, UsageError):
                raise
            except (Exception, SystemExit) as error:
                # A stranger's code: whatever it raises stays with it.
                who = self._plugins().origin(plugin)
                self._emit(Warned(f"plugin {who} cannot be used and is passed over: {told(error)}"))
        return made

    def needed(self, plugin: P, make: Callable[[P], T], kind: str = "") -> T:
        """What a plugin makes that nothing works without. Raises HostError, naming it, where it fails.

        `kind` is what is made, where it is not what the plugin is.
        """
        try:
            return self.checked(plugin, make, kind)
        except PolyarchError:
            raise
        except (Exception, SystemExit) as error:
            raise _unusable(self._plugins().origin(plugin), error) from error

    def checked(self, plugin: P, make: Callable[[P], T], kind: str = "") -> T:
        """What `make` makes of a plugin. Raises what that raises, and Misfit where methods or arguments lack."""
        with named_when_interrupted(self._plugins().origin(plugin)):
            made = make(plugin)
        check(kind or kind_of(plugin), made)
        return made

    def blame(self, error: Exception) -> None:
        """Raises HostError, naming the plugin, for what is no error of polyarch's but came out of a foreign plugin."""
        if not isinstance(error, PolyarchError):
            culprit = self._plugins().culprit(error)
            if culprit is not None:
                raise _unusable(culprit, error) from error


def _unusable(point: Point, error: BaseException) -> HostError:
    return HostError(f"plugin {point} cannot be used: {told(error)}", "update it, or see: polyarch plugin check")
