"""The rooms as a contract of import-linter, whose own contracts forbid imports but list none.

Used by ``lint-imports --config tests/rooms/rooms.toml``; the table, and what a row means, is there.
Promises one line for every import that no row allows, naming module, line and row.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypedDict, cast

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output
from importlinter.domain.contract import InvalidContractOptions

ROOT = "waypost"


class Options(TypedDict):
    """The contract's section of rooms.toml."""

    core: dict[str, str]
    shells: dict[str, str]
    plugins: str
    not_in_core: list[str]
    core_exceptions: dict[str, list[str]]
    standard_library_only: list[str]
    sole_users: dict[str, str]


class UnknownRoom(Exception):
    """A row names a room that has no row itself."""


@dataclass(frozen=True, slots=True)
class Rooms:
    """The table. Rooms are the modules and packages just below ``waypost``, named without it."""

    allowed: Mapping[str, frozenset[str]]  # by room
    core: frozenset[str]
    not_in_core: frozenset[str]
    core_exceptions: Mapping[str, frozenset[str]]  # by room: what it may import of not_in_core
    standard_library_only: frozenset[str]
    sole_users: Mapping[str, str]  # by library
    plugins: frozenset[str]

    @classmethod
    def from_options(cls, options: Options) -> "Rooms":
        """Expand the rows; raise UnknownRoom."""
        rows = {**options["core"], **options["shells"]}

        def expand(row: str) -> frozenset[str]:
            names = set(row.split())
            unknown = names - rows.keys() - {"core", "any", "but"}
            if unknown:
                raise UnknownRoom(f"{row!r} names {' '.join(sorted(unknown))}, which has no row")
            if "any" in names:
                return frozenset(rows.keys() - names)
            if "core" in names:
                names |= options["core"].keys()
            return frozenset(names)

        return cls(
            allowed={room: expand(row) for room, row in rows.items()},
            core=frozenset(options["core"]),
            not_in_core=frozenset(options["not_in_core"]),
            core_exceptions={
                room: frozenset(libraries) for room, libraries in options["core_exceptions"].items()
            },
            standard_library_only=frozenset(options["standard_library_only"]),
            sole_users=options["sole_users"],
            plugins=expand(options["plugins"]),
        )

    def violations(self, graph: ImportGraph) -> Iterator[str]:
        """Yield a line for every module without a row and every import that no row allows."""
        for module in sorted(graph.modules):
            if graph.is_module_squashed(module):  # a library: known as a whole, imports unknown
                continue
            room = room_of(module)
            if room and room not in self.allowed:
                yield f"{module} has no row in tests/rooms/rooms.toml"
                continue
            for imported in sorted(graph.find_modules_directly_imported_by(module)):
                reason = self.objection(module, imported)
                if reason:
                    details = graph.get_import_details(importer=module, imported=imported)
                    lines = " ".join(str(detail["line_number"]) for detail in details)
                    yield f"{module} imports {imported} (line {lines}): {reason}"

    def objection(self, module: str, imported: str) -> str | None:
        """Say why ``module`` must not import ``imported``, both with their full names."""
        room, other = room_of(module), room_of(imported)
        if other is None:
            return self._objection_to_library(room, imported)
        if room is None:
            allowed, whose = self.plugins, "a plugin"
        else:
            allowed, whose = self.allowed.get(room, frozenset()), "its row"
        if other in allowed or other == room or imported == ROOT:
            return None
        return f"{whose} allows only: {' '.join(sorted(allowed)) or 'nothing'}"

    def _objection_to_library(self, room: str | None, library: str) -> str | None:
        user = self.sole_users.get(library)
        if user is not None and room != user:
            return f"{library} is for {user} alone"
        if room in self.standard_library_only and library not in sys.stdlib_module_names:
            return f"{room} is to run on the standard library"
        forbidden = self.not_in_core - self.core_exceptions.get(room or "", frozenset())
        if room in self.core and library in forbidden:
            return "the core touches nothing outside"
        return None


def room_of(module: str) -> str | None:
    """Return the room of a module, "" for ``waypost`` itself, which has no row and may import no
    room, and None for what lies outside: libraries and plugins.
    """
    root, _, below = module.partition(".")
    return below.partition(".")[0] if root == ROOT else None


class AsItIs(fields.Field[object]):
    """A value as TOML has it; import-linter's own fields know no tables."""

    def parse(self, raw_data: object) -> object:
        return raw_data


class RoomsContract(Contract):
    """The contract type ``rooms`` of rooms.toml."""

    type_name = "rooms"

    core = AsItIs()
    shells = AsItIs()
    plugins = AsItIs()
    not_in_core = AsItIs()
    core_exceptions = AsItIs()
    standard_library_only = AsItIs()
    sole_users = AsItIs()

    def validate(self) -> None:
        try:
            self.rooms = Rooms.from_options(cast(Options, self.contract_options))
        except UnknownRoom as error:
            raise InvalidContractOptions({"core, shells, plugins": str(error)}) from None

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002
        violations = list(self.rooms.violations(graph))
        return ContractCheck(kept=not violations, metadata={"violations": violations})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for violation in check.metadata["violations"]:
            output.print_error(violation, bold=False)
