"""The pipeline on one machine: Airflow and MLflow as processes, the demo, backfills, tables on the terminal.

Nothing here imports airflow or mlflow: both are used from outside, through their commands and REST APIs. (The module
`dags_test` imports airflow in the process that it starts for it.)
"""
