from hypothesis import given
from hypothesis import strategies as st

from sessionbridge.client_tokens import PREFIX, Token, made, redacted, token


def test_a_token_tells_its_row_and_no_two_are_the_same() -> None:
    texts = {made() for _ in range(50)}
    assert len({kept.id for _, kept in texts}) == 50
    for text, kept in texts:
        assert text.startswith(f"{PREFIX}{kept.id}-")
        assert token(text) == kept
        assert text not in str(kept)


@given(st.text())
def test_whatever_else_is_sent_is_nobodys(text: str) -> None:
    assert token(text).id == ""
    assert token(PREFIX + text[:40]).id == ""


def test_one_other_character_is_another_token() -> None:
    text, kept = made()
    other = token(text[:-1] + ("a" if text[-1] != "a" else "b"))
    assert other.id == kept.id
    assert other.hash != kept.hash
    assert token(text + "\n") == Token("", token(text + "\n").hash)


def test_nothing_of_a_token_stays_in_a_path() -> None:
    text, _ = made()
    spelled, partly = text.replace("-", "%2D"), f"{text[:-21]}%{ord(text[-21]):02x}{text[-20:]}"
    paths = "/v1/{0}/x?key={0}&a=b", "/s/{1}/v1?a=%C3%BC", "/?k={1}", "/?k={0}&l={1}", "/?k={2}"
    for sent in (path.format(text, spelled, partly) for path in paths):
        kept = redacted(sent.encode())
        assert kept is not None
        assert text[-20:].encode() not in kept
        assert redacted(kept) is not None  # it still tells that one was there
    assert redacted(b"/v1/messages?beta=true%20") is None
