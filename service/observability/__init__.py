"""What operators see: metrics, structured log lines, the record of each request."""
