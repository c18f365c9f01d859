"""CRC-32C (Castagnoli, RFC 9260 appendix A), by which Google Cloud notices what was changed on the way; no protection against anyone."""

from __future__ import annotations

from typing import Final

_POLYNOMIAL: Final = 0x82F63B78


def crc32c(content: bytes) -> int:
    """The checksum, for a few hundred bytes."""
    remainder = 0xFFFFFFFF
    for byte in content:
        remainder = _TABLE[(remainder ^ byte) & 0xFF] ^ remainder >> 8
    return remainder ^ 0xFFFFFFFF


def _entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
    return byte


_TABLE: Final = tuple(_entry(byte) for byte in range(256))
