"""Evidence: Parquet shards in, one DuckDB database out, named queries on it."""
