"""Tests Binance's signature with the sample of its documents."""

import pytest

from services.paper_broker.binance.signature import is_signed, sign, split

SECRET = b"NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
PAYLOAD = (
    "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"
)
SIGNATURE = "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"


def test_the_documented_sample_is_signed_as_documented() -> None:
    """Secret and parameters of the documents give their signature."""
    assert sign(SECRET, PAYLOAD) == SIGNATURE


def test_any_change_makes_the_signature_wrong() -> None:
    """Another secret or payload does not pass; the case of the digits does not matter."""
    assert is_signed(SIGNATURE, SECRET, PAYLOAD)
    assert is_signed(SIGNATURE.upper(), SECRET, PAYLOAD)
    assert not is_signed(SIGNATURE, SECRET[1:], PAYLOAD)
    assert not is_signed(SIGNATURE, SECRET, PAYLOAD + "0")
    assert not is_signed("", SECRET, PAYLOAD)
    assert not is_signed("ä", SECRET, PAYLOAD)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=1&signature=ff", ("a=1", "ff")),
        ("signature=ff&a=1", ("a=1", "ff")),
        ("a=1&signature=ff&b=2", ("a=1&b=2", "ff")),
        ("a=1", ("a=1", "")),
        ("", ("", "")),
    ],
)
def test_the_signature_is_taken_out_wherever_it_stands(text: str, expected: tuple[str, str]) -> None:
    """What is left is what was signed."""
    assert split(text) == expected
