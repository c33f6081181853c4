"""seed.py ROWS: makes the tables, and fills them where they are empty. Row `i` has an id made of it, and each owner has a hundred."""
import asyncio
import sys
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import insert, select

from database import Base, Widget, engine, new_session

ROWS = int(sys.argv[1])
AT = datetime(2026, 1, 1, tzinfo=UTC)


def row(i: int) -> dict:
    return {
        "id": UUID(f"00000000-0000-7000-8000-{i:012x}"), "owner_id": f"owner-{i % (ROWS // 100)}", "name": f"widget {i}",
        "color": ("blue", "red", "green")[i % 3], "size": i % 1000, "weight": (i % 997) * 1.25,
        "created_at": AT, "updated_at": AT, "deleted_at": None,
    }


async def main():
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with new_session() as session:
        if (await session.scalars(select(Widget.id).limit(1))).first() is None:
            for start in range(0, ROWS, 1000):
                await session.execute(insert(Widget), [row(i) for i in range(start, min(start + 1000, ROWS))])
            await session.commit()
    await engine.dispose()


asyncio.run(main())
