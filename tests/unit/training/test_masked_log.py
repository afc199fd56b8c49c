"""What of a trainer's output is kept, and what of it never is."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from continuon_training.executors._supervisor import TAIL_BYTES, MaskedLog


class _Kept(io.BytesIO):
    """A file whose content survives its end."""

    content = b""

    def close(self) -> None:
        self.content = self.getvalue()
        super().close()


def _written(pieces: list[bytes], limit: int, secrets: list[bytes]) -> bytes:
    file = _Kept()
    log = MaskedLog(file, limit, secrets)
    for piece in pieces:
        log.write(piece)
    log.close()
    return file.content


@given(
    st.lists(st.binary(max_size=40), max_size=20),
    st.lists(st.binary(min_size=3, max_size=12).filter(lambda s: b"\n" not in s), max_size=3),
    st.integers(0, 12),
)
def test_no_secret_is_kept_however_the_output_is_cut(
    pieces: list[bytes], secrets: list[bytes], cut: int
) -> None:
    for secret in secrets:
        pieces = [*pieces, secret[:cut], secret[cut:]]
    kept = _written(pieces, 10_000, secrets)
    # A mask could complete a secret of stars, which is none.
    assert not [secret for secret in secrets if secret in kept and b"*" not in secret]


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_output_without_secrets_is_kept_as_it_is(pieces: list[bytes]) -> None:
    assert _written(pieces, 10_000, [b"not-in-there-at-all-1"]) == b"".join(pieces)


def test_lines_are_written_at_once_although_a_secret_could_follow() -> None:
    file = io.BytesIO()
    log = MaskedLog(file, 1000, [b"s3cret-token"])
    log.write(b"step 1\nstep")
    assert file.getvalue() == b"step 1\n"


def test_of_too_much_output_the_beginning_and_the_end_are_kept() -> None:
    pieces = [b"%08d\n" % number for number in range(40_000)]
    kept = _written(pieces, 900, [])
    assert kept.startswith(b"00000000\n00000001\n")
    assert kept.endswith(b"00039998\n00039999\n")
    assert 900 + TAIL_BYTES <= len(kept) < 900 + 2 * TAIL_BYTES
    note = next(line for line in kept.splitlines() if b"left out" in line)
    assert int(note.split()[1]) == len(b"".join(pieces)) - (len(kept) - len(note) - 2)
