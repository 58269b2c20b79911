"""Figures against baselines and physical limits, side by side in one run; ``make bench`` prints them.

A figure is a ratio of medians: these machines differ, the ratio travels. Never a timed test.
"""
