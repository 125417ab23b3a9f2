"""Corpora: adapters, collection, cleaning, splits."""
