"""LitServe as its documentation shows it: decode, batch, predict, unbatch, encode; base64 PNG."""

import base64
import io
import os
import sys

import litserve
import numpy as np
import onnxruntime as ort
from PIL import Image


class Encoder(litserve.LitAPI):
    """One image a request, up to 32 a batch."""

    def setup(self, device):
        """Open the graph, once a worker."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = ort.InferenceSession(os.environ["ENCODER"], options)

    def decode_request(self, request):
        """JSON to pixels."""
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(request["image"]))))[None]

    def batch(self, inputs):
        """Pixels of many requests in one array."""
        return np.stack(inputs)

    def predict(self, x):
        """Mean and log variance."""
        return self.session.run(None, {"image": x})

    def unbatch(self, output):
        """One pair a request."""
        return list(zip(*output, strict=True))

    def encode_response(self, output):
        """JSON again."""
        mu, logvar = output
        return {"mu": [mu.tolist()], "logvar": [logvar.tolist()]}


if __name__ == "__main__":
    server = litserve.LitServer(
        Encoder(max_batch_size=32, batch_timeout=0.001, api_path="/encode"),
        accelerator="cpu",
        workers_per_device=int(os.environ["WORKERS"]),
    )
    server.run(port=int(sys.argv[1]), generate_client_file=False, log_level="error")
