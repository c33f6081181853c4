"""Ids that grow with time (UUIDv7), as the other programs have them: random ones would spread over the whole index."""
import os
import time
from uuid import UUID


def new_id() -> UUID:
    millis = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    return UUID(int=millis << 80 | 0x7 << 76 | (random >> 68 & 0xFFF) << 64 | 0b10 << 62 | random & (1 << 62) - 1)
