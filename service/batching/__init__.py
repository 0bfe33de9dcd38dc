"""The micro-batcher: joins rows of many requests into batches. No HTTP and no ONNX Runtime."""
