"""A registered model where this project is not installed: in a process without the checkout and without Spark."""

import json
import subprocess
import sys
from pathlib import Path

import mlflow
import pyarrow.parquet as pq
import pytest
from mlflow.artifacts import download_artifacts

from intentrec.registry.tracking import client_of
from intentrec.training.data import read_sequences
from tests.registry import world
from tests.registry.judged import Judged

pytestmark = pytest.mark.slow

# Takes the model's folder, rows of `sequences` as Parquet, a list of parameters as JSON, and a folder for the answers:
# with each parameters one to a frame, and one to the request that a server gets.
PROGRAM = """
import json, sys

class NoSpark:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pyspark":
            raise ModuleNotFoundError(f"{name} is not in this environment", name=name)

others = [finder for finder in sys.meta_path if "__editable__" not in getattr(finder, "__module__", "")]
sys.meta_path[:] = [NoSpark(), *others]
try:
    import intentrec
except ModuleNotFoundError:
    pass
else:
    sys.exit(f"the checkout can be imported: {intentrec.__file__}")

import mlflow, pyarrow.parquet as pq
from mlflow.pyfunc import scoring_server

folder, rows, params, answers = sys.argv[1:]
model = mlflow.pyfunc.load_model(folder)
given = pq.read_table(rows).to_pandas(maps_as_pydicts="strict")
given["as_of"] = given["as_of"].astype("datetime64[ns]")
for number, chosen in enumerate(json.loads(params)):
    predicted = model.predict(given, params=chosen)
    predicted.to_json(f"{answers}/frame{number}.json", orient="records", double_precision=15)
    asked = {"dataframe_records": pq.read_table(rows).to_pylist(maps_as_pydicts="strict"), "params": chosen}
    body = json.dumps(asked, default=lambda moment: moment.isoformat().removesuffix("+00:00"))
    answer = scoring_server.invocations(body, "application/json", model, model.metadata.get_input_schema())
    if answer.status != 200:
        sys.exit(answer.response)
    with open(f"{answers}/request{number}.json", "w") as file:
        json.dump(json.loads(answer.response)["predictions"], file)
import intentrec
print(intentrec.__file__)
"""


def test_a_model_predicts_without_the_checkout_and_without_spark(judged: Judged, tmp_path: Path) -> None:
    client_of(judged.profile)
    warehouse = judged.run("publish").warehouse
    rows = read_sequences(warehouse, 0, world.END)
    pq.write_table(rows, tmp_path / "rows.parquet")
    folder = Path(download_artifacts(artifact_uri=judged.version.uri, dst_path=str(tmp_path / "model")))
    given = rows.to_pandas(maps_as_pydicts="strict")
    given["as_of"] = given["as_of"].astype("datetime64[ns]")
    params = [{"top_k": 5}, {"top_k": 5, "catalog": f"{warehouse}/catalog", "catalog_version": 0}]
    arguments = [str(folder), str(tmp_path / "rows.parquet"), json.dumps(params), str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.splitlines()[-1]).is_relative_to(folder), "not the code that came with the model"
    model = mlflow.pyfunc.load_model(judged.version.uri)
    for number, chosen in enumerate(params):
        wanted = model.predict(given, params=chosen).to_dict("records")
        for answers in (f"frame{number}.json", f"request{number}.json"):
            found = json.loads((tmp_path / answers).read_text())
            for ours, theirs in zip(found, wanted, strict=True):
                for name in ("user_id", "primary_intent", "cluster"):
                    assert ours[name] == theirs[name]
                assert ours["title_ids"] == list(theirs["title_ids"])
                assert ours["scores"] == pytest.approx(list(theirs["scores"]), rel=1e-5, abs=1e-6)
                assert ours["attention"] == pytest.approx(theirs["attention"], rel=1e-5, abs=1e-6)
