"""The data contract as expectations of Great Expectations, each with advice on how to mend a breach."""

# Great Expectations re-exports its expectations without saying so.
# pyright: reportPrivateImportUsage=false

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import great_expectations.expectations as gxe

from components.params import Between, Contract, Values
from components.plumbing.errors import MAX_EXAMPLES, did_you_mean, examples
from components.validate.arrays import LARGEST, NUM_ODD, NUM_VALUES, SMALLEST
from components.validate.tables import LABELLED_TEXT, LABELLED_VALUES, LENGTH, SHOWN_LENGTH, Tables, is_text

# The names that Great Expectations knows pandas' types by.
TYPES = {
    "integer": [f"{sign}Int{bits}Dtype" for sign in ("", "U") for bits in (8, 16, 32, 64)],
    "boolean": ["BooleanDtype"],
    "array": ["StringDtype"],  # of the digests that stand for them; texts are pandas' own `str`
}
TYPES["number"] = [*TYPES["integer"], "float32", "float64"]

# Shares are compared after division; this keeps 1 - 0.9 from being a little less than 0.1.
DIGITS = 12


@dataclass(frozen=True)
class Look:
    """The details that are shown of a failed expectation."""

    num_rows: int | None
    """The number of rows (or texts, arrays, classes) at fault; None where the fault is the whole table's."""
    examples: list[str]
    """Up to five examples in words."""
    advice: str
    """Advice on how to mend the fault, or an empty string."""
    found: str = ""
    """The finding in words; empty where the number of rows at fault says it."""


@dataclass(frozen=True)
class Check:
    """One expectation over one table."""

    table: Literal["rows", "texts", "arrays", "classes"]
    column: str
    """The column that is judged; an empty string where the expectation is about the table."""
    expected: str
    """The expectation in words, for the verdict and Data Docs."""
    expectation: Any
    look: Callable[[Tables], Look]
    """The function that looks closer when the expectation fails."""
    found: Callable[[Tables], str] | None = None
    """The function that puts the finding in words when the expectation holds; None where the number of rows at fault
    says it."""


def checks_of(contract: Contract, tables: Tables) -> list[Check]:
    """Return every expectation that can be checked on the columns that are there, in a fixed order."""
    checks = [*table_checks(contract), *column_checks(contract, tables)]
    if contract.text_length is not None and is_text(tables.rows, "text"):
        checks += text_checks(contract, tables, contract.text_length)
    if contract.values is not None and tables.is_of_arrays:
        checks += array_checks(contract, tables, contract.values)
    if contract.labels is not None and is_text(tables.rows, "label"):
        checks += label_checks(contract, contract.labels)
        if tables.is_of_arrays or is_text(tables.rows, "text"):
            checks.append(conflicts(contract, tables))
    return checks


def between(limits: Between, what: str) -> str:
    if limits.max is None:
        return f"at least {limits.min} {what}"
    return f"at most {limits.max} {what}" if limits.min is None else f"{limits.min} to {limits.max} {what}"


def percent(share: float) -> str:
    return f"{100 * share:.4g}%"


def rows(count: int) -> str:
    return f"{count} {'row' if count == 1 else 'rows'}"


def is_set(limits: Between) -> bool:
    return limits.min is not None or limits.max is not None


def table_checks(contract: Contract) -> Iterator[Check]:
    limits = contract.num_rows
    if is_set(limits):
        yield Check(
            "rows", "", between(limits, "rows"),
            gxe.ExpectTableRowCountToBeBetween(min_value=limits.min, max_value=limits.max),
            lambda tables: Look(
                None, [], "look at the query, or mend num_rows in the contract", rows(tables.num_rows)
            ),
            lambda tables: rows(tables.num_rows),
        )  # fmt: skip


def column_checks(contract: Contract, tables: Tables) -> Iterator[Check]:
    for column, kind in contract.columns.items():
        yield Check(
            "rows", column, f"a column '{column}'", gxe.ExpectColumnToExist(column=column),
            lambda tables, column=column: missing_column(tables, column),
            lambda _: "it is there",
        )  # fmt: skip
        if not tables.has(column):
            continue
        if kind == "string":
            typed = gxe.ExpectColumnValuesToBeOfType(column=column, type_="str")
        else:
            typed = gxe.ExpectColumnValuesToBeInTypeList(column=column, type_list=TYPES[kind])
        yield Check(
            "rows", column, f"'{column}' of type {kind}", typed,
            lambda tables, column=column, kind=kind: wrong_type(tables, column, kind),
            lambda tables, column=column: str(tables.schema.field(column).type),
        )  # fmt: skip


def missing_column(tables: Tables, column: str) -> Look:
    there = tables.schema.names
    advice = f"name it in the query{did_you_mean(column, there)}: SELECT … AS {column}"
    return Look(None, [], advice, f"only {examples(there)}")


def wrong_type(tables: Tables, column: str, kind: str) -> Look:
    sql = {
        "string": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN", "array": "FLOAT[]",
    }[kind]  # fmt: skip
    advice = f"cast it in the query: CAST({column} AS {sql}) AS {column}"
    return Look(None, [], advice, f"type {tables.schema.field(column).type}")


def text_checks(contract: Contract, tables: Tables, limits: Between) -> Iterator[Check]:
    yield not_null("text", contract.max_null_share)
    if is_set(limits):
        yield Check(
            "rows", LENGTH, f"texts of {between(limits, 'characters')}",
            gxe.ExpectColumnValuesToBeBetween(column=LENGTH, min_value=limits.min, max_value=limits.max),
            lambda tables: wrong_length(tables, limits),
            lambda tables: spread(tables, LENGTH, "characters"),
        )  # fmt: skip
    yield from duplicates(contract, tables)


def array_checks(contract: Contract, tables: Tables, limits: Values) -> Iterator[Check]:
    yield not_null("values", contract.max_null_share)
    yield Check(
        "rows", NUM_VALUES, f"arrays of {limits.length} numbers",
        gxe.ExpectColumnValuesToBeBetween(column=NUM_VALUES, min_value=limits.length, max_value=limits.length),
        lambda tables: odd_arrays(
            tables, NUM_VALUES, tables.rows[NUM_VALUES] != limits.length, "numbers",
            "leave them out in the query, or mend values.length in the contract",
        ),
        lambda tables: spread(tables, NUM_VALUES, "numbers"),
    )  # fmt: skip
    yield Check(
        "rows", NUM_ODD, "no number null, NaN or infinite",
        gxe.ExpectColumnValuesToBeBetween(column=NUM_ODD, max_value=0),
        lambda tables: odd_arrays(
            tables, NUM_ODD, tables.rows[NUM_ODD] > 0, "values that are no number",
            "leave the rows out in the query, or put a number there (coalesce)",
        ),
    )  # fmt: skip
    for column, least, most, what in (
        (SMALLEST, limits.min, None, f"numbers of at least {limits.min:g}"),
        (LARGEST, None, limits.max, f"numbers of at most {limits.max:g}"),
    ):
        yield Check(
            "rows", column, what,
            gxe.ExpectColumnValuesToBeBetween(column=column, min_value=least, max_value=most),
            lambda tables, column=column, least=least, most=most: odd_arrays(
                tables, column, tables.rows[column] < least if most is None else tables.rows[column] > most,
                f"as its {column}", "mend them in the query, or values.min and values.max in the contract",
            ),
            lambda tables, column=column: extreme(tables, column),
        )  # fmt: skip
    yield from duplicates(contract, tables)


def spread(tables: Tables, column: str, what: str) -> str:
    """Describe the range of a column of whole numbers in words."""
    seen: Any = tables.rows[column].dropna()
    if seen.empty:
        return f"none with {what}"
    least, most = int(seen.min()), int(seen.max())
    return f"{most} {what}" if least == most else f"{least} to {most} {what}"


def extreme(tables: Tables, column: str) -> str:
    """Describe in words the least of the smallest values, or the greatest of the largest."""
    seen = tables.rows[column].dropna()
    return (
        "no number" if seen.empty else f"{(seen.min() if column == SMALLEST else seen.max()) + 0.0:g} is the {column}"
    )


def odd_arrays(tables: Tables, column: str, is_odd: Any, what: str, advice: str) -> Look:
    """Return the details of the rows whose arrays are at fault, by the figure in `column`."""
    found = tables.rows.loc[is_odd.fillna(False), column]
    shown = [f"row {row + 1}: {value:g} {what}" for row, value in found.head(MAX_EXAMPLES).items()]
    return Look(len(found), shown, advice)


def duplicates(contract: Contract, tables: Tables) -> Iterator[Check]:
    if tables.count("SELECT count(judged) FROM data") == 0:
        return  # a share of none is none
    if contract.max_unlabelled_share is None:
        column = "values" if tables.is_of_arrays else "text"
    else:
        column = LABELLED_VALUES if tables.is_of_arrays else LABELLED_TEXT
    yield Check(
        "rows", column,
        f"at most {percent(contract.max_duplicate_share)} of the rows with {article(tables.noun)} that came before",
        gxe.ExpectColumnProportionOfUniqueValuesToBeBetween(
            column=column, min_value=round(1 - contract.max_duplicate_share, DIGITS)
        ),
        repeated,
        share_repeated,
    )  # fmt: skip


def article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def not_null(column: str, max_share: float) -> Check:
    return Check(
        "rows", column, f"at most {percent(max_share)} of '{column}' null",
        gxe.ExpectColumnValuesToNotBeNull(column=column, mostly=round(1 - max_share, DIGITS)),
        lambda tables: nulls(tables, column),
    )  # fmt: skip


def nulls(tables: Tables, column: str) -> Look:
    where = f"{'label' if column == 'label' else 'content'} IS NULL"
    found = tables.ask(f"SELECT row FROM data WHERE {where} ORDER BY row")
    return Look(
        tables.count(f"SELECT count(*) FROM data WHERE {where}"),
        [f"row {row}" for (row,) in found],
        f"leave them out in the query: WHERE {column} IS NOT NULL",
    )


def wrong_length(tables: Tables, limits: Between) -> Look:
    outside = " OR ".join(
        f"length(content) {sign} {limit}" for sign, limit in (("<", limits.min), (">", limits.max)) if limit is not None
    )
    found = tables.ask(f"SELECT row, length(content), content[:40] FROM data WHERE {outside} ORDER BY row")
    return Look(
        tables.count(f"SELECT count(*) FROM data WHERE {outside}"),
        [f"row {row}: {length} characters: {examples([text])}" for row, length, text in found],
        "leave them out in the query, or mend text_length in the contract",
    )


def repeated(tables: Tables) -> Look:
    found = tables.ask(
        f"SELECT judged[:{SHOWN_LENGTH}], min(row), count(*) AS n FROM data WHERE judged IS NOT NULL "
        "GROUP BY judged HAVING n > 1 ORDER BY n DESC, min(row)"
    )
    return Look(
        tables.count("SELECT count(judged) - count(DISTINCT judged) FROM data"),
        [f"{named(tables, content, row)} ({count} times)" for content, row, count in found],
        "preprocess removes duplicates: raise max_duplicate_share if there may be as many",
        share_repeated(tables),
    )


def share_repeated(tables: Tables) -> str:
    judged, distinct = tables.figures("SELECT count(judged), count(DISTINCT judged) FROM data")
    return f"{rows(judged - distinct)} ({percent((judged - distinct) / judged)})"


def named(tables: Tables, content: str, row: int) -> str:
    """Return a text itself, shortened, and an array as the number of its first row."""
    return f"the array of row {row}" if tables.is_of_arrays else examples([content])


def conflicts(contract: Contract, tables: Tables) -> Check:
    assert contract.max_conflict_share is not None, "params: where there is a column 'label'"
    table = "arrays" if tables.is_of_arrays else "texts"
    return Check(
        table, "num_labels", f"at most {percent(contract.max_conflict_share)} of the {table} with two labels",
        gxe.ExpectColumnValuesToBeBetween(
            column="num_labels", max_value=1, mostly=round(1 - contract.max_conflict_share, DIGITS)
        ),
        conflicting,
    )  # fmt: skip


def conflicting(tables: Tables) -> Look:
    groups = "FROM data WHERE judged IS NOT NULL GROUP BY judged HAVING count(DISTINCT label) > 1"
    found = tables.ask(
        f"SELECT judged[:{SHOWN_LENGTH}], min(row), string_agg(DISTINCT label, ' and ' ORDER BY label) {groups} "
        "ORDER BY min(row)"
    )
    return Look(
        tables.count(f"SELECT count(*) FROM (SELECT judged {groups})"),
        [f"{named(tables, content, row)} is {labels}" for content, row, labels in found],
        "mend the labels, or raise max_conflict_share: preprocess then does as 'conflicts' says",
    )


def label_checks(contract: Contract, labels: tuple[str, ...]) -> Iterator[Check]:
    min_share = contract.min_class_share
    assert min_share is not None, "params: where there is a column 'label'"
    if contract.max_unlabelled_share is None:
        yield not_null("label", contract.max_null_share)
    else:
        yield few_unlabelled(contract.max_unlabelled_share)
    yield Check(
        "rows", "label", f"a label of {examples(labels)}",
        gxe.ExpectColumnValuesToBeInSet(column="label", value_set=[label[:SHOWN_LENGTH] for label in labels]),
        lambda tables: unknown_labels(tables, labels),
        lambda tables: examples([one.label for one in tables.classes if one.num_rows]),
    )  # fmt: skip
    yield Check(
        "classes", "num_rows", "rows of every label",
        gxe.ExpectColumnValuesToBeBetween(column="num_rows", min_value=1),
        absent_labels,
        labels_there,
    )  # fmt: skip
    yield Check(
        "classes", "share", f"at least {percent(min_share)} of the rows in every class",
        gxe.ExpectColumnValuesToBeBetween(column="share", min_value=min_share),
        lambda tables: small_classes(tables, min_share),
        smallest_class,
    )  # fmt: skip


def few_unlabelled(max_share: float) -> Check:
    return Check(
        "rows", "label", f"at most {percent(max_share)} of the rows without a label, to pretrain on",
        gxe.ExpectColumnValuesToNotBeNull(column="label", mostly=round(1 - max_share, DIGITS)),
        lambda tables: replace(nulls(tables, "label"), advice="take fewer of them, or raise max_unlabelled_share"),
    )  # fmt: skip


def unknown_labels(tables: Tables, labels: tuple[str, ...]) -> Look:
    outside = "WHERE label IS NOT NULL AND NOT list_contains(?, label)"
    found = tables.ask(
        f"SELECT label[:{SHOWN_LENGTH}], count(*) FROM data {outside} GROUP BY label ORDER BY 2 DESC, label",
        list(labels),
    )
    ((num_rows,),) = tables.ask(f"SELECT count(*) FROM data {outside}", list(labels))
    advice = [line for label, _ in found if (line := meant(label, labels))]
    return Look(
        num_rows,
        [f"{examples([label])} ({rows(count)})" for label, count in found],
        "; ".join(advice) or "add it to validate.contract.labels, or leave it out in the query",
    )


def meant(label: str, labels: tuple[str, ...]) -> str:
    """Return which allowed label was meant and how to mend the query, in words; empty where neither can be told."""
    for allowed in labels:
        if folded(label) != folded(allowed) and is_same_number(label, allowed):
            whole = "as_text(label)" if allowed.lstrip("-").isdecimal() else "CAST(CAST(label AS DOUBLE) AS VARCHAR)"
            return f"'{label}' is the number '{allowed}'; mend the query, e.g. {whole} AS label"
        if folded(label) != folded(allowed):
            continue
        if label.strip() == allowed:
            mend = "trim(label)"
        elif label.strip().lower() == allowed:
            mend = "lower(trim(label))"
        else:
            mend = f"CASE WHEN label = '{label}' THEN '{allowed}' ELSE label END"
        return f"'{label}' differs from '{allowed}' only in case or spaces; mend the query, e.g. {mend} AS label"
    return f"'{label}' is unknown{hint}" if (hint := did_you_mean(label, labels)) else ""


def is_same_number(one: str, other: str) -> bool:
    """Return whether two texts are one number, as 1 and 1.0 are."""
    try:
        return float(one) == float(other)
    except ValueError:
        return False


def folded(label: str) -> str:
    return " ".join(label.split()).casefold()


def absent_labels(tables: Tables) -> Look:
    absent = [f"'{one.label}' has 0 rows" for one in tables.classes if one.num_rows == 0]
    there = [one.label for one in tables.classes if one.num_rows]
    advice = f"the rows are all '{there[0]}': one class cannot be learnt" if len(there) == 1 else "look at the query"
    return Look(
        len(absent),
        absent[:MAX_EXAMPLES],
        f"{advice}, or leave the label out of validate.contract.labels",
        labels_there(tables),
    )


def labels_there(tables: Tables) -> str:
    return f"rows of {sum(one.num_rows > 0 for one in tables.classes)} of {len(tables.classes)}"


def small_classes(tables: Tables, min_share: float) -> Look:
    small = sorted((one for one in tables.classes if one.share < min_share), key=lambda one: one.num_rows)
    others = [f"'{one.label}' has {rows(one.num_rows)} ({percent(one.share)})" for one in small[1:]]
    advice = "add rows of it, or mend min_class_share in the contract"
    return Look(len(small), others[:MAX_EXAMPLES], advice, smallest_class(tables))


def smallest_class(tables: Tables) -> str:
    least = min(tables.classes, key=lambda one: one.num_rows)
    return f"{rows(least.num_rows)} ({percent(least.share)}) of {examples([least.label])}, the smallest"
