"""Options and arguments whose value is text, such as keys and labels."""

from __future__ import annotations

from typing import Any, Final

import click

__all__ = ["COUNT", "TEXT", "TextType"]


class TextType(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """Text that UTF-8 can hold; bytes that the terminal's encoding could not read are refused."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text, or fail as bad usage."""
        text = str(value)
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                message = f"{text[:100]!r} holds what UTF-8 cannot; check the encoding of the terminal."
                self.fail(message, param, ctx)
        return text


TEXT: Final = TextType()
COUNT: Final = click.IntRange(1, 1_000_000_000)  # of what is told or done; every database can count so far
