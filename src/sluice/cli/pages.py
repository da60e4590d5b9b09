"""`sluice pages`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sluice.cli._options import Data, command, read_settings
from sluice.domain.errors import SettingsError

app = command("Write the pages as static files, for a CDN.")


@app.callback()
def pages() -> None:
    """Write the pages as static files, for a CDN."""


@app.command(
    epilog="docs/pages.md says which path each file answers, with an example for nginx. Files of "
    "other releases that are there already stay, for those who still have an older page open."
)
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; made if missing.")],
    data: Data = None,
) -> None:
    """Write every page and file below DIR, each compressed beside it (.gz)."""
    settings = read_settings(data, "pages")
    from sluice.web.pages.site import File, shell_file, site

    made = site(settings.pages_tokens)

    def write(path: Path, file: File) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        path.with_name(f"{path.name}.gz").write_bytes(file.gzipped)

    try:
        for name, file in made.files.items():
            write(folder / made.assets.lstrip("/") / name, file)
        for name, file in made.shells.items():  # last: they name what must be there by then
            write(folder / shell_file(name), file)
    except OSError as error:
        raise SettingsError(f"Nothing can be written to {folder}: {error}.") from None
    print(f"{len(made.files) + len(made.shells)} files in {folder}, release {made.release}")
