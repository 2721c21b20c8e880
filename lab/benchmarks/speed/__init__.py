"""Training and scoring speed beside RecTools' and RePlay's SASRec: `python -m lab.benchmarks.speed`."""
