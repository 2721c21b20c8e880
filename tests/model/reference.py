"""The model's equations once more: one row, one position, one head at a time, from the paper and the weights alone.

Nothing of `intentrec.model` computes here; only the names of its parameters are known.
"""

import math

import numpy as np

from intentrec.model.intentrec import IntentRec
from intentrec.model.vocabulary import Vocabulary

PERIODS = ((86_400, 2), (604_800, 3))


class Reference:
    """Plain-loop IntentRec over rows as Python dicts."""

    def __init__(self, model: IntentRec, vocabulary: Vocabulary) -> None:
        self.w = {name: value.double().numpy() for name, value in model.state_dict().items()}
        self.spec = model.spec
        self.vocabulary = vocabulary

    def forward(self, row: dict) -> dict:
        """item (L, D), intents {name: (L, C)} as logits, z (L, P) and attention (L, M)."""
        n = len(row["title_id"])
        times = [t.timestamp() for t in row["end_ts"]]
        titles = [self.title(self.at(row, k)) for k in range(n)]
        f = [self.features(row, k, titles[k]) for k in range(n)]
        s = {h: self.encoder(f"short_term.{h}", f, times, dict(row["window_start"])[h], 1) for h in self.spec.windows}
        x = [np.concatenate([f[k], *[s[h][k] for h in self.spec.windows]]) for k in range(n)]
        z = attention = None
        if self.spec.variant in ("v2", "v3", "v4"):
            logits = self.intents(self.encoder("intent_encoder", x, times, [0] * n, self.spec.layers))
            z, attention = zip(
                *[self.mix([logits[i.name][k] for i in self.spec.intents]) for k in range(n)], strict=True
            )
            x = [np.concatenate([x[k], z[k]]) for k in range(n)]
        encoded = self.encoder("item_encoder", x, times, [0] * n, self.spec.layers)
        if self.spec.variant == "v1":
            logits = self.intents(encoded)
        elif self.spec.variant == "v0":
            logits = {}
        p = [{name: softmax(each[k]) for name, each in logits.items()} for k in range(n)]
        found = {"intents": logits, "z": z, "attention": attention, "p": p, "encoded": encoded}
        if self.spec.variant == "v4":  # E^item: everything else follows from a class
            return {**found, "item": encoded, "bias": None}
        item, bias = zip(*[self.next_item(row, k, encoded, encoded[k], p[k]) for k in range(n)], strict=True)
        return {**found, "item": item, "bias": None if bias[0] is None else bias}

    def given(self, row: dict, found: dict, k: int, label: int | None) -> tuple[np.ndarray, list[float] | None]:
        """V4: user vector and logit biases at k if a class of the lead intent is certain, or none is known."""
        item, lead = found["encoded"][k], self.spec.lead_intent
        certain = np.zeros(len(found["p"][k][lead]))
        if label is not None:
            item = item * (1 + self.w["scale"][label]) + self.w["shift"][label]
            certain[label] = 1.0
        return self.next_item(row, k, found["encoded"], item, {**found["p"][k], lead: certain})

    def next_item(
        self, row: dict, k: int, encoded: list, item: np.ndarray, p: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, list[float] | None]:
        """User vector and logit biases at k from E^item, or what stands for it, and distributions."""
        times = [t.timestamp() for t in row["end_ts"]]
        user, biases = self.linear("to_item", item), []
        if self.spec.history_path:
            biases.append(self.history(k, encoded, item, row["title_id"], times))
        if self.spec.decayed_counts:
            biases.append(self.counts(k, item, row["title_id"], times))
        if self.spec.title_state:
            biases.append(self.state(k, item, row))
        if self.spec.compatibility:
            user = np.concatenate([user, *self.channels(p)])
            biases.append(self.compatible(k, p, row, times))
        return user, list(np.sum(biases, axis=0)) if biases else None

    def at(self, row: dict, k: int) -> dict:
        """The facts of one interaction."""
        return {name: row[name][k] for name in ("title_id", *self.columns(), *self.spec.numeric)}

    def columns(self) -> set[str]:
        return {*self.spec.categorical, *self.spec.multi_label, *self.spec.item_features}

    def token(self, table: str, known: tuple[str, ...], value: str | list[str]) -> np.ndarray:
        """An embedding; the mean over several labels, 0 where there are none."""
        rows = [
            self.w[table][known.index(v) + 2 if v in known else 1]
            for v in ([value] if isinstance(value, str) else value)
        ]
        return np.mean(rows, 0) if rows else np.zeros(self.w[table].shape[1])

    def title(self, facts: dict) -> np.ndarray:
        """Id embedding, if the title has one, and the tower over its facts."""
        known = self.vocabulary.titles
        tokens = self.vocabulary.tokens
        of_facts = [self.token(f"titles.facts.{c}.weight", tokens[c], facts[c]) for c in self.spec.item_features]
        tower = self.linear("titles.tower.2", gelu(self.linear("titles.tower.0", np.concatenate(of_facts))))
        title = facts["title_id"]
        return tower + (self.w["titles.id"][known.index(title) + 2] if title in known else 0)

    def features(self, row: dict, k: int, title: np.ndarray) -> np.ndarray:
        """F_k: title, categorical facts, and per number its standardised logarithm and a flag for unknown."""
        facts = self.at(row, k)
        parts = [title]
        for c in (*self.spec.categorical, *self.spec.multi_label):
            parts.append(self.token(f"features.embed.{c}.weight", self.vocabulary.tokens[c], facts[c]))
        for name in self.spec.numeric:
            mean, std = self.vocabulary.numeric[name]
            unknown = facts[name] < 0
            value = 0.0 if unknown else max(-5.0, min(5.0, (math.log(1 + facts[name]) - mean) / std))
            parts.append(np.array([value, float(unknown)]))
        return np.concatenate(parts)

    def encoder(self, name: str, x: list, times: list[float], starts: list[int], layers: int) -> list[np.ndarray]:
        """Position k attends to starts[k] <= i <= k in every block."""
        y = []
        for k in range(len(x)):
            reduced = self.norm(f"{name}.reduce.1", self.linear(f"{name}.reduce.0", x[k]))
            y.append(reduced + self.time(name, times, k))
        for b in range(layers):
            block = f"{name}.blocks.{b}"
            normed = [self.norm(f"{block}.norm_attention", v) for v in y]
            y = [y[k] + self.attend(block, f"{name}.ago.table", normed, times, starts[k], k) for k in range(len(y))]
            y = [v + self.mlp(block, self.norm(f"{block}.norm_mlp", v)) for v in y]
        return [self.norm(f"{name}.norm", v) for v in y]

    def time(self, name: str, times: list[float], k: int) -> np.ndarray:
        channels = []
        for period, harmonics in PERIODS:
            for h in range(1, harmonics + 1):
                angle = 2 * math.pi * h * times[k] / period
                channels += [math.sin(angle), math.cos(angle)]
        out = self.linear(f"{name}.time.periodic", np.array(channels))
        if name.startswith("short_term"):
            return out
        bucket = 0 if k == 0 else min(31, 1 + math.floor(math.log2(1 + times[k] - times[k - 1])))
        return out + self.w[f"{name}.time.gap.weight"][bucket]

    def attend(self, block: str, ago: str, x: list, times: list[float], start: int, k: int) -> np.ndarray:
        d, heads = self.spec.dim, self.spec.heads
        width = d // heads
        qkv = {i: self.linear(f"{block}.attention.qkv", x[i]) for i in range(start, k + 1)}
        out = []
        for h in range(heads):
            part = slice(h * width, (h + 1) * width)
            q = qkv[k][:d][part]
            scores = [
                q @ qkv[i][d : 2 * d][part] / math.sqrt(width) + self.w[ago][bucket(times[k] - times[i])][h]
                for i in qkv
            ]
            share = softmax(np.array(scores))
            out.append(sum(a * qkv[i][2 * d :][part] for a, i in zip(share, qkv, strict=True)))
        return self.linear(f"{block}.attention.out", np.concatenate(out))

    def mlp(self, block: str, x: np.ndarray) -> np.ndarray:
        return self.linear(f"{block}.mlp.2", gelu(self.linear(f"{block}.mlp.0", x)))

    def intents(self, encoded: list) -> dict[str, list[np.ndarray]]:
        return {i.name: [self.linear(f"heads.{m}", e) for e in encoded] for m, i in enumerate(self.spec.intents)}

    def mix(self, logits: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Eq. 2: alpha_i is the i-th of the M outputs of FC_att on Proj_i(p_i)."""
        projected = [self.linear(f"mixture.project.{i}", softmax(logit)) for i, logit in enumerate(logits)]
        attention = softmax(np.array([self.linear("mixture.attend", p)[i] for i, p in enumerate(projected)]))
        return sum(a * p for a, p in zip(attention, projected, strict=True)), attention

    def counts(self, k: int, item: np.ndarray, titles: list[str], times: list[float]) -> list[float]:
        """Of each position's title as seen from k, where it was touched last: how often it occurred, with decay."""
        *weights, constant = self.linear("counts.weight", item)
        bias = [0.0] * len(titles)
        for at in range(k + 1):
            if titles[at] in titles[at + 1 : k + 1]:
                continue
            bias[at] = constant
            for weight, weeks in zip(weights, (4, 26), strict=True):
                ago = [(times[k] - times[i]) / 604_800 for i in range(k + 1) if titles[i] == titles[at]]
                bias[at] += weight * math.log(sum(0.5 ** (a / weeks) for a in ago))
        return bias

    def state(self, k: int, item: np.ndarray, row: dict) -> list[float]:
        """Of each position's title as seen from k, where it was touched last: what is known of it since then."""
        titles, begun = row["title_id"], self.linear("state.weight", item)
        bias = [0.0] * len(titles)
        for at in range(k + 1):
            if titles[at] not in titles[at + 1 : k + 1]:
                fraction = row["last_fraction"][at]
                facts = [fraction >= 0, max(fraction, 0.0), row["last_finished"][at], row["listed"][at]]
                bias[at] = float(begun @ np.array(facts, float))
        return bias

    def history(self, k: int, encoded: list, item: np.ndarray, titles: list[str], times: list[float]) -> list[float]:
        """Of each position's title as seen from k, where it was touched last: gates x log(1 + sum of exp(score))."""
        heads, width = self.spec.heads, self.spec.dim // self.spec.heads
        gates = self.linear("history.gate", item)
        query = self.linear("history.query", encoded[k])
        strength: dict[str, list[float]] = {}
        for i in range(k + 1):
            key = self.linear("history.key", encoded[i])
            for h in range(heads):
                part = slice(h * width, (h + 1) * width)
                score = query[part] @ key[part] / math.sqrt(width)
                score += self.w["history.ago.table"][bucket(times[k] - times[i])][h]
                strength.setdefault(titles[i], [0.0] * heads)[h] += math.exp(min(score, 20))
        bias = {
            title: sum(g * math.log(1 + x) for g, x in zip(gates, each, strict=True))
            for title, each in strength.items()
        }
        return [
            bias[titles[i]] if i <= k and titles[i] not in titles[i + 1 : k + 1] else 0.0 for i in range(len(titles))
        ]

    def channels(self, p: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Of the user vector, beyond its width: kind and genre are facts of titles."""
        shared = [i.name for i in self.spec.intents if i.column in self.spec.item_features]
        return [p[name] * self.w[f"compatible.scale.{name}"] for name in shared]

    def compatible(self, k: int, p: dict[str, np.ndarray], row: dict, times: list[float]) -> list[float]:
        """Of each position's title as seen from k, where it was touched last: by its action type then, and how long
        ago that was."""
        titles, known = row["title_id"], self.vocabulary.tokens["action_type"]
        bias = [0.0] * len(titles)
        for i in range(k + 1):
            if titles[i] not in titles[i + 1 : k + 1]:
                act = known.index(row["action_type"][i]) + 2 if row["action_type"][i] in known else 1
                for c, share in enumerate(p.get("action_type", ())):
                    bias[i] += share * self.w["compatible.by_act.action_type"][c][act]
                    bias[i] += share * self.w["compatible.by_ago.action_type"][c][bucket(times[k] - times[i])]
        return bias

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return self.w[f"{name}.weight"] @ x + self.w[f"{name}.bias"]

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        return (x - x.mean()) / math.sqrt(x.var() + 1e-5) * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]


def softmax(x: np.ndarray) -> np.ndarray:
    """Along the only axis."""
    e = np.exp(x - x.max())
    return e / e.sum()


def gelu(x: np.ndarray) -> np.ndarray:
    """x times the normal distribution function."""
    return np.array([v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x])


def bucket(seconds: float) -> int:
    """floor(log2(1 + s))."""
    return min(31, math.floor(math.log2(1 + seconds)))
