"""Rules of the domain file: refused with file and key, applied in order, no implicit else."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from intentrec.config import ROOT, ConfigError, Domain, load_domain
from intentrec.interactions import rules

FILE = "conf/some.yaml"


def with_rule(domain: Domain, when: str) -> Domain:
    """The domain with its second rule changed."""
    action_types = list(domain.interactions.action_types)
    action_types[1] = action_types[1].model_copy(update={"when": when})
    return domain.model_copy(
        update={"interactions": domain.interactions.model_copy(update={"action_types": action_types})}
    )


def with_target(domain: Domain, when: str) -> Domain:
    return domain.model_copy(update={"interactions": domain.interactions.model_copy(update={"target_when": when})})


@pytest.mark.parametrize("path", sorted((ROOT / "conf").glob("*.yaml")), ids=lambda path: path.stem)
def test_rules_of_the_repository_pass(spark: SparkSession, path: Path) -> None:
    rules.check(spark, load_domain(path), str(path))


@pytest.mark.parametrize(
    ("when", "complaint"),
    [
        ("r.duration_s <", "not Spark SQL"),
        ("r.no_such > 1", "no_such.*Columns: r.event_date"),
        ("s.genres is null", "genres"),
        ("action_type = 'save'", "action_type"),
        ("r.duration_s", "is double, not true or false"),
        ("null", "not true or false"),
        ("sum(r.duration_s) > 1", "calls sum, which is not a function of the row"),
        ("true) THEN 'x' WHEN (true", "not Spark SQL"),
        ("true) -- ", "not Spark SQL"),
        ("true) or (true", "not Spark SQL"),
        ("true; select 1", "not Spark SQL"),
        ("r.*", "not true or false|INVALID_USAGE_OF_STAR"),
    ],
)
def test_a_wrong_rule_is_named(spark: SparkSession, streaming: Domain, when: str, complaint: str) -> None:
    key = r"^conf/some.yaml: interactions.action_types.1.when \(sample\): "
    with pytest.raises(ConfigError, match=f"(?s){key}.*{complaint}"):
        rules.check(spark, with_rule(streaming, when), FILE)


HOSTILE = {
    "reads a table or a file": [
        "exists (select 1 from json.`{secret}`)",
        "(select max(value) from text.`{secret}`) = 'x'",
        "'x' in (select value from text.`{secret}`)",
        "exists(array('x'), g -> g = (select max(value) from text.`{secret}`))",
        "case when true then (select count(*) from range(1)) > 0 end",
        "exists (table no_such_table)",
    ],
    "is not a function of the row": [
        "current_user() = 'x'",
        "session_user() = 'x'",
        "current_database() = 'x'",
        "version() = 'x'",
        "input_file_name() = 'x'",
        "reflect('java.lang.System', 'getenv', 'PATH') = 'x'",
        "java_method('java.lang.System', 'setProperty', 'a', 'b') = 'x'",
        "try_reflect('java.lang.System', 'getenv', 'PATH') = 'x'",
        "xpath_string('<!DOCTYPE a [<!ENTITY b SYSTEM \"file://{secret}\">]><a>&b;</a>', 'a') = 'x'",
        "builtin.current_user() = 'x'",
        "spark_catalog.default.no_such(1)",
        "raise_error('x')",
        "uuid() = 'x'",
        "row_number() over (order by 1) = 1",
        "explode(array(true))",
    ],
    "clock, on chance or on who executes it": [
        "current_user = 'x'",
        "user = 'x'",
        "rand() > 0.5",
        "shuffle(array(1, 2))[0] = 1",
        "uniform(0, 9) = 1",
        "randstr(3) = 'abc'",
        "cast(now() as date) < date'2026-01-01'",
        "current_date < date'2026-01-01'",
        "curdate() < date'2026-01-01'",
        "localtimestamp() < timestamp_ntz'2026-01-01 00:00:00'",
        "unix_timestamp() > 1",
        "current_timezone() = 'UTC'",
    ],
    "depends on the clock": [
        "date'today' > date'2026-01-01'",
        "date /* x */ 'Tomorrow' > date'2026-01-01'",
        "timestamp ' now' > timestamp'2026-01-01 00:00:00'",
    ],
    "by IDENTIFIER": [
        "identifier('current' || '_user')() = 'x'",
        "identifier('xpath_string')('<a/>', 'a') = 'x'",
    ],
}


@pytest.mark.parametrize(
    ("when", "complaint"), [(when, complaint) for complaint, conditions in HOSTILE.items() for when in conditions]
)
@pytest.mark.parametrize("changed", [with_rule, with_target])
def test_a_condition_that_is_no_function_of_its_row_is_refused(
    spark: SparkSession,
    streaming: Domain,
    changed: Callable[[Domain, str], Domain],
    when: str,
    complaint: str,
    tmp_path: Path,
) -> None:
    """In rules and targets alike, and before Spark reads what the condition names."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    with pytest.raises(ConfigError, match=rf"^conf/some\.yaml: interactions\.\S+.*: .*{complaint}"):
        rules.check(spark, changed(streaming, when.replace("{secret}", str(secret))), FILE)


@pytest.mark.parametrize(
    "when",
    [
        "true -- a comment",
        "true /* ) */",
        "r.surface = 'now() today'",
        "r.surface = 'select 1 from x'",
        "exists(r.genres, g -> g = 'drama') and size(array_intersect(r.genres, u.genres)) > 0",
        "hour(r.end_ts) between 20 and 23 or extract(dow from r.end_ts) = 1",
        "r.event_date < date'2026-01-01' and date_trunc('month', r.end_ts) = timestamp'2026-01-01 00:00:00'",
        "lower(trim(r.surface)) like 'home%' and r.surface rlike '^h' and r.n_play::int % 2 = 1",
        "coalesce(s.days_since_play, 0) > 1 and if(s.listed, true, r.kind <=> 'movie')",
        "try_divide(r.duration_s, s.days_since_play) > 1 and greatest(r.n_play, r.n_trailer, 2) > 2",
        "substring(r.item_id from 1 for 1) = 'a' and position('x' in r.item_id) > 0",
    ],
)
def test_functions_of_the_row_are_accepted(spark: SparkSession, streaming: Domain, when: str) -> None:
    rules.check(spark, with_rule(streaming, when), FILE)


@pytest.mark.parametrize(
    ("when", "complaint"),
    [("r.duration_s > 1", "duration_s"), ("duration_s", "not true or false"), ("is_target", "is_target")],
)
def test_a_wrong_target_is_named(spark: SparkSession, streaming: Domain, when: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s)^conf/some.yaml: interactions.target_when: .*{complaint}"):
        rules.check(spark, with_target(streaming, when), FILE)


def test_a_signal_must_not_hide_a_column(spark: SparkSession, kuairand: Domain) -> None:
    events = kuairand.events.model_copy(update={"signals": ["duration_s"]})
    with pytest.raises(ConfigError, match=r"events.signals: duration_s is already a column"):
        rules.check(spark, kuairand.model_copy(update={"events": events}), FILE)


@pytest.fixture(scope="module")
def label(spark: SparkSession) -> Callable[..., str | None]:
    """Label of a visit of 600 seconds. Other values are null unless given as SQL: label(domain, s_listed="true")."""

    def apply(domain: Domain, **given: str) -> str | None:
        scopes = {"r": rules.visit_scope(domain), "s": rules.TITLE_SCOPE, "u": rules.USER_SCOPE}
        usual = {"r_duration_s": "600.0D", "s_last_finished": "false", "s_listed": "false", "u_genres": "array()"}
        usual |= {"r_genres": "array('drama')"} | {f"r_n_{kind}": "0L" for kind in domain.events.types}
        values = usual | given
        structs = []
        for scope, of in scopes.items():
            fields = [F.expr(values.get(f"{scope}_{f.name}", "null")).cast(f.dataType).alias(f.name) for f in of]
            structs.append(F.struct(*fields).alias(scope))
        row = spark.range(1).select(*structs).select(rules.action_type(domain)).first()
        assert row is not None
        return row[0]

    return apply


@pytest.mark.parametrize(
    ("expected", "given"),
    [
        ("save", {"r_duration_s": "119.9D", "r_n_list_add": "1L", "r_n_play": "1L"}),
        ("sample", {"r_duration_s": "119.9D", "r_n_trailer": "1L"}),
        ("browse", {"r_duration_s": "0D", "r_n_list_remove": "1L"}),
        ("resume", {"s_days_since_play": "30D", "r_first_item_id": "'a'", "s_last_item_id": "'a'"}),
        ("next_episode", {"s_days_since_play": "1D", "r_episode": "3", "s_last_episode": "2"}),
        ("return", {"s_days_since_play": "30.1D", "r_first_item_id": "'a'", "s_last_item_id": "'a'"}),
        (
            "rewatch",
            {
                "s_days_since_play": "1D",
                "r_first_item_id": "'a'",
                "s_last_item_id": "'a'",
                "s_last_finished": "true",
            },
        ),
        ("from_list", {"s_listed": "true", "r_n_search_play": "1L"}),
        ("search_play", {"r_n_search_play": "1L"}),
        ("explore", {"u_genres": "array('war')"}),
        ("discover", {"u_genres": "array('war', 'drama')"}),
        ("discover", {"r_genres": "array()"}),
    ],
)
def test_the_streaming_rules(
    label: Callable[..., str | None], streaming: Domain, expected: str, given: dict[str, str]
) -> None:
    assert label(streaming, **given) == expected


@pytest.mark.parametrize(
    ("expected", "given"),
    [
        ("return", {"r_n_return": "1L", "s_days_since_play": "30D"}),
        ("reorder", {"s_days_since_play": "30D", "r_release_age_days": "1D"}),
        ("replenish", {"s_days_since_play": "30.1D", "r_release_age_days": "1D"}),
        ("novelty", {"r_release_age_days": "30D"}),
        ("explore", {"r_release_age_days": "30.1D"}),
    ],
)
def test_the_rules_of_online_retail(label: Callable[..., str | None], expected: str, given: dict[str, str]) -> None:
    assert label(load_domain(ROOT / "conf" / "online_retail.yaml"), **given) == expected


def test_a_visit_that_no_rule_matches_has_no_label(spark: SparkSession, streaming: Domain) -> None:
    only = streaming.interactions.action_types[:1]
    domain = streaming.model_copy(
        update={"interactions": streaming.interactions.model_copy(update={"action_types": only})}
    )
    visit = F.struct(F.lit(600.0).alias("duration_s"), F.lit(1).alias("n_list_add")).alias("r")
    row = spark.range(1).select(visit).select(rules.action_type(domain)).first()
    assert row is not None
    assert row[0] is None
