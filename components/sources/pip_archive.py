"""A script that downloads one archive of a release as it is, without building it, in pip's own process.

python -I pip_archive.py <package> <version> <wheel|sdist> <folder>
"""

import logging
import sys
from pathlib import Path

from pip._internal.commands.download import DownloadCommand
from pip._vendor.packaging.specifiers import SpecifierSet

WHICH = {"wheel": ["--only-binary", ":all:"], "sdist": ["--no-binary", ":all:"]}


def download(package: str, version: str, archive: str, folder: Path) -> None:
    """Download the archive that pip would take into `folder`, under its own name; raise SystemExit where there is
    none."""
    command = DownloadCommand("download", "download one archive")
    options, _ = command.parse_args([*WHICH[archive], "--ignore-requires-python", package])
    with command.main_context():
        session = command.get_default_session(options)
        finder = command._build_package_finder(  # pyright: ignore[reportPrivateUsage]
            options, session, ignore_requires_python=True
        )
        best = finder.find_best_candidate(package, SpecifierSet(f"=={version}")).best_candidate
        if best is None:
            known = sorted({str(candidate.version) for candidate in finder.find_all_candidates(package)})
            if known:
                raise SystemExit(f"this version has no {archive}; versions that have one: {', '.join(known)}")
            raise SystemExit(f"no index has a {archive} of any version")
        with session.get(
            best.link.url_without_fragment, headers={"Accept-Encoding": "identity"}, stream=True
        ) as answer:
            answer.raise_for_status()
            with (folder / best.link.filename).open("wb") as file:
                for block in answer.iter_content(1 << 20):
                    file.write(block)


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG, format="%(message)s")  # at this level pip says which index failed
    package, version, archive, folder = sys.argv[1:]
    download(package, version, archive, Path(folder))
