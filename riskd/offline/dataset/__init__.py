"""The decision log as a dataset: Parquet files on a disk or in an object store, what is asked of them, and rows."""
