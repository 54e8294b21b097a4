"""Tests Kraken's signature with the sample of its documentation."""

import base64

from services.paper_broker.kraken.signature import is_signed, sign

SECRET = base64.b64decode("kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg==")
PATH = "/0/private/AddOrder"
NONCE = "1616492376594"
BODY = b"nonce=1616492376594&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25"
SIGNATURE = "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ=="


def test_the_documented_sample_is_signed_as_documented() -> None:
    """Secret, nonce and body of the documentation give its signature."""
    assert sign(SECRET, PATH, NONCE, BODY) == SIGNATURE


def test_any_change_makes_the_signature_wrong() -> None:
    """Another secret, path, nonce or body does not pass."""
    assert is_signed(SIGNATURE, SECRET, PATH, NONCE, BODY)
    assert not is_signed(SIGNATURE, SECRET[1:], PATH, NONCE, BODY)
    assert not is_signed(SIGNATURE, SECRET, "/0/private/CancelOrder", NONCE, BODY)
    assert not is_signed(SIGNATURE, SECRET, PATH, "1616492376595", BODY)
    assert not is_signed(SIGNATURE, SECRET, PATH, NONCE, BODY + b"0")
    assert not is_signed("", SECRET, PATH, NONCE, BODY)
