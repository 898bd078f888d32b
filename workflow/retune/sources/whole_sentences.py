"""Whole sentences of the phrases with which docstrings begin.

A docstring says "Return the name", or "Base class for servers". An answer says that
`f` returns the name, or that `Server` is the base class for servers.
"""

import re

# Verbs with which docstrings begin.
VERBS_IN_USE = """
accept acquire add adjust allow append apply arrange assert attach authenticate bind
block build calculate call cancel change check choose clean clear close collapse collect
combine compare compile compress compute configure connect construct convert copy create
customize debug decode decompress define delete describe deserialize determine disable
disassemble discard display divide draw dump emit enable encode ensure escape evaluate
execute exit expand extend extract fail feed fetch fill filter find finish flush format
free generate get give guess handle hide implement import increment indent indicate
initialize insert install interpret invert invoke issue iterate join kill list load lock
log look make map mark match merge modify move normalize obtain open parse perform place
pop prepare prepend pretty-print print process produce prompt provide push put quote
raise read rebuild receive recompile record register release reload remove rename render
replace report represent request reset resolve restore retrieve return reverse rotate
round run save scan schedule search select send separate serialize serve set show
shuffle shutdown skip sleep sort spawn specify split start stop store strip subtract
suspend switch take terminate test transform translate traverse truncate try turn undo
unlock unquote unregister unset update upgrade use validate verify wait wake walk wrap
write yield
"""
VERBS = frozenset(VERBS_IN_USE.split())
MODAL = re.compile(r"\b(is|are|was|were|can|may|should|must|will|has|have|does)\b")
# After these a clause begins, which has a verb of its own.
CLAUSE = re.compile(r"\b(that|which|who|whose|when|whenever|if|where|while|whether)\b")
COORDINATED = re.compile(r"(?:\band|\bor|\bthen|,|;) ([a-z]+)\b")
# Further verbs that can be no nouns there.
ALSO = re.compile(r"\b(and|or|then) (return|raise|yield)\b")
# How a noun phrase begins, and the article that it then lacks.
NOUNS = {
    "a": "",
    "an": "",
    "the": "",
    "base class": "the ",
    "abstract base class": "an ",
    "abstract class": "an ",
    "class": "a ",
    "common base class": "the ",
    "concrete class": "a ",
    "concrete implementation": "a ",
    "context manager": "a ",
    "exception": "an ",
    "generic class": "a ",
    "helper class": "a ",
    "interface": "an ",
    "metaclass": "a ",
    "mix-in class": "a ",
    "mixin class": "a ",
    "simple class": "a ",
    "subclass": "a ",
    "wrapper": "a ",
}
PARTICIPLES = ("raised", "called", "invoked", "used", "same as", "equivalent to")
# These begin a sentence that says what the function does, not what to do.
BARE_VERB = re.compile(r"(^|[.!?] )(Return|Raise)s? (?!values? )")
WHOLE = re.compile(
    r"(this|these|instances|objects|you|subclasses|if|when|in|it) ", re.IGNORECASE
)


def sentence_about(name: str, phrase: str, kind: str) -> str | None:
    """Return a whole sentence about a name, or None if the phrase gives none.

    Args:
        name: The name, as in `json.dumps`.
        phrase: First sentence of its docstring.
        kind: What it is the name of, as in PublicName.
    """
    does = what_it_does(phrase)
    if does is not None:
        return f"`{name}` {does}"
    if is_coordinated(phrase):
        return f"Use `{name}` to {lowered(phrase)}"
    return sentence_of_noun(name, phrase, kind)


def with_subject(text: str) -> str:
    """Return a text whose sentences say who returns or raises: "It returns x."."""
    return BARE_VERB.sub(
        lambda found: f"{found[1]}It {in_third_person(found[2].lower())} ", text
    )


def what_it_does(phrase: str) -> str | None:
    """Return a phrase in the third person: "Return x." becomes "returns x.".

    Returns:
        None if it does not begin with a known verb, or has a second one whose form
        would have to change, too.
    """
    first, _, rest = phrase.partition(" ")
    verb = first.lower()
    if rest.startswith("value "):
        return None
    if third_person_verb(verb):
        return f"{verb} {rest}"
    if verb not in VERBS or is_coordinated(phrase):
        return None
    return f"{in_third_person(verb)} {ALSO.sub(also_in_third_person, rest)}"


def also_in_third_person(found: re.Match[str]) -> str:
    """Return a further verb of a phrase with the word before it: `and returns`."""
    return f"{found[1]} {in_third_person(found[2])}"


def is_coordinated(phrase: str) -> bool:
    """Return whether a phrase begins with a known verb and seems to have another.

    Those of ALSO are no doubtful ones.
    """
    first, _, rest = phrase.partition(" ")
    return first.lower() in VERBS and any(
        word in VERBS for word in COORDINATED.findall(ALSO.sub("", rest))
    )


def sentence_of_noun(name: str, phrase: str, kind: str) -> str | None:
    """Return a whole sentence of a phrase without a verb, or None."""
    low = phrase.lower()
    if low.startswith("true if "):
        return f"`{name}` is true if {phrase[8:]}" if kind == "property" else None
    for start in PARTICIPLES:
        if low.startswith(f"{start} "):
            same = "the " if start == "same as" else ""
            return f"`{name}` is {same}{lowered(phrase)}"
    if WHOLE.match(phrase):
        return phrase if MODAL.search(phrase) or third_person_in(phrase) else None
    if kind == "function" or kind == "method":
        return None
    main = CLAUSE.split(phrase)[0]
    # The docstring of a module is that of its only class at times.
    if kind == "module" and "class" in main.lower():
        return None
    for start, article in NOUNS.items():
        if low.startswith(f"{start} ") and not MODAL.search(main):
            return f"`{name}` is {article}{lowered(phrase)}"
    return None


def third_person_in(phrase: str) -> bool:
    """Return whether a phrase has a known verb in the third person near its start."""
    return any(third_person_verb(word) for word in phrase.lower().split()[1:5])


def third_person_verb(word: str) -> bool:
    """Return whether a word is a known verb in the third person."""
    stems = [word[:-1], word[:-2], f"{word[:-3]}y"]
    return any(stem in VERBS and in_third_person(stem) == word for stem in stems)


def in_third_person(verb: str) -> str:
    """Return the third person of a verb: `copies` for `copy`."""
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return f"{verb[:-1]}ies"
    return verb + ("es" if verb.endswith(("s", "sh", "ch", "x", "z", "o")) else "s")


def lowered(phrase: str) -> str:
    """Return a phrase that does not begin with a capital letter."""
    return phrase[0].lower() + phrase[1:]
