"""Predicted session intents and the recommendations that follow from them, as a weekly batch pipeline."""

import os

# OpenMP threads that wait for one another spin for a moment, then sleep (GNU's count, which torch's build reads once,
# when it loads). The default spins much longer: where Spark or another task holds a core, a training step then takes up
# to seven times as long. Not spinning at all costs a third of the speed on a machine with nothing else to do.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
