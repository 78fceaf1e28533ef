//! Texts to be read: the shapes that YAML has, pieces of it, and mutations of both from a seed.

/// Manifests and the odd corners of YAML.
pub const SEEDS: &[&str] = &[
    "---\n# Source: web/templates/a.yaml\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: web\n  labels: {app: web, \"x\": 'y'}\ndata:\n  a: \"multi\nline at margin\n  more\"# comment\n  b: |\n    text\n     more\n\n    end\n  c: >-\n    folded\n    text\n\n      keep\n  d: 'it''s'\n  e: \"esc \\u2028 \\x41 \\t \\\n     joined\"\n---\nkind: B\n",
    "a: &x {p: 1, q: [1, 2, *y]}\nb:\n  <<: *x\n  p: 3\n",
    "base: &base\n  a: 1\n  b: 2\nd:\n  <<: [*base, {c: 3}]\n  a: 5\ne: *base\n",
    "- 1\n- 0x1F\n- 0o17\n- 017\n- 08\n- 1_000\n- 1e3\n- 6e53421\n- .5\n- -.inf\n- yes\n- off\n- ~\n- 2001-01-01\n- 1:30\n- 0b101\n- 12e03\n- +1\n- 1.\n",
    "? complex\n: value\n? [a, b]\n: c\n",
    "a: !!str 1\nb: !!int '3'\nc: !!float 1\nd: !!binary aGVsbG8=\ne: !foo bar\nf: !!null ''\ng: !!bool yes\n",
    "%YAML 1.1\n%TAG !e! tag:example.com,2000:\n---\na: !e!x b\n...\nb: 2\n",
    "{\"a\":1,\"b\":[true,null,{\"c\":\"d\"}]}\n---\n{\"e\":1e3}\n",
    "apiVersion: v1\nkind: List\nitems:\n- a: 1\n  b:\n  - x\n  -   y: 1\n      z: 2\n-\n- - n\n  - m\n",
    "1: a\n2.5: b\ntrue: c\n? d\n'z': e\n1e20: f\n",
    "a:\n  - b:   # comment\n      c\n    d: e f\n      g\n  # comment\n  - \"q\" : 1\n",
    "a: |+\n  keep\n\n\nb: |2\n    two\nc: >+\n  x\n  y\n\n\n",
    "key: [a, b: c, ? d : e, {f, g: h}, \"i\":j]\n",
    "a: \"\n  x\n\n  y  \n\tz\"\nb: plain\n  continued\n\n  more\nc: 'x\n\n  y'\n",
    "\u{feff}a: 1\r\nb: 2\r\n---\r\nc: |\r\n  x\r\n  y\r\n",
    "--- # comment\na: 1\n--- \nb: 2\n---\n---\nc: 3\n",
    "a: b: c\n",
    "a:b: c\n",
    "- -\n- - -\n",
    "a: 'x' y\n",
    "{a: b, c}\n",
    "[]: x\n",
    "{}: x\n",
    "a: {x: 1}y\n",
    "[a]: b\n",
    "a: *b\n",
    "&a [*a]\n",
    "a: @x\n",
    "--- a\nb\n",
];

/// Pieces that mean something to a YAML parser.
const PIECES: &[&str] = &[
    "\n",
    "\n  ",
    "\n    ",
    "\n- ",
    ": ",
    ":",
    "- ",
    "? ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    ",",
    "\"",
    "'",
    "#",
    " #",
    "&a ",
    "*a ",
    "*a",
    "!!str ",
    "!!int ",
    "!!float ",
    "!!binary ",
    "!",
    "!<x> ",
    "!!",
    "|",
    "|-",
    "|+\n",
    ">",
    "> \n",
    "|2\n",
    "---\n",
    "--- ",
    "\n---\n",
    "\n...\n",
    "...",
    "%YAML 1.1\n",
    "%TAG ! x\n",
    "\t",
    "\r\n",
    "\r",
    "\u{85}",
    "\u{2028}",
    "\u{2029}",
    "\u{feff}",
    "\u{e9}",
    "\u{1f600}",
    "\\",
    "\\n",
    "\\u00e9",
    "\\x",
    "\\\n",
    "~",
    "null",
    "yes",
    "no",
    "on",
    "y",
    "1",
    "0",
    "-1",
    "1e3",
    "0x1f",
    ".inf",
    ".5",
    "_",
    "1_0",
    "<<: *a\n",
    "<<: ",
    "<<",
    "a",
    "b",
    "key",
    "apiVersion: v1\n",
    " ",
    "  ",
    "\u{7f}",
    "=",
    "@",
    "`",
    "%",
    "key: value\n",
    "  sub: 1\n",
    "- item\n",
    "a: &a {x: 1}\n",
    "\n\n",
    "\"\"",
    "''",
    "{}",
    "[]",
    "? a\n: b\n",
    "'\n'",
    "\"\n\"",
    "2001-01-01",
    "2001-01-01T00:00:00Z",
    "!!timestamp ",
];

/// Characters that change much where they fall.
const INDICATORS: &str = " \n:-#'\"&*[]{},?|>!%\t0e.~yn";

/// Numbers from a seed (a linear congruential generator, its upper bits).
struct Draw(u64);

impl Draw {
    /// Below `limit`, which is more than 0.
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// So many texts.
pub fn mutated(seed: u64, count: usize) -> Vec<String> {
    let mut draw = Draw(seed);
    let mut one = || {
        if draw.below(10) < 3 {
            return (0..=draw.below(12)).map(|_| draw.one(PIECES)).collect();
        }
        let mut text: Vec<char> = draw.one(SEEDS).chars().collect();
        for _ in 0..=draw.below(4) {
            mutate(&mut text, &mut draw);
        }
        text.into_iter().collect()
    };
    (0..count).map(|_| one()).collect()
}

fn mutate(text: &mut Vec<char>, draw: &mut Draw) {
    let at = draw.below(text.len() + 1);
    match draw.below(10) {
        0..4 => {
            text.splice(at..at, draw.one(PIECES).chars());
        }
        4..6 => {
            let end = text.len().min(at + 1 + draw.below(5));
            text.drain(at..end);
        }
        6 => {
            let end = text.len().min(at + 1 + draw.below(30));
            let copy = text[at..end].to_vec();
            let to = draw.below(text.len() + 1);
            text.splice(to..to, copy);
        }
        7 if at < text.len() => {
            let indicators: Vec<char> = INDICATORS.chars().collect();
            text[at] = indicators[draw.below(indicators.len())];
        }
        8 => {
            let other: Vec<char> = draw.one(SEEDS).chars().collect();
            let from = draw.below(other.len());
            let end = other.len().min(from + 1 + draw.below(40));
            text.splice(at..at, other[from..end].iter().copied());
        }
        _ => {
            // Another indentation, or something at the end of a line.
            let start = text[..at].iter().rposition(|one| *one == '\n').map_or(0, |at| at + 1);
            let end = text[at..].iter().position(|one| *one == '\n').map_or(text.len(), |end| at + end);
            if draw.below(2) == 0 {
                let blanks = text[start..end].iter().take_while(|one| **one == ' ').count();
                text.splice(start..start + blanks, std::iter::repeat_n(' ', draw.below(5)));
            } else {
                text.splice(end..end, draw.one(&["# c", " # c", " ", ":"]).chars());
            }
        }
    }
}
