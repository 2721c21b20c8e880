"""Errors that a user can act on. A job prints their message without a traceback and exits with status 1."""


class PipelineError(Exception):
    """What was wrong, where (file, table, interval) and what to do."""


class AuditFailed(PipelineError):
    """A critical expectation failed; nothing was committed."""


class Skip(Exception):
    """A job has nothing to do, and why; it ends with status 99, which Airflow shows as skipped."""
