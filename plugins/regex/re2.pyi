# What waypost_regex uses of google-re2, which ships no types. Never imported: for mypy alone.
# ruff: noqa: A001, N801, N802

from typing import Self

class error(Exception):
    args: tuple[bytes]

class Options:
    case_sensitive: bool
    log_errors: bool
    max_mem: int

class _Match:
    def groupdict(self, default: str) -> dict[str, str]: ...

class _Regexp:
    @property
    def groupindex(self) -> dict[str, int]: ...
    def fullmatch(self, text: str) -> _Match | None: ...

class Set:
    @classmethod
    def FullMatchSet(cls, options: Options) -> Self: ...
    def Add(self, pattern: str) -> int: ...
    def Compile(self) -> None: ...
    def Match(self, text: str) -> list[int] | None: ...

def compile(pattern: str, options: Options) -> _Regexp: ...
