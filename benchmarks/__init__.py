"""Benchmarks of omnimoe, and the baselines that they measure against."""
