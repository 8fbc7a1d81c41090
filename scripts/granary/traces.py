"""Where the rows of a mart come from: `meta.trace` in its YAML, as SQL that follows it down to delivered lines.

A trace is a list of steps. A step names the model or seed `from` which a row is made, and `by` which of its columns;
`where` may leave some of its rows out. `sums` says for numbers of the mart what each of those rows adds to them, and
`distinct` what they count each value of once. Where a row ends, a line begins: its `_row_id`, or the `line` of a step.
docs/questions.md describes this for people who write marts.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg2.extensions

from granary import declared, project
from granary.declared import Mart
from granary.project import GranaryError, schema_prefix

SETTINGS = {"from", "by", "where", "sums", "distinct", "line", "file", "empty"}
BUILDS = "builds"  # the trace of a mart whose rows tell of builds, and come from no file
NAME = re.compile(r"\{(\w+)\}")  # a model in the SQL of a trace

CATALOG = """
    select columns.table_name, columns.table_schema, columns.column_name, format_type(types.atttypid, types.atttypmod)
    from information_schema.columns
    inner join pg_attribute as types
        on types.attrelid = format('%%I.%%I', columns.table_schema, columns.table_name)::regclass
        and types.attname = columns.column_name
    where columns.table_schema = any(%s)
    order by columns.table_schema, columns.table_name, columns.ordinal_position
"""


@dataclass(frozen=True)
class Relation:
    """A table or view of the warehouse: its name in SQL, and the types of its columns."""

    sql: str
    columns: dict[str, str]


@dataclass(frozen=True)
class Step:
    """One step of a trace: what rows of `source` have to do with a row of the mart. Its SQL is about such a row."""

    source: str
    by: Mapping[str, str] = field(default_factory=dict)  # SQL by column of the mart
    where: str = "true"
    sums: Mapping[str, str] = field(default_factory=dict)  # SQL by number of the mart
    distinct: Mapping[str, str] = field(default_factory=dict)
    line: str | None = None  # the _row_id
    file: str | None = None  # the number of the batch
    empty: str = ""  # why rows of the mart, for which `where` holds, are made of nothing that was delivered


@dataclass(frozen=True)
class Chain:
    """Steps from a mart to rows that are made of nothing else: delivered lines, whole files, or seeds.

    `sums` and `distinct` belong to numbers of the mart, and are about a row of the last step's source.
    """

    steps: tuple[Step, ...]
    sums: Mapping[str, str]
    distinct: Mapping[str, str]
    line: str | None
    file: str | None

    @property
    def numbers(self) -> tuple[str, ...]:
        """Return the numbers of the mart that the chain explains."""
        return (*self.sums, *self.distinct)

    @property
    def source(self) -> str:
        """Return the name of the model or seed in which the chain ends."""
        return self.steps[-1].source if self.steps else ""


class Traces:
    """The traces of all marts, on the tables of a warehouse."""

    def __init__(self, cursor: psycopg2.extensions.cursor, prefix: str | None = None):
        """Read what the warehouse has; `prefix` is that of a copy's schemas."""
        prefix = schema_prefix() if prefix is None else prefix
        self.marts = declared.marts()
        self.relations: dict[str, Relation] = {}
        cursor.execute(CATALOG, ([f"{prefix}{schema}" for schema in ("staging", "intermediate", "marts")],))
        for table, schema, column, data_type in cursor:
            relation = self.relations.setdefault(table, Relation(f'"{schema}"."{table}"', {}))
            relation.columns[column] = data_type

    def mart(self, name: str) -> Mart:
        """Return a mart that is built and says where it comes from."""
        if name not in self.marts:
            raise GranaryError(f"there is no mart {name}: choose from {', '.join(self.marts)}")
        mart = self.marts[name]
        self.relation(name)
        if not mart.grain:
            raise GranaryError(f"{mart.path}: {name} needs a primary key, so that its rows can be told apart")
        return mart

    def relation(self, name: str) -> Relation:
        """Return the table or view of a model."""
        if name not in self.relations:
            raise GranaryError(f"{name} isn't built: bin/dbt build --select +{name}")
        return self.relations[name]

    @functools.cached_property
    def seeds(self) -> set[str]:
        """Return the names of all seeds."""
        return {path.stem for path in (project.ROOT / "dbt" / "seeds").rglob("*.csv")}

    def own(self, name: str) -> Step | None:
        """Return where the rows of a model themselves are lines or files; None if they are made of others."""
        declared_own = next((step for step in self.declared(name) if not step.source and not step.empty), None)
        if declared_own:
            return declared_own
        return Step("", line="_row_id") if "_row_id" in self.relations[name].columns else None

    def declared(self, name: str) -> list[Step]:
        """Return the steps that a mart declares; none for a model of another layer, whose rows have lines."""
        mart = self.marts.get(name)
        trace = mart.meta.get("trace", []) if mart else []
        if trace == BUILDS:
            return []
        try:
            return [step_of(each) for each in trace]
        except (AttributeError, KeyError, TypeError, ValueError):
            example = "{from: fct_lines, by: [day], sums: {line_count: 1}}"
            raise GranaryError(f"{mart.path}: {name}: `trace` needs steps such as {example}") from None

    def chains(self, name: str) -> list[Chain]:
        """Return all chains of a mart: first that of its own line, then those of its steps."""
        own = self.own(name)
        chains = [Chain((), {}, {}, own.line, own.file)] if own else []
        for step in self.declared(name):
            if step.source:
                chains += self.chains_of(name, step)
        return chains

    def chains_of(self, name: str, step: Step) -> Iterator[Chain]:
        """Yield the chains that begin with a step of a mart."""
        if step.source not in self.relations:
            path = self.marts[name].path
            raise GranaryError(f"{path}: {name}: `trace` names {step.source}, which isn't a table or view of dbt")
        deeper = self.chains(step.source) if step.source in self.marts else []
        deeper = [chain for chain in deeper if chain.steps]
        own = None if step.source in self.seeds else self.own(step.source)
        line, file = step.line or (own and own.line), step.file or (own and own.file)
        followed = {number for number, share in step.sums.items() if any(share in chain.sums for chain in deeper)}
        sums = {number: share for number, share in step.sums.items() if number not in followed}
        if sums or step.distinct or line or file or not deeper:
            yield Chain((step,), sums, step.distinct, line, file)
        for chain in deeper:
            passed_on = {number: chain.sums[share] for number, share in step.sums.items() if share in chain.sums}
            yield Chain((step, *chain.steps), passed_on, {}, chain.line, chain.file)

    def marts_of(self, mart: Mart) -> list[str]:
        """Return the names of a mart, and of the other marts that its trace reads."""
        steps = [step for chain in self.chains(mart.name) for step in chain.steps]
        texts = [text for step in steps for of in (step.by, step.sums, step.distinct) for text in of.values()]
        texts += [step.where for step in steps]
        named = [*(step.source for step in steps), *(name for text in texts for name in NAME.findall(text))]
        return [name for name in dict.fromkeys([mart.name, *named]) if name in self.marts]

    def rows(self, mart: Mart, chain: Chain, condition: str = "true") -> str:
        """Return a select of all rows at the end of a chain, each with the key of the mart's row that it is part of.

        Its columns are those of the key, row_id, batch_id, and the share of the row in each number. `condition` is
        about the mart's rows.
        """
        levels = [f"(select * from {self.relations[mart.name].sql} as {mart.name} where {condition}) as row_0"]
        for depth, step in enumerate(chain.steps, 1):
            is_last = depth == len(chain.steps)
            computed = {f"by_{number}": by for number, by in enumerate(step.by.values())}
            if is_last:
                computed |= {f"share_{number}": share for number, share in chain.sums.items()}
                computed |= {f"value_{number}": value for number, value in chain.distinct.items()}
                computed |= {"line": chain.line or "null::bigint", "file": chain.file or "null::bigint"}
            columns = "".join(f", {value} as trace_{name}" for name, value in computed.items())
            relation = self.relations[step.source].sql
            level = f"(select {step.source}.*{columns} from {relation} as {step.source} where {step.where})"
            on = " and ".join(
                f"row_{depth - 1}.{column} = row_{depth}.trace_by_{number}" for number, column in enumerate(step.by)
            )
            levels.append(f"inner join {level} as row_{depth} on {on or 'true'}")
        last = f"row_{len(chain.steps)}"
        line = f"{last}.trace_line" if chain.steps else (chain.line or "null::bigint")
        file = f"{last}.trace_file" if chain.steps else (chain.file or "null::bigint")
        key = [f"row_0.{column}" for column in mart.grain]
        shares = [f"{last}.trace_share_{number} as {number}" for number in chain.sums]
        for number in chain.distinct:
            value = f"{last}.trace_value_{number}"
            window = f"partition by {', '.join([*key, value])} order by {line}"
            shares.append(
                f"case when {value} is not null and row_number() over ({window}) = 1 then 1 else 0 end as {number}"
            )
        text = (
            f"select {', '.join([*(f'{part} as key_{i}' for i, part in enumerate(key)), *shares])},"
            f" {line} as row_id, {file} as batch_id from {' '.join(levels)}"
        )
        return NAME.sub(lambda found: self.relation_in(mart, found[1]), text)

    def relation_in(self, mart: Mart, name: str) -> str:
        """Return the relation of a model that the SQL of a trace names."""
        if name not in self.relations:
            raise GranaryError(
                f"{mart.path}: {mart.name}: `trace` names {{{name}}}, which isn't a table or view of dbt"
            )
        return self.relations[name].sql

    def sums(self, mart: Mart, condition: str = "true") -> str | None:
        """Return a select of each number of each row: its key, number, cell, and the sum of the shares in its type.

        Return None for a mart without traced numbers. An empty cell is 0.
        """
        chains = [chain for chain in self.chains(mart.name) if chain.numbers]
        if not chains:
            return None
        relation, keys = self.relations[mart.name], [f"key_{i}" for i, _ in enumerate(mart.grain)]
        numbers = list(dict.fromkeys(number for chain in chains for number in chain.numbers))
        for number in numbers:
            if number not in relation.columns:
                raise GranaryError(f"{mart.path}: {mart.name}: `trace` has {number}, which isn't one of its columns")
        parts = []
        for chain in chains:
            shares = (f"sum({each})" if each in chain.numbers else "null::numeric" for each in numbers)
            rows = self.rows(mart, chain, condition)
            parts.append(f"select {commas(keys)}, {commas(shares)} from ({rows}) as of_chain group by {commas(keys)}")
        totals = commas(f"sum(parts.{number}) as {number}" for number in numbers)
        pairs = commas(
            f"('{number}', cast(coalesce(cells.{number}, 0) as numeric),"
            f" cast(cast(coalesce(traced.{number}, 0) as {relation.columns[number]}) as numeric))"
            for number in numbers
        )
        same = " and ".join(f"cells.{column} = traced.{key}" for column, key in zip(mart.grain, keys, strict=True))
        return f"""
            with cells as (select * from {relation.sql} as {mart.name} where {condition}),
            parts ({commas([*keys, *numbers])}) as ({" union all ".join(parts)}),
            traced as (select {commas([*keys, totals])} from parts group by {commas(keys)})
            select {commas(f"cells.{column}" for column in mart.grain)}, numbers.*
            from cells
            left join traced on {same}
            cross join lateral (values {pairs}) as numbers (number, cell, share)
        """

    def without_trace(self, mart: Mart) -> str:
        """Return a select of the keys of the rows of a mart with which no line, file or row of a seed has to do."""
        ends = [chain for chain in self.chains(mart.name) if chain.line or chain.file or chain.source in self.seeds]
        keys = commas(f"key_{i}" for i, _ in enumerate(mart.grain))
        traced = " union all ".join(
            f"select {keys} from ({self.rows(mart, chain)}) as of_chain"
            f" where {'true' if chain.source in self.seeds else 'coalesce(row_id, batch_id) is not null'}"
            for chain in ends
        )
        allowed = " or ".join(f"({step.where})" for step in self.declared(mart.name) if step.empty) or "false"
        relation = self.relations[mart.name].sql
        untraced = f"select {commas(mart.grain)} from {relation} as {mart.name} where ({allowed}) is not true"
        return f"{untraced} except ({traced})" if traced else untraced


def step_of(declaration: Mapping[str, Any]) -> Step:
    """Return a step as the YAML of a mart declares it."""
    if unknown := declaration.keys() - SETTINGS:
        raise ValueError(unknown)
    by = declaration.get("by") or {}
    return Step(
        source=declaration.get("from") or "",
        by=by if isinstance(by, Mapping) else {column: column for column in by},
        where=declaration.get("where") or "true",
        sums={number: str(share) for number, share in (declaration.get("sums") or {}).items()},
        distinct={number: str(value) for number, value in (declaration.get("distinct") or {}).items()},
        line=declaration.get("line"),
        file=declaration.get("file"),
        empty=declaration.get("empty") or "",
    )


def commas(parts: Iterable[str]) -> str:
    """Return parts of SQL, separated by commas."""
    return ", ".join(parts)
