"""The landing zone: gzipped JSON lines in dated folders.

    {data}/events/arrived=YYYY-MM-DD/*.jsonl.gz      by UTC date of arrival
    {data}/catalog/snapshot=YYYY-MM-DD/*.jsonl.gz    by first service date that the snapshot holds for

A line is one JSON object. Whole numbers keep their digits as text. Keys outside the contract go to `extra`. A row's
`arrived_at` must lie on the date of its folder; otherwise the row gets a read error. A row without it, or with a wrong
one, counts as arrived at the start of that date.
"""

import re
from dataclasses import replace
from datetime import date

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from intentrec import raw_rows
from intentrec.errors import PipelineError
from intentrec.raw_rows import RAW_ITEM
from intentrec.sources import data_folder
from intentrec.sources.files import listing, numbered_lines
from intentrec.sources.integrity import Entry
from intentrec.sources.text import moment, parsed_once
from intentrec.storage.runs import Run

EVENT_FIELDS = [field.name for field in raw_rows.EVENT_FIELDS]
ITEM_FIELDS = [field.name for field in raw_rows.ITEM_FIELDS]
_ESCAPED_HALF = r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
_ESCAPED_WHOLE = r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # or an escaped backslash
# One object, no single quotes, no NaN: only what every JSON reader accepts.
_STRICT = {"allowSingleQuotes": "false", "allowNonNumericNumbers": "false"}


def read_events(spark: SparkSession, run: Run, arrived_from: date, arrived_until: date) -> DataFrame:
    """Raw events of the folders `arrived=DATE` with DATE in [arrived_from, arrived_until).

    Raises:
        PipelineError: the range has no file, the folder holds a file or folder of another name, or a file cannot be
            read.
    """
    files = _dated_files(spark, run, "events/arrived", arrived_from, arrived_until)
    if not files:
        raise PipelineError(
            f"{data_folder(run)}/events: no raw events arrived in [{arrived_from}, {arrived_until}): there is no "
            "arrived=YYYY-MM-DD/*.jsonl.gz in that range. Deliver the files, or choose another interval."
        )
    rows = _objects(numbered_lines(spark, files, run.domain.source.max_line_bytes))
    folder_date = _folder_date("arrived")
    arrived = moment(F.col("fields")["arrived_at"])
    in_folder = F.coalesce(F.to_date(arrived) == folder_date, F.lit(False))
    given = F.col("fields")["arrived_at"].isNotNull()  # without it, the folder says enough
    wrong_arrival = F.when(given & arrived.isNull(), "bad_type_arrived_at").when(given & ~in_folder, "wrong_arrived_at")
    known = [*EVENT_FIELDS, "arrived_at"]
    extra = F.map_filter("fields", lambda key, value: ~key.isin(known) & value.isNotNull())
    return rows.select(
        "raw",
        "source_file",
        "source_line",
        F.when(in_folder, arrived).otherwise(folder_date.cast("timestamp")).alias("arrived_at"),
        F.coalesce("read_error", wrong_arrival, _nested(EVENT_FIELDS)).alias("read_error"),
        *_texts(EVENT_FIELDS),
        extra.alias("extra"),
    )


def read_catalog(spark: SparkSession, run: Run) -> DataFrame:
    """Raw items of the folders `snapshot=DATE` with DATE in [run.start, run.end).

    Raises:
        PipelineError: there is no catalogue folder, it holds a file or folder of another name, or a file cannot be
            read.
    """
    files = _dated_files(spark, run, "catalog/snapshot", run.start, run.end)
    if not files:
        return spark.createDataFrame([], RAW_ITEM)
    return _objects(numbered_lines(spark, files, run.domain.source.max_line_bytes)).select(
        "raw",
        "source_file",
        "source_line",
        _folder_date("snapshot").alias("snapshot_date"),
        F.coalesce("read_error", _nested([name for name in ITEM_FIELDS if name != "genres"])).alias("read_error"),
        *_texts(ITEM_FIELDS),
    )


def reads(name: str, start: date, end: date, arrived_from: date, arrived_until: date) -> bool:
    """Whether a run over the snapshot dates [start, end) and the arrival dates given reads a file of the data folder.

    Args:
        name: relative to the data folder.
        start: first snapshot date.
        end: snapshot date after the last.
        arrived_from: first UTC date of arrival.
        arrived_until: UTC date after the last date of arrival.
    """
    found = re.fullmatch(r"(events/arrived|catalog/snapshot)=(\d{4}-\d{2}-\d{2})/[^_.][^/]*", name)
    if found is None:
        return False
    first, until = (arrived_from, arrived_until) if found[1] == "events/arrived" else (start, end)
    return first <= _date(found[2], name) < until


def _dated_files(spark: SparkSession, run: Run, key: str, start: date, end: date) -> list[Entry]:
    """Files of the folders `{key}=DATE` with DATE in [start, end). Their names are paths in the data folder."""
    parent, _, column = key.partition("/")
    folder = f"{data_folder(run)}/{parent}"
    files = []
    for sub in listing(spark, folder):
        match = re.fullmatch(rf"{column}=(\d{{4}}-\d{{2}}-\d{{2}})", sub.name)
        if match is None or not sub.is_folder:
            raise PipelineError(
                f"{folder}/{sub.name}: only folders {column}=YYYY-MM-DD belong here. Move it elsewhere."
            )
        if start <= _date(match.group(1), sub.path) < end:
            files += [replace(file, name=f"{parent}/{sub.name}/{file.name}") for file in listing(spark, sub.path)]
    for file in files:
        if file.is_folder or not file.name.endswith((".jsonl.gz", ".jsonl")):
            raise PipelineError(f"{file.path}: only *.jsonl.gz files belong here. Move it elsewhere.")
    return files


def _date(text: str, where: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise PipelineError(f"{where}: {text} is not a date. Rename the folder.") from error


def _folder_date(key: str) -> Column:
    return F.to_date(F.regexp_extract("source_file", f"/{key}=([^/]+)/", 1))


def _objects(lines: DataFrame) -> DataFrame:
    """Parsed lines: raw, source_file, source_line, read_error and fields (a map; null if a line cannot be parsed)."""
    # The parser alone would ignore text after the object. Inside a list that ends with a mark of ours, such text is an
    # error, or the mark is not where it belongs. The mark is a hash of the line, so that no line can hold its own.
    mark = F.xxhash64("value").cast("string")
    text = F.concat(F.lit("["), "value", F.lit(',{"mark":"'), mark, F.lit('"}]'))
    objects = F.from_json(text, "array<map<string,string>>", _STRICT)
    parsed = parsed_once(lines, "objects", objects).withColumn("object", F.try_element_at("objects", F.lit(1)))
    names = F.map_keys("object")
    alone = (F.size("objects") == 2) & (F.try_element_at("objects", F.lit(2))["mark"] == mark)
    error = (
        F.when(~F.expr("is_valid_utf8(value)"), "invalid_utf8")
        .when(~F.coalesce(alone & F.col("object").isNotNull(), F.lit(False)), "unreadable_line")
        .when(_half_a_character(F.col("value")), "invalid_unicode")
        .when(F.size(F.array_distinct(names)) < F.size(names), "repeated_field")
    )
    return parsed.withColumn("read_error", error).select(
        F.expr("make_valid_utf8(value)").alias("raw"),
        "source_file",
        "source_line",
        "read_error",
        F.when(F.col("read_error").isNull(), F.col("object")).alias("fields"),
    )


def _half_a_character(line: Column) -> Column:
    """Whether a line escapes half of a surrogate pair. Spark would make `?` of it, and so one id of many."""
    whole_removed = F.regexp_replace(line, _ESCAPED_WHOLE, " ")
    return line.rlike(_ESCAPED_HALF) & whole_removed.rlike(_ESCAPED_HALF)


def _texts(names: list[str]) -> list[Column]:
    return [F.col("fields")[name].alias(name) for name in names]


def _nested(names: list[str]) -> Column:
    """Read error of the first field that holds a JSON object or list, which as text could pass for an unusual id.

    A text that only begins with a bracket is no error.
    """
    fields = {name: F.col("fields")[name] for name in names}
    return F.coalesce(
        *[
            F.when(text.rlike(r"^[\[{]") & F.try_parse_json(text).isNotNull(), f"bad_type_{name}")
            for name, text in fields.items()
        ]
    )
