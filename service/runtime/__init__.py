"""ONNX Runtime: sessions on the right device, threads that fit the machine, checked before use."""
