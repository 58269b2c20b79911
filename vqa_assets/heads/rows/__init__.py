"""The rows that a head learns from: which tables, read how, with which columns, and how they are split."""
