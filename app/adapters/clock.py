"""The system's clock, and identities that sort by the time they were made."""

from datetime import UTC, datetime

import uuid_utils


class SystemClock:
    """The machine's time."""

    def now(self) -> datetime:
        """The present instant, aware, UTC."""
        return datetime.now(UTC)


class UuidIds:
    """Identities made of UUID version 7 (RFC 9562): milliseconds first, so that later ones sort after earlier ones."""

    def new(self, prefix: str) -> str:
        """`prefix_` and 32 hexadecimal digits."""
        return f"{prefix}_{uuid_utils.uuid7().hex}"
