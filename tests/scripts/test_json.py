# SPDX-License-Identifier: Apache-2.0
"""src/spec/json.c against Python's json: texts made at random from a seed, a third of them damaged.

The schema, and the program that decodes them by it, are tests/unit/test_json.c."""

import functools
import json
import random
import subprocess

from rig.scripts import ROOT

TEXTS = 20_000
U64_MAX = 2**64 - 1


# --- What a text becomes by Python's json and the rules of include/json.h -------------------------


class Refused(Exception):
    pass


class Members(list):
    """An object: (name, value) pairs, also those that are given twice."""


class Number(str):
    """As it is spelled."""


def check(right):
    if not right:
        raise Refused


def no_constant(name):
    raise ValueError(name)  # NaN: Python takes it


def string(value):
    check(isinstance(value, str) and not isinstance(value, Number))
    check(not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value))
    return "'" + value.encode().hex()


def optional_string(value):
    return "null" if value in (None, "") else string(value)


def integer(value, low, high):
    if value is None:
        return 0
    check(isinstance(value, Number) and not set(value) & set(".eE") and low <= int(value) <= high)
    return int(value)


def flag(value):
    check(value is None or isinstance(value, bool) or isinstance(value, Number) and value in "01")
    return int(value or 0)


def members(value):
    check(isinstance(value, Members))
    return dict(value)


def elements(value, each):
    check(value is None or isinstance(value, list) and not isinstance(value, Members))
    return len(value or []), [each(v) for v in value or []]


def leaf(value):
    given = members(value)
    check(given.get("name") not in (None, ""))
    return (string(given["name"]), optional_string(given.get("text")),
            integer(given.get("number"), 0, U64_MAX))


def tree(value):
    given = members(value)
    inside, pointed, pairs = (given.get(name) for name in ("inside", "pointed", "map"))
    if pairs is not None:
        members(pairs)
    return (
        optional_string(given.get("string")),
        int(given.get("strings") is not None), elements(given.get("strings"), string),
        integer(given.get("u64"), 0, U64_MAX), integer(given.get("u32"), 0, 65535),
        integer(given.get("int"), -5, 64), flag(given.get("flag")),
        ("null", "null", 0) if inside is None else leaf(inside),
        int(pointed is not None), ("null", "null", 0) if pointed is None else leaf(pointed),
        elements(given.get("leaves"), leaf),
        elements([pair for pair in pairs or [] if pair[1] is not None],
                 lambda pair: (string(pair[0]), string(pair[1]))))


def words(value):
    return [w for v in value for w in words(v)] if isinstance(value, (list, tuple)) else [str(value)]


def expected(text):
    """The line of test_json, "error", or None: it is not JSON."""
    try:
        value = json.loads(text.decode(), object_pairs_hook=Members, parse_int=Number,
                           parse_float=Number, parse_constant=no_constant)
    except ValueError:
        return None
    try:
        return " ".join(words(tree(value)))
    except Refused:
        return "error"


# --- Texts ----------------------------------------------------------------------------------------


@functools.cache
def spellings(c):
    units = c.encode("utf-16-be", "surrogatepass").hex()
    escaped = "".join(f"\\u{units[i:i + 4]}" for i in range(0, len(units), 4))
    if "\ud800" <= c <= "\udfff":
        return [escaped]
    plain = json.dumps(c, ensure_ascii=False)[1:-1]
    return [plain] * 5 + [escaped, escaped.upper().replace("U", "u"), "\\/" if c == "/" else plain]


class Texts(random.Random):
    def rarely(self):
        return self.random() < 0.02

    def joined(self, begin, parts, end):
        def space():
            return self.choice(["", "", "", "", " ", "\t", "\n", "\r", "  "])
        return begin + ",".join(space() + part + space() for part in parts) + space() + end

    def string(self, text=None):
        alphabet = "abcxyz01 /'{}[]:,.-\"\\\b\f\n\r\t\x01\x1f\x7f\x80ä\u07ff\u0800€\ufffd\uffff\U00010000🐳\U0010ffff"
        if self.rarely():
            alphabet = "a\0\ud800\udbff\udc00\udfff"
        if text is None:
            text = self.choices(alphabet, k=self.choice([0, 1, 1, 2, 5, 20]))
        return '"' + "".join(self.choice(spellings(c)) for c in text) + '"'

    def number(self):
        return self.choice(["0", "1", "-0", "-1", "-6", "65", "65536", "18446744073709551616",
                            "1" * 40, "1.0", "0.5", "1e3", "1E-2", "-0.0e+1"])

    def u64(self):
        return self.choice(["0", "5", "-0", "9007199254740993", "18446744073709551615"])

    def array(self, each):
        return self.joined("[", [each() for _ in range(self.choice([0, 1, 2, 3, 7]))], "]")

    def pair(self, name, value):
        return self.choice([":", " :", ": "]).join((name, value))

    def object(self, known):
        """Most of what is known, some of it twice or of another kind; and what is not known."""
        pairs = [self.pair(self.string(name), self.any() if self.rarely() else value())
                 for name, value in known.items() for _ in range(self.choice([0, 1, 1, 1, 1, 1, 1, 2]))]
        pairs += [self.pair(self.string(), self.any()) for _ in range(self.choice([0, 0, 1]))]
        self.shuffle(pairs)
        return self.joined("{", pairs, "}")

    def any(self, levels=4):
        kind = self.randrange(7 if levels else 5)
        if kind == 5:
            return self.array(lambda: self.any(levels - 1))
        if kind == 6:
            return self.joined("{", [self.pair(self.string(), self.any(levels - 1))
                                     for _ in range(self.choice([0, 1, 3]))], "}")
        return self.choice([self.string(), self.string(), self.number(), "true", "false", "null"])

    def leaf(self):
        text = self.object({"text": self.string, "number": self.u64})
        if self.rarely():
            return text
        name = self.pair(self.string("name"), self.choice([self.string("n"), self.string("ä€")]))
        return "{" + name + ("," if ":" in text else "") + text[1:]

    def map(self):
        return self.joined("{", [self.pair(self.string(), self.choice([self.string(), "null"]))
                                 for _ in range(self.choice([0, 1, 3]))], "}")

    def tree(self):
        return self.object({
            "string": self.string, "strings": lambda: self.array(self.string), "u64": self.u64,
            "u32": lambda: self.choice(["0", "7", "65535"]),
            "int": lambda: self.choice(["-5", "0", "64"]),
            "flag": lambda: self.choice(["true", "false", "0", "1", "null"]),
            "inside": self.leaf, "pointed": self.leaf, "leaves": lambda: self.array(self.leaf),
            "map": self.map}).encode()

    def damaged(self, text):
        pieces = [b"", b'"', b"\\", b"\\u", b"{", b"}", b"[", b"]", b":", b",", b"1", b"-", b" ", b"\0",
                  b"\x1f", b"\xff", b"\xc3", b"null", text[:self.randrange(len(text))][-9:]]
        for _ in range(self.choice([1, 1, 2, 5])):
            at = self.randrange(len(text) + 1)
            text = text[:at] + self.choice(pieces) + text[at + self.choice([0, 1, 1, 5]):]
        return text


def test_decodes_what_pythons_json_decodes():
    texts = Texts(1)
    made = [texts.tree() for _ in range(TEXTS)]
    made = [texts.damaged(text) if i % 3 == 0 else text for i, text in enumerate(made)]
    done = subprocess.run([ROOT / "build/unit/test_json", "decode"], capture_output=True, check=True,
                          input=b"".join(b"%d\n%s" % (len(text), text) for text in made))
    lines = done.stdout.split(b"\n")[:-1]
    assert len(lines) == len(made)
    kinds = {"JSON": 0, "error": 0, "no JSON": 0}
    for text, line in zip(made, lines):
        wanted = expected(text)
        if wanted is not None:  # of other texts it may decode what it knows
            assert line.decode().rstrip() == wanted, text
        kinds["no JSON" if wanted is None else "error" if wanted == "error" else "JSON"] += 1
    assert all(count > TEXTS / 10 for count in kinds.values()), kinds
