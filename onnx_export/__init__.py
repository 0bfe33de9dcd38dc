"""The bridge: turns a finished run into a verified ONNX model folder that the service reads."""
