"""Running the pipeline on one machine: Airflow and MLflow as processes, the demo, backfills, what is stale.

Nothing here imports airflow or mlflow: they are driven from outside, through their commands and their REST API.
"""
