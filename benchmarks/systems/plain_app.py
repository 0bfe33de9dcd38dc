"""What one would write first: FastAPI, a `def` endpoint, `session.run`, base64 PNG in JSON."""

import base64
import io
import os

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI
from PIL import Image
from pydantic import BaseModel

options = ort.SessionOptions()
options.intra_op_num_threads = 1
options.add_session_config_entry("session.intra_op.allow_spinning", "0")
session = ort.InferenceSession(os.environ["ENCODER"], options)
app = FastAPI()


class Body(BaseModel):
    """One image."""

    image: str


@app.post("/encode")
def encode(body: Body) -> dict[str, list[list[float]]]:
    """Mean and log variance."""
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(body.image))))[None, None]
    mu, logvar = session.run(None, {"image": image})
    return {"mu": mu.tolist(), "logvar": logvar.tolist()}
