"""Predicted session intents and the recommendations that follow from them, as a weekly batch pipeline."""

import os

# OpenMP threads that wait for one another sleep. By default they spin: where Spark or another task holds one of the
# cores, a training step then takes ten times as long. It is read once, when torch or scikit-learn loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
