"""The Spark session, the Delta tables (read, stage, audit, commit), and the run ledger."""
