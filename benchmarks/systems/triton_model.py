"""Triton's Python backend as its documentation shows it: PNG bytes in, mu and logvar out."""

import io
import os
import sys

sys.path.insert(0, os.environ["PACKAGES"])  # this Triton's Python does not read PYTHONPATH

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils
from PIL import Image


class TritonPythonModel:
    """Triton batches; each call gets the requests of one batch."""

    def initialize(self, args):
        """Open the graph, once an instance."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = ort.InferenceSession(os.environ["ENCODER"], options)

    def execute(self, requests):
        """One answer a request."""
        files = [pb_utils.get_input_tensor_by_name(r, "png").as_numpy() for r in requests]
        images = [np.asarray(Image.open(io.BytesIO(png)))[None] for f in files for png in f[:, 0]]
        mu, logvar = self.session.run(None, {"image": np.stack(images)})
        answers, start = [], 0
        for rows in map(len, files):
            part = slice(start, start + rows)
            tensors = [pb_utils.Tensor("mu", mu[part]), pb_utils.Tensor("logvar", logvar[part])]
            answers.append(pb_utils.InferenceResponse(tensors))
            start += rows
        return answers
