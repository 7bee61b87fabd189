"""What the SQL typed by a person may consist of: nodes and keys of DuckDB's parse tree, types and functions.

Functions compute on values; none reaches files, settings, the catalogue or other code. What is dear in time or memory
is the worker's to stop. Left out on purpose: those that take a function's name as a value (`list_aggregate`).
"""

from __future__ import annotations

NODES = frozenset(
    """
    SELECT_NODE SET_OPERATION_NODE BASE_TABLE JOIN SUBQUERY EMPTY EXPRESSION_LIST ORDER_MODIFIER LIMIT_MODIFIER
    LIMIT_PERCENT_MODIFIER DISTINCT_MODIFIER ORDER_DEFAULT ASCENDING DESCENDING COLUMN_REF STAR VALUE_CONSTANT
    FUNCTION CASE_EXPR OPERATOR_CAST OPERATOR_COALESCE OPERATOR_NULLIF OPERATOR_TRY OPERATOR_NOT
    OPERATOR_IS_NULL OPERATOR_IS_NOT_NULL CONJUNCTION_AND CONJUNCTION_OR GROUPING_FUNCTION ARRAY_CONSTRUCTOR
    ARRAY_EXTRACT ARRAY_SLICE STRUCT_EXTRACT COMPARE_EQUAL COMPARE_NOTEQUAL COMPARE_LESSTHAN COMPARE_GREATERTHAN
    COMPARE_LESSTHANOREQUALTO COMPARE_GREATERTHANOREQUALTO COMPARE_IN COMPARE_NOT_IN COMPARE_BETWEEN
    COMPARE_NOT_BETWEEN COMPARE_DISTINCT_FROM COMPARE_NOT_DISTINCT_FROM WINDOW_AGGREGATE WINDOW_RANK
    WINDOW_RANK_DENSE WINDOW_NTILE WINDOW_PERCENT_RANK WINDOW_CUME_DIST WINDOW_ROW_NUMBER WINDOW_FIRST_VALUE
    WINDOW_LAST_VALUE WINDOW_LEAD WINDOW_LAG WINDOW_NTH_VALUE TABLE_FUNCTION LAMBDA PIVOT SHOW_REF
""".split()
)

KEYS = frozenset(
    """
    aggregate_handling alias aliases arg_orders case_checks cast_type child children class column_name_alias
    column_names columns comparison_type condition cte_map default_expr distinct distinct_on_targets else_expr
    end end_expr exclude_clause exclude_list expression filter from_table function_name group_expressions
    group_sets having ignore_nulls input is_operator join_type key left limit lower map materialized modifiers
    node null_order offset offset_expr order_bys orders partitions qualify query query_location ref_type
    relation_name replace_list right schema select_list setop_all setop_type start start_expr subquery
    subquery_type table_name then_expr try_cast type upper using_columns value values when_expr where_clause
    function with_ordinality lhs expr sample source aggregates pivots pivot_expressions entries unpivot_names
    star_expr groups include_nulls show_type
""".split()
)

TYPES = frozenset(
    """
    BOOLEAN TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT UHUGEINT FLOAT DOUBLE
    DECIMAL VARCHAR BLOB UUID DATE TIME INTERVAL TIMESTAMP TIMESTAMP_S TIMESTAMP_MS TIMESTAMP_NS LIST ARRAY NULL
""".split()
) | {"TIMESTAMP WITH TIME ZONE"}

# Functions that DuckDB calls by a name alone, where no column has it; the parser shows a column.
CALLED_BY_NAME = frozenset(
    """
    current_catalog current_database current_date current_role current_schema current_time current_timestamp
    current_user localtime localtimestamp session_user user
""".split()
)

OPERATORS = frozenset(
    "+ - * / // % ** ^ & | << >> ~ @ || !__postfix ~~ !~~ ~~* !~~* ~~~ ^@ <=> <-> && @> <@ ->>".split()
)

NUMBERS = frozenset(
    """
    abs ceil ceiling floor round round_even trunc sign sqrt cbrt exp ln log log2 log10 pow power mod fmod fdiv
    divide multiply add subtract greatest least gcd lcm factorial pi sin cos tan cot asin acos atan atan2 sinh
    cosh tanh asinh acosh atanh degrees radians even gamma lgamma isnan isinf isfinite signbit bit_count xor
    hash nullif typeof random
""".split()
)

TEXTS = frozenset(
    """
    lower upper lcase ucase length len strlen char_length character_length substr substring left right trim
    ltrim rtrim contains starts_with ends_with prefix suffix instr strpos position like_escape not_like_escape
    ilike_escape not_ilike_escape concat concat_ws reverse translate ascii unicode ord chr strip_accents
    split_part string_split str_split md5 sha256 hex bin replace lpad rpad repeat format printf regexp_matches
    regexp_extract regexp_extract_all regexp_full_match regexp_replace regexp_split_to_array regexp_escape
    levenshtein damerau_levenshtein hamming jaccard jaro_similarity jaro_winkler_similarity editdist3
""".split()
)

TIMES = frozenset(
    """
    date_part datepart date_trunc datetrunc date_diff datediff date_add date_sub year month day hour minute
    second quarter week weekday dayofweek dayofyear dayname monthname epoch epoch_ms make_date make_timestamp
    last_day strftime strptime age to_years to_months to_weeks to_days to_hours to_minutes to_seconds
    to_milliseconds to_microseconds
""".split()
)

LISTS = frozenset(
    """
    list_value list_pack array_value array_extract list_extract list_element list_slice array_slice array_length
    unnest list_contains array_contains list_has array_has list_has_any list_has_all list_position
    array_position list_distinct list_unique list_concat list_sort list_reverse_sort list_sum list_avg list_min
    list_max list_count list_median list_first list_last list_product list_any_value list_stddev_pop
    list_stddev_samp list_var_pop list_var_samp list_bool_and list_bool_or array_inner_product array_dot_product
    array_negative_inner_product array_distance array_cosine_similarity array_cosine_distance
    array_cross_product list_inner_product list_dot_product list_distance list_cosine_similarity
    list_cosine_distance row struct_pack struct_extract list_transform list_apply list_filter list_reduce
    array_transform array_apply array_filter array_reduce apply filter reduce list_zip array_zip flatten list_resize
    array_resize list_select list_where list_grade_up list_indexof range generate_series generate_subscripts map
    map_extract element_at map_keys map_values map_entries map_from_entries map_contains cardinality list_prepend
    list_append array_append array_prepend list_intersect list_string_agg list_mode list_entropy list_histogram
    array_to_string list_kurtosis list_skewness list_mad list_sem
""".split()
)

AGGREGATES = frozenset(
    """
    count count_star count_if countif sum fsum kahan_sum avg mean favg min max any_value arbitrary first last
    arg_min arg_max argmin argmax min_by max_by median mode quantile quantile_cont quantile_disc approx_quantile
    approx_count_distinct mad stddev stddev_pop stddev_samp variance var_pop var_samp sem skewness kurtosis
    kurtosis_pop entropy corr covar_pop covar_samp regr_avgx regr_avgy regr_count regr_intercept regr_r2
    regr_slope regr_sxx regr_sxy regr_syy bool_and bool_or bit_and bit_or bit_xor product list array_agg
    string_agg group_concat listagg histogram geomean weighted_avg
""".split()
)

WINDOWS = frozenset(
    """
    row_number rank rank_dense dense_rank percent_rank cume_dist ntile lag lead first_value last_value nth_value
""".split()
)

TABLE_FUNCTIONS = frozenset({"unnest", "range", "generate_series"})

NAMED = NUMBERS | TEXTS | TIMES | LISTS | AGGREGATES | WINDOWS
ALLOWED = NAMED | OPERATORS
