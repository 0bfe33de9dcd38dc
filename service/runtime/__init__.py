"""ONNX Runtime: sessions on the right device, threads that fit the machine, checked before use."""

import os

# Since 1.32 its wheels report usage to their maker and keep a database in the user's cache folder
# for it; images may come from where nothing must leave the building. The variable is read when the
# library loads, so it is set before anything here imports it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
