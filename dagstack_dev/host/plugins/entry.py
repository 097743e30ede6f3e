"""One plugin of a registry: its revision, what of it runs, and how it is doing."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from dagstack_dev.core.manifest.fields import PluginManifest

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from dagstack_dev.core.lifecycle import Stage
    from dagstack_dev.core.ports import Generation, Prepared
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import PluginSource
    from dagstack_dev.host.calls.gate import Gate
    from dagstack_dev.host.calls.proxy import PluginProxy
    from dagstack_dev.host.life.instance import PluginInstance
    from dagstack_dev.host.plugins.config_schema import SectionSchema
    from dagstack_dev.host.services.context import PluginContext


@dataclass(frozen=True, slots=True)
class Revision:
    """A plugin's source as far as it could be prepared without running it.

    Attributes:
        manifest: validated.
        prepared: compiled code; None for a plugin object that was registered by hand.
        source: what it was read from; None likewise.
        section_schema: what the manifest asks of the plugin's section, if anything.
    """

    manifest: PluginManifest
    prepared: Prepared | None = None
    source: PluginSource | None = None
    section_schema: SectionSchema | None = None

    @classmethod
    def unprepared(cls, ref: PluginRef, source: PluginSource) -> Revision:
        """Return a revision for a source of which only kind and name are known."""
        manifest = PluginManifest.model_construct(
            name=ref.name, kind=ref.kind, core_version="", runtime=()
        )
        return cls(manifest, None, source)

    @property
    def ref(self) -> PluginRef:
        """Kind and name."""
        return self.manifest.ref

    @property
    def by_hand(self) -> bool:
        """Whether the host registered the plugin object itself."""
        return self.source is None

    @property
    def folder(self) -> str | None:
        """The plugin's folder, None for a plugin registered by hand."""
        return self.source.folder if self.source else None


class Saved(NamedTuple):
    """What ran of a plugin, to go back to."""

    revision: Revision
    generation: Generation | None
    number: int
    context: PluginContext | None
    pending_error: BaseException | None


@dataclass(slots=True, eq=False)
class Entry:
    """One plugin: its revision, what of it runs, and how it is doing. To be read only.

    Attributes:
        revision: what it is loaded from, the next time.
        gate: what calls of it go through; it knows the instance that answers.
        generation: the code that is in force, None where none is loaded.
        number: that of this generation, counted from 1.
        imports: the highest number ever given out: that of a generation that was rolled back is
            not used again.
        running: the instance from its setup to the end of its teardown.
        context: the host's context that it was last set up with, or is to be.
        carry: what the plugin hands on from one setup to the next.
        failure: why it is `failed`; like all errors here a record (`core.recorded`), which keeps
            nothing of the plugin.
        stage: the step that failed, where it is `failed`.
        blocked_by: what it waits for, where it is `blocked`.
        pending_error: why what runs is not what is on disk.
        degraded_by: why it is not well though it is ready.
        requires_restart: whether a teardown of it has left something in this process for good.
    """

    revision: Revision
    gate: Gate
    generation: Generation | None = None
    number: int = 0
    imports: int = 0
    running: PluginInstance | None = None
    proxy: PluginProxy | None = None
    context: PluginContext | None = None
    carry: dict[str, Any] = field(default_factory=dict)
    failure: BaseException | None = None
    stage: Stage | None = None
    blocked_by: tuple[str, ...] = ()
    pending_error: BaseException | None = None
    degraded_by: BaseException | None = None
    requires_restart: bool = False

    @property
    def ref(self) -> PluginRef:
        """Kind and name."""
        return self.gate.ref

    @property
    def manifest(self) -> PluginManifest:
        """The manifest in force."""
        return self.revision.manifest

    @property
    def instance(self) -> Any:
        """The one that the proxy forwards to."""
        return self.gate.instance

    @property
    def pending(self) -> bool:
        """Whether what runs is not what is on disk."""
        return self.pending_error is not None

    @property
    def error(self) -> BaseException | None:
        """Why it is `failed`, or else why it is pending."""
        return self.failure if self.failure is not None else self.pending_error

    @property
    def saved(self) -> Saved:
        """What of it `PluginTable.restored` brings back into force."""
        return Saved(self.revision, self.generation, self.number, self.context, self.pending_error)

    def tearing_down(self) -> AbstractContextManager[None]:
        """Return a context manager in which the teardown runs."""
        return nullcontext() if self.generation is None else self.generation.tearing_down()

    def note_failure(self) -> None:
        """Note that the instance has failed, and may have left a port or a lock behind."""
        if self.generation is not None:
            self.generation.note_failure()
