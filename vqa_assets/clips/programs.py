"""Which implementation clips are read and fetched with: a library in the wheel, or a program of the machine's."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from vqa_assets.errors import SettingsError
from vqa_assets.printing import logger

AUTO = "auto"
_log = logger("vqa_assets.clips")


@dataclass(frozen=True)
class Choice:
    """Two ways to do one thing: the library's name, the program's, and the environment variable that names the latter.

    ``auto`` takes the program where the variable is set, and the library otherwise.
    """

    what: str
    library: str
    program: str
    variable: str

    def binary(self, implementation: str, environment: Mapping[str, str] | None = None) -> str | None:
        """The program to start, a name on PATH or a path; None for the library. Reads the environment now.

        SettingsError where ``implementation`` is none of the three words.
        """
        env = os.environ if environment is None else environment
        named = env.get(self.variable)
        if implementation not in (AUTO, self.library, self.program):
            raise SettingsError(
                f"{self.what}: implementation",
                found=repr(implementation),
                expected=f"one of {AUTO}, {self.library}, {self.program}",
                next_step="correct it in the run config's resources",
            )
        if implementation == self.library or (implementation == AUTO and not named):
            return None
        binary = named or self.program
        _log.info("%s by the program %s%s", self.what, binary, f" (${self.variable})" if named else "")
        return binary

    def described(self) -> str:
        """The sentence for the form in the web UI."""
        return (
            f"{self.library}; {self.program}, one process a clip and slower; or {AUTO}: {self.program} where "
            f"${self.variable} names the program, else {self.library}."
        )


PROBING = Choice("probing", "pyav", "ffprobe", "FFPROBE_BIN")
DOWNLOADING = Choice("downloading", "libcurl", "curl", "CURL_BIN")
