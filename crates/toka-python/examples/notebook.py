"""A walk through a vault: editors that know `# %%` run one cell at a time, `python notebook.py DIR` runs all."""

# %% A vault in a directory of this machine; `Vault.connect([...])` would be a cluster's.
import sys
import tempfile

import numpy as np
from toka_vault import Embedder, Filter, Vault

embedder = Embedder.open()
directory = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()
vault = Vault.open(directory, model=embedder.model)

# %% Utterances are embedded all at once: an array of float32, one row for each.
utterances = [
    "turn on the lights in the kitchen",
    "switch off the kitchen lights",
    "lights on in the bedroom please",
    "play some jazz",
    "play the next song",
    "louder, I like this song",
    "will it rain today",
    "is it going to rain tomorrow",
]
rows = embedder.embed_texts(utterances)
print(rows.shape, rows.dtype)

# %% Each is an event. A row is read where it lies.
events = [vault.commit("utterance", text, embedding=row) for text, row in zip(utterances, rows, strict=True)]
print(events[0])

# %% An answer is caused by what was said.
answer = vault.commit("answer", {"text": "The lights are on."}, parents=[events[0]], source="assistant")
for event, depth in vault.ancestors(answer):
    print("  " * depth, event.kind, event.id)

# %% The events nearest to a text, by meaning.
query = "rain"
print(f"nearest to {query!r}:")
for hit in vault.search(embedder.embed_text(query), limit=3).hits:
    print(f"  {hit.similarity:.2f}  {hit.event.payload}")

# %% The same by hand: all embeddings as one matrix.
everything = [event for event in vault.events(["utterance"], embedding=True)]
matrix = np.stack([event.embedding for event in everything if event.embedding is not None])
best = np.argsort(matrix @ embedder.embed_text(query))[::-1][:3]
print([everything[index].payload for index in best])

# %% How the vault has grouped them.
for intent in vault.intents(examples=1):
    example = intent.examples[0].event.payload if intent.examples else None
    print(f"intent {intent.id}: {intent.events} events, such as {example!r}")

# %% What came of an event.
print(list(vault.events(filter=Filter(descendants_of=events[0]))))

# %%
vault.close()
