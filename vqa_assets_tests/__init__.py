"""Tests. Each is a sentence; clips, tables and heads are made here and nowhere kept."""
