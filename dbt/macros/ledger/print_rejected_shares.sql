{#-
    Prints which batches were rejected to a larger share than their sources allow, if a test of rejected_shares failed or warned:
    dbt itself would only print their number.

    results: dbt's results, as passed to on-run-end
-#}
{% macro print_rejected_shares(results) %}
    {%- set verdicts = {'fail': 'error', 'warn': 'warning'} -%}
    {%- set shares = graph.nodes['model.granary.rejected_shares'].relation_name if execute -%}
    {%- for result in results if execute and result.node.name in ('rejected_shares_are_below_the_limit', 'rejected_shares_are_low')
            and result.status in verdicts -%}
        {%- set findings = run_query(
            "select finding from " ~ shares ~ " where verdict = '" ~ result.status ~ "' order by batch_id, measured limit 20"
        ).columns[0].values() -%}
        {%- for finding in findings -%}
            {{ print(printable(verdicts[result.status] ~ ": " ~ finding)) }}
        {%- endfor -%}
    {%- endfor -%}
    {%- for result in results if execute and result.node.name == 'rejected_shares_are_below_the_limit' and result.status == 'fail' -%}
        {{ print("Correct the file and deliver it again, or accept the batch as it is: bin/ingest --accept BATCH --why REASON") }}
    {%- endfor -%}
{% endmacro %}
