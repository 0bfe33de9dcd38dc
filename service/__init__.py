"""The online part: serves exported Relevance Factor VAEs over HTTP on ONNX Runtime."""
