"""Sentences that stages record in English and a report says in its own language: which one, and what is in it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


class Sentence(str):
    """An English text that remembers what it was made of.

    It is a `str`, so whoever shows, counts or writes it needs to know nothing of other languages.
    """

    key: str
    """Its place in a catalogue of templates, dotted: `findings.blank`; empty for text alone."""
    values: Mapping[str, Any]
    """What stands between the template's braces: text, numbers, other sentences, or lists of these."""
    quoted: str
    """What follows it word for word in every language, such as another program's message."""

    def __new__(cls, text: str, key: str = "", values: Mapping[str, Any] | None = None, quoted: str = "") -> "Sentence":
        """Of its English text, the quoted one included, and its parts; `sentence` makes both from a template."""
        made = super().__new__(cls, text)
        made.key, made.values, made.quoted = key, dict(values or {}), quoted
        return made


def sentence(key: str, template: str, /, *, quoted: str = "", **values: Any) -> Sentence:
    """The sentence of a key.

    Args:
        key: its place in the catalogues of other languages.
        template: the English one; the others have the same names in braces.
        quoted: what follows word for word in every language.
        values: what stands between the braces; lists are told item by item.
    """
    spoken = {name: ", ".join(map(str, v)) if isinstance(v, list | tuple) else v for name, v in values.items()}
    return Sentence(template.format(**spoken) + quoted, key, values, quoted)


def counted(names: Sequence[Any], shown: int) -> "Sequence[Any] | Sentence":
    """The first few of many names, and how many more there are."""
    more = len(names) - shown
    if more <= 0:
        return names
    return sentence("lists.more", "{names} and {more} more", names=list(names[:shown]), more=more)


def record(text: str) -> dict[str, Any]:
    """What JSON can hold of a text; with `key`, `values` and `quoted` where it is a sentence."""
    if not isinstance(text, Sentence) or not text.key:
        return {"text": str(text)}
    values = {name: _plain(value) for name, value in text.values.items()}
    return {"text": str(text), "key": text.key, "values": values, "quoted": text.quoted}


def records(texts: Iterable[str]) -> list[dict[str, Any]]:
    """Each of the sentences once; text alone is left out."""
    return [record(text) for text in dict.fromkeys(texts) if isinstance(text, Sentence) and text.key]


def recorded(known: Mapping[str, Any]) -> Sentence:
    """The sentence that `record` wrote.

    Raises:
        KeyError: it is no such record.
    """
    values = {name: _sentences(value) for name, value in known.get("values", {}).items()}
    return Sentence(known["text"], known.get("key", ""), values, known.get("quoted", ""))


def _plain(value: Any) -> Any:
    if isinstance(value, Sentence):
        return record(value)
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _sentences(value: Any) -> Any:
    if isinstance(value, Mapping):
        return recorded(value)
    return [_sentences(item) for item in value] if isinstance(value, list) else value
