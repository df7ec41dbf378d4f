"""The decision log as a dataset: Parquet files on a disk or in an object store, SQL queries on them, and rows from
them."""
