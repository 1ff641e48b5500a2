"""Who a request is from: a cookie that the page gives, or the address where there is none."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie

COOKIE = "maskwise_visitor"
LENGTH = 32  # hexadecimal digits


def new_visitor() -> str:
    """A name that nobody can guess."""
    return secrets.token_hex(LENGTH // 2)


def cookie_for(visitor: str) -> str:
    """The header's value; a page from elsewhere can't make a browser send it."""
    return f"{COOKIE}={visitor}; Path=/; HttpOnly; SameSite=Strict"


def given_visitor(cookies: Iterable[str]) -> str | None:
    """The name in a request's cookie headers, if the page gave one."""
    for header in cookies:
        try:
            found = SimpleCookie(header).get(COOKIE)
        except CookieError:
            continue
        if found is not None and len(found.value) == LENGTH and set(found.value) <= set("0123456789abcdef"):
            return found.value
    return None


def visitor_of(cookies: Iterable[str], address: str) -> str:
    """Whose request it is; those without a cookie are told apart by their address only."""
    return given_visitor(cookies) or f"at {address}"
