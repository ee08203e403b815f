"""A recipe's versions in MLflow's model registry: the one that is served (champion), and the one that
may be next (challenger).

A version is a model: a bundle, and the float weights behind it, each under a digest that was recorded when it was
registered. A bundle of the same model with another service is another build of the same version, and takes the former
one's place here. What comes back from here has been checked against its digest first. The bundle lies within an MLflow
model (package pyfunc), which the run that made it logged; of what MLflow writes around it nothing is part of a digest.
The weights are artifacts of that run, and so are the bundles of versions that were registered without such a model.
"""

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from components.params.recipe import champion_file
from components.plumbing.artifacts import files_of, read_json, replacing_folder, sha256_of, write_json
from components.plumbing.errors import ArtifactError, InputError
from components.tracking.pyfunc import BUNDLE, MAX_DESCRIPTION
from serving.bundle import CARD, MANIFEST, MODEL, SHORT, BundleId, identify, misnamed

logger = logging.getLogger(__name__)

CHAMPION = "champion"
"""The alias of the version that is served."""
CHALLENGER = "challenger"
"""The alias of the newest version that is not served."""
WEIGHTS = "weights"
"""The folder, in a registered version's run, with the float weights as components/models/storage.py reads them."""
WEIGHTS_FILES = "weights.json"
"""The file beside that folder with the sha256 of each of its files."""
WEIGHTS_TAG = "modelyard.weights"
"""The version's tag with the sha256 of the list of its weights' files (`weights.json`)."""
MODEL_TAG = "modelyard.model_id"
"""The version's tag with the id of its first build's logged model, which MLflow's databases do not keep."""
BUILD_TAG = "modelyard.build"
"""The version's tag with the build that `bring` gives: JSON of the build's digest, the id of its logged model, and its
place. Each build that was ever registered has a tag of its own, too, which ends in a point and the first digits."""
CHAMPIONS = ".modelyard/champions"
"""The folder, in a project, that keeps the bundles of champions on this machine."""
BROUGHT = ".brought"
"""The folder, within one that is not in place yet, into which MLflow copies a bundle under a name of its own."""
NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""MLflow's error codes for a model that was never registered, and for an alias that no version of it has."""


@dataclass(frozen=True)
class Version:
    """One registered model of a recipe, in one build of its service."""

    recipe: str
    number: int
    digest: str
    """The model's: the sha256 of model.json."""
    build: str
    """The bundle's: the sha256 of manifest.json, which names the sha256 of every other file."""
    run_id: str
    source: str
    """The place where MLflow keeps the logged model that the build lies in, or the bundle
    itself where it has no model."""
    model_id: str | None = None
    """The id of the logged model; None of a version whose bundle is an artifact of its run."""

    @property
    def bundle(self) -> str:
        """The place of the bundle in MLflow's artifacts."""
        return f"{self.source}/{BUNDLE}" if self.model_id else self.source

    @property
    def tag(self) -> str:
        """The tag of the version's Bento."""
        return f"{self.recipe}:{self.label}"

    @property
    def identity(self) -> BundleId:
        """The digests of the model and of the bundle."""
        return BundleId(self.digest, self.build)

    @property
    def label(self) -> str:
        """The name of the build within its recipe, by the first digits of both digests."""
        return self.identity.label


class Registry:
    """The versions of one recipe."""

    def __init__(self, client: Any, recipe: str) -> None:
        self.client, self.recipe = client, recipe

    def register(self, folder: Path, *, weights: Path, run_id: str) -> dict[str, str]:
        """Make a bundle a version, unless its model is one; the first is the champion, a later one the challenger.

        Another build of a version is the one that `bring` gives from then on. MLflow's own address of the version keeps
        the first: a version's source never changes there.
        """
        client, name, given = self.client, self.recipe, identify(folder)
        from mlflow.exceptions import MlflowException

        from components.tracking.pyfunc.logged import (  # it reads the whole of MLflow's models
            description_of,
            log_model,
            show_model,
        )

        try:
            client.get_registered_model(name)
        except MlflowException:
            client.create_registered_model(name)
        known = client.search_model_versions(f"name = '{name}' AND tags.digest = '{given.version}'")
        if known:
            version, registered = known[0], self._version(known[0])
            if registered.build != given.build:
                model = log_model(client, folder, run_id=run_id)
                link_model(client, model, version)
                written = build_tag(given.build, model)
                client.set_model_version_tag(name, version.version, tag_of_build(given.build), written)
                client.set_model_version_tag(name, version.version, BUILD_TAG, written)
                client.update_model_version(name, version.version, description_of(folder))
                logger.info("another build of version %s: a running service takes it over", version.version)
            elif registered.model_id is not None:
                show_model(client, registered.model_id, run_id=run_id)
        else:
            model = log_model(client, folder, run_id=run_id)
            tags = {
                "digest": given.version,
                WEIGHTS_TAG: self.log_weights(weights, run_id),
                MODEL_TAG: model.model_id,
                BUILD_TAG: build_tag(given.build, model),
                tag_of_build(given.build): build_tag(given.build, model),
            }
            version = client.create_model_version(
                name, model.artifact_location, run_id, tags=tags, description=description_of(folder),
                model_id=model.model_id,
            )  # fmt: skip
            link_model(client, model, version)
        champion = self.at(CHAMPION)
        alias = CHAMPION if champion is None or champion.number == int(version.version) else CHALLENGER
        client.set_registered_model_alias(name, alias, version.version)
        self.describe()
        return {"name": name, "version": str(version.version), "alias": alias}

    def note_build(self, version: Version, bundle: Path) -> None:
        """Have `bring` give this build of a version, where it was registered before; its bundle lies at `bundle`."""
        tags = self.client.get_model_version(self.recipe, str(version.number)).tags
        written = tags.get(tag_of_build(version.build))
        if written is None or written == tags.get(BUILD_TAG):
            return
        self.client.set_model_version_tag(self.recipe, str(version.number), BUILD_TAG, written)
        card = (bundle / CARD).read_text(encoding="utf-8")[:MAX_DESCRIPTION]
        self.client.update_model_version(self.recipe, str(version.number), card)
        self.describe()

    def log_weights(self, weights: Path, run_id: str) -> str:
        """Log the files of a model's weights, and the list of their sha256; return the sha256 of that list."""
        self.client.log_artifacts(run_id, str(weights), WEIGHTS)
        with TemporaryDirectory(prefix="modelyard-weights-") as folder:
            files = Path(folder) / WEIGHTS_FILES
            write_json(files, files_of(weights))
            self.client.log_artifact(run_id, str(files))
            return sha256_of(files)

    def champion_weights(self) -> str | None:
        """Return the digest of the champion's float weights; None where no version is the champion, or it has none."""
        version = self._raw_at(CHAMPION)
        return None if version is None else version.tags.get(WEIGHTS_TAG)

    def bring_weights(self, digest: str, folder: Path) -> Path:
        """Bring float weights into `folder`; return the folder in which they lie.

        ArtifactError where no version has them, or they are not what was registered.
        """
        from mlflow.exceptions import MlflowException

        found = self.client.search_model_versions(f"name = '{self.recipe}' AND tags.`{WEIGHTS_TAG}` = '{digest}'")
        if not found:
            raise ArtifactError(
                f"no version of {self.recipe} has the weights {digest[:12]}, which the last champion here had; "
                f"'modelyard run {self.recipe}' starts from the present champion"
            )
        version = found[0]
        called = f"version {version.version} of {self.recipe}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            files = Path(self.client.download_artifacts(version.run_id, WEIGHTS_FILES, str(folder)))
            weights = Path(self.client.download_artifacts(version.run_id, WEIGHTS, str(folder)))
        except (MlflowException, OSError) as error:
            raise ArtifactError(f"the weights of {called} are gone from MLflow's artifacts: {error}") from error
        if sha256_of(files) != digest or files_of(weights) != read_json(files):
            shutil.rmtree(folder)
            raise ArtifactError(
                f"the weights of {called} are not those that were registered; they were not opened. Set the alias "
                f"'{CHAMPION}' to another version, or start from another pretrain.source"
            )
        return weights

    def versions(self) -> list[Version]:
        """Return all versions, the newest first."""
        found = self.client.search_model_versions(f"name = '{self.recipe}'")
        return sorted(map(self._version, found), key=lambda version: -version.number)

    def version(self, number: int) -> Version:
        """Return the version of a number; InputError where there is none."""
        known = {version.number: version for version in self.versions()}
        if number not in known:
            listed = ", ".join(map(str, sorted(known))) or "none; 'modelyard run' makes the first"
            raise InputError(f"{self.recipe} has no version {number}; it has: {listed}")
        return known[number]

    def at(self, alias: str) -> Version | None:
        """Return the version that has an alias; None where none has it."""
        found = self._raw_at(alias)
        return None if found is None else self._version(found)

    def crown(self, version: Version) -> None:
        """Make a version the champion; it is then no challenger any more."""
        self.client.set_registered_model_alias(self.recipe, CHAMPION, str(version.number))
        challenger = self.at(CHALLENGER)
        if challenger is not None and challenger.number == version.number:
            self.client.delete_registered_model_alias(self.recipe, CHALLENGER)
        self.describe()

    def describe(self) -> None:
        """Give the registered model the card of its champion as its description."""
        champion = self._raw_at(CHAMPION)
        if champion is not None and champion.description:
            self.client.update_registered_model(self.recipe, champion.description)

    def bring(self, version: Version, folder: Path) -> None:
        """Put a version's bundle at `folder`, whole or not at all; one that is there and unharmed is left as it is.

        ArtifactError where the registry's files are gone, or are not those that were registered.
        """
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        if folder.is_dir() and fault_of(folder, version.identity) is None:
            return
        called = f"version {version.number} of {self.recipe}"
        try:
            with replacing_folder(folder) as new:
                (new / BROUGHT).mkdir()
                uri = self.client.tracking_uri
                brought = Path(download_artifacts(version.bundle, dst_path=str(new / BROUGHT), tracking_uri=uri))
                if fault := fault_of(brought, version.identity):
                    raise ArtifactError(
                        f"the bundle of {called} is not the one that was registered: {fault}; it was not opened. "
                        "Bring the registry's files back from a copy, or choose another version"
                    )
                for one in brought.iterdir():
                    one.rename(new / one.name)
                shutil.rmtree(new / BROUGHT)
        except (MlflowException, OSError) as error:
            raise ArtifactError(f"the bundle of {called} cannot be had from MLflow's artifacts: {error}") from error

    def _raw_at(self, alias: str) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_model_version_by_alias(self.recipe, alias)
        except MlflowException as error:
            if error.error_code not in NOT_THERE:
                raise
            return None

    def _version(self, found: Any) -> Version:
        digest = found.tags.get("digest", "")  # which covers the service, too, where no build was recorded
        unnamed = {"digest": digest, "model_id": found.tags.get(MODEL_TAG), "source": found.source}
        build = json.loads(found.tags[BUILD_TAG]) if BUILD_TAG in found.tags else unnamed
        return Version(
            recipe=self.recipe,
            number=int(found.version),
            digest=digest,
            build=build["digest"],
            run_id=found.run_id,
            model_id=build["model_id"],
            source=build["source"].rstrip("/"),
        )


def tag_of_build(build: str) -> str:
    """Return the name of the version's tag that keeps where a build is."""
    return f"{BUILD_TAG}.{build[:SHORT]}"


def build_tag(digest: str, model: Any) -> str:
    """Return the value of BUILD_TAG for a build that was logged as an MLflow model."""
    return json.dumps({"digest": digest, "model_id": model.model_id, "source": model.artifact_location})


def link_model(client: Any, model: Any, version: Any) -> None:
    """Have the page of a logged model link to the version that it is of."""
    named = json.dumps([{"name": version.name, "version": int(version.version)}])
    client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": named})


def fault_of(bundle: Path, identity: BundleId) -> str | None:
    """Return why a folder is not the bundle with these digests, of the model and of the build; None where it is, to the
    byte."""
    if not (bundle / MANIFEST).is_file():
        return f"{MANIFEST} is missing"
    if sha256_of(bundle / MANIFEST) != identity.build:
        return f"{MANIFEST} is another"
    recorded: dict[str, str] = read_json(bundle / MANIFEST)["files"]
    seen = {name: sha256 for name, sha256 in files_of(bundle).items() if name != MANIFEST}
    for name in sorted({*recorded, *seen}):
        if name not in seen:
            return f"{name} is missing"
        if recorded.get(name) != seen[name]:
            return f"{name} is another" if name in recorded else f"{name} was never recorded"
    if recorded.get(MODEL, identity.build) != identity.version:
        return f"{MODEL} is of another version"
    other = misnamed(bundle, recorded)
    return f"{MODEL} is of another {other}" if other else None


def note_weights(root: Path, registry: Registry) -> None:
    """Write down which weights the champion has, where that changed: what starts from them depends on this file.

    The file is removed where there is no champion with weights.
    """
    path, digest = root / champion_file(registry.recipe), registry.champion_weights()
    if digest is None:
        path.unlink(missing_ok=True)
    elif noted_weights(root, registry.recipe) != digest:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"weights": digest})


def noted_weights(root: Path, recipe: str) -> str | None:
    """Return the digest of the weights that a training of the recipe starts from where its source is `champion`; None
    where no champion was noted."""
    path = root / champion_file(recipe)
    return read_json(path)["weights"] if path.is_file() else None
