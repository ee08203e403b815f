"""A project's files that say which version is served and which is tried, read again and again."""

import logging
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from components.package.bento import tag_of
from components.params import Canary, Recipe
from components.plumbing.artifacts import Layout, read_json
from components.plumbing.errors import ArtifactError
from components.promotion.published import challenger_file, champion_file
from components.recipes import PARAMS, load_recipe
from flows.router.challengers import asked_file, verdict_file
from flows.router.trial import Rules
from flows.router.versions import ServedVersion, VersionError, read_version
from flows.servers.own_command import modelyard
from serving.bundle import MANIFEST, BundleError, identify

logger = logging.getLogger(__name__)

PROMOTE_TIMEOUT_S = 1800
UNDER_WAY = (None, "running", "promoting")
"""The states of a trial that has no verdict yet, or whose router was killed before it had one."""


class Project:
    """One recipe of a project."""

    def __init__(self, root: Path, recipe: str) -> None:
        self.root, self.recipe = root, recipe
        self.first: ServedVersion | None = None
        """The version that was packaged when nothing named a champion."""
        self.looked: tuple[tuple[int, int], ServedVersion] | None = None
        """The packaged version, with the inode and the time of the manifest that names it."""
        self.unread: tuple[int, int] | None = None
        """The inode and the time of the manifest that could not be read last, which is told once."""
        self.read: tuple[int, Recipe] | None = None

    def champion(self) -> ServedVersion | None:
        """Return the version that promotion names; before it has named one, the bundle that is packaged, or None."""
        named = read_version(champion_file(self.root, self.recipe), root=self.root)
        if named is not None:
            return named
        self.first = self.first or self.packaged()
        return self.first

    def packaged(self) -> ServedVersion | None:
        """Return the version that is packaged here; None where there is none, or it cannot be read now."""
        bundle = Layout(self.root, self.recipe, "package").artifact / "bundle"
        try:
            seen = (bundle / MANIFEST).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        manifest = seen.st_ino, seen.st_mtime_ns
        if self.looked is None or self.looked[0] != manifest:
            try:
                identity, tag = identify(bundle), tag_of(bundle)
            except (BundleError, ArtifactError) as error:
                if self.unread != manifest:
                    logger.warning("what is packaged of %s cannot be read: %s", self.recipe, error)
                self.unread = manifest
                return None
            self.looked = manifest, ServedVersion("", identity.version, identity.build, tag, bundle)
        return self.looked[1]

    def untaken(self) -> ServedVersion | None:
        """Return the packaged version where it is the champion, or the named challenger, in another build of its
        service; else None."""
        packaged = self.packaged()
        with suppress(VersionError):  # which is told where the champion is followed
            for known in (self.champion(), read_version(challenger_file(self.root, self.recipe), root=self.root)):
                if packaged and known and known.digest == packaged.digest:
                    return packaged if known.build != packaged.build else None
        return None

    def challenger(self) -> ServedVersion | None:
        """Return the version to try: the one that was asked for; else, where the recipe tries all challengers, the one
        that promotion names; else None."""
        asked = read_version(asked_file(self.root, self.recipe), root=self.root)
        if asked is not None and not is_decided(self.root, self.recipe, asked):
            return asked
        named = read_version(challenger_file(self.root, self.recipe), root=self.root)
        promotion = self.settings().promotion if named is not None else None
        return named if promotion is not None and promotion.then == "trial" else None

    def rules(self) -> Rules | None:
        """Return the rules of a trial, as `service.canary` has them now; None where no challenger is tried."""
        service = self.settings().service
        canary = service.canary if service else None
        return Rules(**canary.model_dump()) if isinstance(canary, Canary) else None

    def settings(self) -> Recipe:
        """Return the recipe as params.yaml has it now, read again only where the file has
        changed: reading it takes long."""
        changed = (self.root / PARAMS).stat().st_mtime_ns
        if self.read is None or self.read[0] != changed:
            self.read = changed, load_recipe(self.root, self.recipe)
        return self.read[1]

    def promote(self, version: ServedVersion) -> str | None:
        """Ask promotion to make a challenger the champion; return why it does not, None
        where it does. It takes long."""
        return self.ask_promotion("--version", version.version, "--cause", "its trial on requests")

    def take_build(self) -> str | None:
        """Have promotion name the packaged build of the champion; return why it does not, None where it does. It takes
        seconds."""
        return self.ask_promotion("--build", "--cause", "packaged while it was served")

    def ask_promotion(self, *words: str) -> str | None:
        """Run `modelyard promote`; return why it fails, None where it does not."""
        command = modelyard(self.root, "promote", self.recipe, *words)
        try:
            done = subprocess.run(
                command, cwd=self.root, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=PROMOTE_TIMEOUT_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"'modelyard promote' took longer than {PROMOTE_TIMEOUT_S} s"
        if done.returncode == 0:
            return None
        lines = (done.stderr or done.stdout).strip().splitlines()
        return f"'modelyard promote' ended with {done.returncode}: {lines[-1] if lines else 'it said nothing'}"


def is_decided(root: Path, recipe: str, version: ServedVersion) -> bool:
    """Return whether the trial of a version has ended, or it became champion meanwhile."""
    champion = read_version(champion_file(root, recipe), root=root)
    if champion is not None and champion.digest == version.digest:
        return True
    with suppress(ArtifactError):
        return is_verdict_on(version, read_json(verdict_file(root, recipe)))
    return False


def is_verdict_on(version: ServedVersion, verdict: Mapping[str, Any]) -> bool:
    """Return whether what the router wrote decides on a version. One that failed may have failed by its service: in
    another build it is tried again."""
    if verdict.get("digest") != version.digest or verdict.get("state") in UNDER_WAY:
        return False
    return verdict["state"] != "failed" or verdict.get("build", version.build) == version.build
