"""The free geo databases: fetched, converted, installed."""
