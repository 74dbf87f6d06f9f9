"""What one writes in ten minutes: a torch model and a matrix product behind FastAPI.

``python benchmarks/plain_server.py MODEL PORT``
"""

import sys
from typing import Any

import modicum as mo
import torch
import uvicorn
from fastapi import FastAPI
from modicum.training.batches import Batch
from pydantic import BaseModel

model = mo.load(sys.argv[1])
network = model.fitted_network.eval()
items = network.item_vectors().detach()
names = model.vocabulary.to_frame()["item"].to_list()
rows = {name: row for row, name in enumerate(names, start=1)}
histories: dict[str, list[int]] = {}


class Ask(BaseModel):
    user: str
    k: int = 10


class Event(BaseModel):
    id: str
    user: str
    item: Any


class Events(BaseModel):
    events: list[Event]


app = FastAPI()


@app.post("/recommend")
def recommend(ask: Ask) -> dict[str, Any]:
    history = histories.get(ask.user, [])[-model.length :]
    with torch.inference_mode():
        scores = (network.encode(Batch(torch.tensor([history]))) @ items.T)[0]
        scores[torch.tensor(history) - 1] = -torch.inf
        top = scores.topk(ask.k)
    pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return {"items": [{"item": names[at], "score": score} for at, score in pairs]}


@app.post("/events")
def keep(new: Events) -> dict[str, int]:
    for event in new.events:
        histories.setdefault(event.user, []).append(rows[event.item])
    return {"new": len(new.events)}


@app.get("/readyz")
def ready() -> dict[str, str]:
    return {"status": "ok"}


uvicorn.run(app, port=int(sys.argv[2]), log_level="warning", access_log=False)
