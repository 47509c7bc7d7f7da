"""The model: the next character from the last `block_size` ones, by a small network in numpy.

An embedding per character, concatenated; one tanh layer; `n_layer - 1` residual tanh layers; softmax.
Gradients are written out by hand; the optimiser is Adam.
"""

import numpy as np
import numpy.typing as npt
from options import Options

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]
Parameters = dict[str, Floats]


class Text:
    """A text as character numbers, its last tenth kept for validation."""

    def __init__(self, text: str) -> None:
        letters = sorted(set(text))
        self.vocabulary = len(letters)
        number = {letter: n for n, letter in enumerate(letters)}
        ids = np.array([number[letter] for letter in text], dtype=np.intp)
        border = len(ids) * 9 // 10
        self.train, self.validation = ids[:border], ids[border:]


def sample(ids: Indices, options: Options, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """One batch: contexts (batch_size × block_size) and the character that follows each."""
    starts = rng.integers(0, len(ids) - options.block_size, size=options.batch_size)
    windows = ids[starts[:, None] + np.arange(options.block_size + 1)]
    return windows[:, :-1], windows[:, -1]


def fresh(options: Options, vocabulary: int, rng: np.random.Generator) -> Parameters:
    """New parameters, scaled so that activations keep their size from layer to layer."""

    def matrix(rows: int, columns: int) -> Floats:
        return rng.standard_normal((rows, columns), dtype=np.float32) / np.float32(rows**0.5)

    hidden = options.n_hidden
    parameters = {"embedding": rng.standard_normal((vocabulary, options.n_embd), dtype=np.float32)}
    for layer in range(options.n_layer):
        rows = options.block_size * options.n_embd if layer == 0 else hidden
        parameters[f"weight{layer}"] = matrix(rows, hidden)
        parameters[f"bias{layer}"] = np.zeros(hidden, dtype=np.float32)
    parameters["out"] = matrix(hidden, vocabulary) * np.float32(0.1)
    parameters["out_bias"] = np.zeros(vocabulary, dtype=np.float32)
    return parameters


def gradients(p: Parameters, contexts: Indices, targets: Indices) -> tuple[float, Parameters]:
    """Mean cross-entropy (nats a character) of a batch, and its gradient for every parameter."""
    rows = np.arange(len(targets))
    loss, states, squashed, probabilities = _forward(p, contexts, targets)
    slope = probabilities  # ours alone: turned into d loss / d logits in place
    slope[rows, targets] -= 1
    slope /= np.float32(len(rows))
    g: Parameters = {"out": states[-1].T @ slope, "out_bias": slope.sum(axis=0)}
    slope = slope @ p["out"].T
    for layer in reversed(range(len(squashed))):
        through = slope * (np.float32(1) - squashed[layer] * squashed[layer])
        g[f"weight{layer}"] = states[layer].T @ through
        g[f"bias{layer}"] = through.sum(axis=0)
        back = through @ p[f"weight{layer}"].T
        slope = slope + back if layer else back
    one_hot = np.zeros((contexts.size, len(p["embedding"])), dtype=np.float32)
    one_hot[np.arange(contexts.size), contexts.ravel()] = 1
    g["embedding"] = one_hot.T @ slope.reshape(contexts.size, -1)
    return loss, g


def mean_loss(p: Parameters, ids: Indices, options: Options, rng: np.random.Generator) -> float:
    """The loss over `eval_iters` batches."""
    batches = [sample(ids, options, rng) for _ in range(options.eval_iters)]
    return float(np.mean([_forward(p, *batch)[0] for batch in batches]))


def _forward(p: Parameters, contexts: Indices, targets: Indices) -> tuple[float, list[Floats], list[Floats], Floats]:
    """The loss, the input of every layer (the last: of the output), each tanh, and the probabilities."""
    state: Floats = p["embedding"][contexts].reshape(len(contexts), -1)
    states, squashed = [state], []
    layer = 0
    while f"weight{layer}" in p:
        squashed.append(np.tanh(state @ p[f"weight{layer}"] + p[f"bias{layer}"]))
        state = state + squashed[-1] if layer else squashed[-1]
        states.append(state)
        layer += 1
    logits = state @ p["out"] + p["out_bias"]
    logits -= logits.max(axis=1, keepdims=True)
    exponentials = np.exp(logits)
    sums = exponentials.sum(axis=1, keepdims=True)
    loss = float(np.mean(np.log(sums[:, 0]) - logits[np.arange(len(targets)), targets]))
    return loss, states, squashed, exponentials / sums


class Adam:
    """Adam (Kingma and Ba 2015) with its usual constants. Changes the parameters in place."""

    def __init__(self, parameters: Parameters) -> None:
        self.mean = {name: np.zeros_like(value) for name, value in parameters.items()}
        self.square = {name: np.zeros_like(value) for name, value in parameters.items()}

    def step(self, parameters: Parameters, g: Parameters, learning_rate: float, iteration: int) -> None:
        """One update; `iteration` counts from 1."""
        rate = learning_rate * (1 - 0.999**iteration) ** 0.5 / (1 - 0.9**iteration)
        for name, value in parameters.items():
            self.mean[name] += np.float32(0.1) * (g[name] - self.mean[name])
            self.square[name] += np.float32(0.001) * (g[name] ** 2 - self.square[name])
            value -= np.float32(rate) * self.mean[name] / (np.sqrt(self.square[name]) + np.float32(1e-8))
