"""Whether MLflow still has what a job needs: a champion if there was one, and the run and files of a version.

Jobs look before their work begins. What can be deleted in MLflow by a person is an error that names a way out.
"""

from intentrec.errors import PipelineError
from intentrec.registry.releases import is_of_model
from intentrec.registry.versions import APPROVED, CHALLENGER, CHAMPION, PROMOTED, ROLLED_BACK, Registry, Version
from intentrec.storage import delta
from intentrec.storage.runs import Run

# Files of a registered model, below its folder in MLflow.
FILES = ("artifacts/clusters.json", "artifacts/model/model.json", "artifacts/model/model.safetensors")


def existing_champion(run: Run, registry: Registry) -> Version | None:
    """The champion, None if there never was one.

    Raises:
        PipelineError: there was one, and its version or the alias is gone.
    """
    champion = registry.champion()
    proof = None if champion is not None else _proof_of_a_champion(run, registry)
    if proof is not None:
        others = ", ".join(f"{each.number} (trained for {each.trained_for})" for each in registry.versions())
        raise PipelineError(
            f"{registry.name} has no champion any more, although {proof}: its version or the alias was deleted in "
            "MLflow. Choose one, and run this job again: `intentrec review approve VERSION --reason ...`; versions: "
            f"{others or 'none yet, train one first'}"
        )
    return champion


def _proof_of_a_champion(run: Run, registry: Registry) -> str | None:
    """What shows that a version was champion, None if nothing does.

    The tag `gate` alone does not: a promotion that was killed may have set it before the alias.
    """
    for version in registry.versions():
        if version.gate == PROMOTED and (version.applied or version.review == APPROVED):
            return f"version {version.number} was promoted"
        if version.gate == ROLLED_BACK:
            return f"version {version.number} was rolled back"
        if version.replaced:
            return f"version {version.number} replaced version {version.replaced}"
    releases = [each for each in delta.releases(run.profile, run.domain) if is_of_model(each)]
    if not releases:
        return None
    oldest = releases[0]
    return f"version {oldest['model_version']} made release {oldest['release_id']} as of {oldest['as_of']}"


def require_usable(registry: Registry, version: Version, role: str) -> None:
    """Check that a version's run and files are there, without reading them.

    Args:
        registry: of the version's model.
        version: to be judged, or to publish.
        role: `champion` or `challenger`.

    Raises:
        PipelineError: says what is missing, and how to go on.
    """
    problem = problem_of(registry, version)
    if problem is not None:
        otherwise = {
            CHAMPION: "give the alias champion to another version in MLflow",
            CHALLENGER: f"delete version {version.number} and run {version.run_id} in MLflow, and run train again",
        }[role]
        raise PipelineError(f"the {role}, version {version.number} of {version.name}: {problem}, or {otherwise}")


def problem_of(registry: Registry, version: Version) -> str | None:
    """What is wrong with a version's run or files, and how to repair that; None if nothing is."""
    from mlflow.exceptions import MlflowException

    client, run_id = registry.client, version.run_id
    try:
        run = client.get_run(run_id)
        experiment = client.get_experiment(run.info.experiment_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return f"its MLflow run {run_id} no longer exists: restore MLflow's database"
    if experiment.lifecycle_stage != "active":
        return (
            f"its experiment {experiment.name} is deleted in MLflow: restore it "
            f"(mlflow experiments restore --experiment-id {experiment.experiment_id})"
        )
    if run.info.lifecycle_stage != "active":
        return f"its run is deleted in MLflow: restore it (mlflow runs restore --run-id {run_id})"
    if missing := missing_files(version.uri):
        return f"its files are lost ({missing[0]}): restore MLflow's artifacts"
    return None


def missing_files(uri: str) -> list[str]:
    """The files of a registered or logged model that MLflow's artifact store lacks, with their place.

    Args:
        uri: models:/...
    """
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository

    try:
        place = ModelsArtifactRepository.get_underlying_uri(uri)
        repository = ModelsArtifactRepository(uri)
        folders = {name.rpartition("/")[0] for name in FILES}
        found = {entry.path for folder in folders for entry in repository.list_artifacts(folder)}
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return [uri]
    return [f"{place}/{name}" for name in FILES if name not in found]
